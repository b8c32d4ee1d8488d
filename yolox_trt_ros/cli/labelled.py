"""Options of the tools that read labelled data."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.datasets.classes import ClassChoice, chosen_classes, read_choice
from yolox_trt_ros.datasets.faults import Faults
from yolox_trt_ros.datasets.formats import FORMATS, read_labelled
from yolox_trt_ros.datasets.labelled import LabelledData

OF_DATA = 'format names part classes'
"""Options that only labelled data use."""
DATA_HELP = (
    'labelled data: COCO or BDD100K JSON, a folder or list of Pascal VOC XML or of darknet txt; '
    'then the folder of the pictures, if it is not near the labels'
)


def add_data_arguments(parser: argparse._MutuallyExclusiveGroup) -> None:
    """Declare which labelled data are measured on."""
    parser.add_argument('--data', nargs='+', type=Path, metavar='LABELS [DIR]', help=DATA_HELP)
    parser.add_argument(
        '--coco',
        nargs=2,
        type=Path,
        metavar=('DIR', 'ANN.json'),
        help='the same as --data ANN.json DIR',
    )


def add_reading_arguments(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Declare how labelled data are read."""
    parser.add_argument(
        '--format', choices=tuple(FORMATS), default='', help='format of the labels (found out)'
    )
    parser.add_argument(
        '--names', type=Path, help='class names of darknet labels, if none are near them'
    )
    parser.add_argument(
        '--part', default='', help='part of a .data or .yaml file: train, val, test (default: val)'
    )
    parser.add_argument(
        '--classes',
        type=Path,
        metavar='FILE',
        help='classes to use: a,b,c; or a file of them, one a line; or YAML with "classes", "map" '
        '(name: name) and "ignore"',
    )


def data_of(args: argparse.Namespace, given: list[Path]) -> LabelledData:
    """Return the labelled data that the command line names; standard error has what is wrong.

    Args:
        args: with those of :func:`add_reading_arguments`.
        given: labels, and perhaps the folder of the pictures.

    Raises:
        ConfigError: more than two are named, or the data cannot be read.
    """
    if len(given) > 2:
        raise ConfigError(
            f'expected labels and the folder of their pictures, got {len(given)} names'
        )
    pictures = given[1] if len(given) > 1 else None
    if pictures and not pictures.is_dir():
        raise ConfigError(f'{pictures}: expected the folder of the pictures, there is none')
    data = read_labelled(given[0], pictures, format=args.format, names=args.names, split=args.part)
    return chosen_classes(data, _choice(args.classes)) if args.classes else data


def _choice(given: Path) -> ClassChoice:
    """Return what a class file asks for, or the names that stand in its place."""
    if given.is_file() or given.suffix or os.sep in str(given):
        return read_choice(given)
    names = tuple(name.strip() for name in str(given).split(',') if name.strip())
    return ClassChoice(Path('--classes'), names, {}, {})


def print_faults(faults: Faults) -> None:
    """Write a sentence to standard error for each kind of fault."""
    for sentence in faults.sentences():
        print(sentence, file=sys.stderr)


def tracked(items: Iterable[Any], title: str) -> Iterable[Any]:
    """Pass items on and show how far it is."""
    from rich.progress import track

    from yolox_trt_ros.cli.console import Console

    listed = items if isinstance(items, (list, range)) else list(items)
    return track(listed, title, len(listed), console=Console(stderr=True), transient=True)
