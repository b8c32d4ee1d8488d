"""The accuracy gate of the tools that change a model: on what, and how much may be lost."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from yolox_trt_ros.cli import labelled
from yolox_trt_ros.cli.numbers import number
from yolox_trt_ros.cli.options import refuse_unused
from yolox_trt_ros.evaluation.measure import LabelledPictures, pictures_of, world_pictures

TOO_LOSSY = 3
"""Exit code where more was lost than may be."""


def add_arguments(parser: argparse.ArgumentParser, max_drop: float) -> None:
    """Declare where labelled pictures come from, and the bound.

    Args:
        parser: of the tool.
        max_drop: points of mAP50 that may be lost, if nothing else is said.
    """
    gate = parser.add_argument_group('accuracy gate')
    how = gate.add_mutually_exclusive_group()
    labelled.add_data_arguments(how)
    how.add_argument(
        '--worlds',
        type=number(1, 1e6, int),
        default=24,
        help='measure on so many rendered test worlds (default: 24)',
    )
    how.add_argument(
        '--no-gate', action='store_true', help='measure nothing, for there are no labels'
    )
    labelled.add_reading_arguments(gate)
    gate.add_argument(
        '--max-drop',
        type=number(0, 100),
        default=max_drop,
        help=f'most points of mAP50 that may be lost (default: {max_drop:g} of 100)',
    )


def check(args: argparse.Namespace, declare: Callable[[argparse.ArgumentParser], None]) -> None:
    """Refuse options without effect.

    Args:
        args: of the command line.
        declare: the tool's ``add_arguments``.
    """
    if args.no_gate:
        refuse_unused(args, declare, 'max_drop', 'runs without --no-gate')
    if not (args.data or args.coco):
        refuse_unused(args, declare, labelled.OF_DATA, '--data')


def pictures(args: argparse.Namespace) -> LabelledPictures:
    """Return the labelled pictures that the command line names."""
    given = args.data or (args.coco and [args.coco[1], args.coco[0]])
    if given:
        return pictures_of(labelled.data_of(args, given))
    return world_pictures('test', args.worlds)
