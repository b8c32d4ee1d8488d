"""Options of tools for the classes that count: which, under which names, above which scores."""

from __future__ import annotations

import argparse
from typing import Any

from yolox_trt_ros.core.class_scores import read_score

CLASS_OPTIONS = 'only class_map class_scores'
"""Attributes of parsed arguments."""


def add_class_options(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument(
        '--only', nargs='+', default=[], metavar='CLASS',
        help='detect these classes only: names or numbers (default: all)',
    )  # fmt: skip
    parser.add_argument(
        '--class-map', default='', metavar='FILE',
        help='CSV or YAML file that gives classes other names, several the same one',
    )  # fmt: skip
    parser.add_argument(
        '--class-scores', nargs='+', default=[], metavar='CLASS=SCORE',
        help='lowest scores of single classes, in place of --score',
    )  # fmt: skip


def class_options(args: argparse.Namespace) -> dict[str, Any]:
    """Return these as arguments of :class:`Detector`.

    Raises:
        ConfigError: a score is none.
    """
    scores = (read_score(text, '--class-scores') for text in args.class_scores)
    return {
        'classes': args.only,
        'class_map': args.class_map,
        'class_thresholds': dict(scores),
    }
