"""Options for the detector of a tool: device, backend, precision, ranges."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from yolox_trt_ros.cli.options import refuse_unused
from yolox_trt_ros.core.backends import BACKENDS
from yolox_trt_ros.core.config import PRECISIONS
from yolox_trt_ros.detector import Detector


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument('--device', default='cpu', help='cpu, cuda:N or dla:N (default: cpu)')
    parser.add_argument(
        '--backend', default='onnxruntime',
        choices=[name for name, info in BACKENDS.items() if not info.simulated],
        help='what runs the network; tensorrt builds a missing engine (default: onnxruntime)',
    )  # fmt: skip
    parser.add_argument(
        '--precision', choices=PRECISIONS, default='auto',
        help='precision in which a GPU or DLA computes (default: auto: int8 for a model with Q/DQ '
        'nodes, else fp16)',
    )  # fmt: skip
    parser.add_argument(
        '--ranges', default='', help='range table of an int8 tensorrt engine without Q/DQ nodes'
    )


def detector_of(args: argparse.Namespace, **options: Any) -> Detector:
    """Return the detector that the arguments describe; builds a missing engine.

    Args:
        args: with those of :func:`add_arguments`, ``model``, ``labels``, ``score`` and ``nms_iou``.
        options: further ones of :class:`Detector`.

    Raises:
        ConfigError: an option would have no effect; and what :class:`Detector` raises.
    """
    refuse_unused_options(args)
    with engine_progress() as progress:
        return Detector(
            args.model,
            device=args.device,
            backend=args.backend,
            precision=args.precision,
            ranges=args.ranges,
            labels=args.labels,
            score_threshold=args.score,
            nms_iou=args.nms_iou,
            progress=progress,
            **options,
        )


def refuse_unused_options(args: argparse.Namespace) -> None:
    """See that options of engines were left alone where there is none.

    Raises:
        ConfigError: one was not.
    """
    if not BACKENDS[args.backend].builds:
        refuse_unused(args, add_arguments, 'ranges', '--backend tensorrt')
    elif args.precision != 'int8':
        refuse_unused(args, add_arguments, 'ranges', '--precision int8')


@contextmanager
def engine_progress() -> Iterator[Callable[[float], None]]:
    """Show on standard error how far the build of an engine is."""
    from yolox_trt_ros.cli.console import Console

    with Console(stderr=True).status('getting the model ready …') as status:
        yield lambda fraction: status.update(f'building the engine: {fraction:.0%}')
