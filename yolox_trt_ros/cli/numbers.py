"""Number options of the command line, with their ranges."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import TypeVar

from yolox_trt_ros.core.errors import ConfigError

Number = TypeVar('Number', int, float)

YEAR_S = 366 * 86400.0
"""No tool runs longer."""


def number(
    least: float,
    most: float = YEAR_S,
    kind: type[Number] = float,  # type: ignore[assignment]
) -> Callable[[str], Number]:
    """Return the ``type`` of an argparse option that is a number from ``least`` to ``most``."""

    def read(text: str) -> Number:
        value = kind(text)
        if not least <= value <= most:  # nan is in no range
            span = f'of at least {least:g}' if math.isinf(most) else f'from {least:g} to {most:g}'
            raise argparse.ArgumentTypeError(f'expected a number {span}, got {text[:40]}')
        return value

    read.__name__ = 'number'  # argparse: "invalid number value: 'x'"
    return read


def input_size(text: str) -> tuple[int, int] | None:
    """Return (height, width) of a ``--size`` such as 960x608; None for an empty one.

    Raises:
        ConfigError: it is no size.
    """
    if not text:
        return None
    width, x, height = text.partition('x')
    if not (x and width.isdigit() and height.isdigit()):
        raise ConfigError(f'--size: expected width x height such as 960x608, got "{text}"')
    return int(height), int(width)
