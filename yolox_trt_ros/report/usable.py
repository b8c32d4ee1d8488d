"""Limits on messages that a report uses: numbers in range, short texts, few names."""

from __future__ import annotations

import math
from typing import Any

from yolox_trt_ros.core.printing import one_line

LARGEST_TIME_NS = 1 << 62
LONGEST_STAGE_NS = 10**15
"""Eleven days."""
LONGEST_TEXT = 500
MOST_NAMES = 64
"""Cameras, lanes, or reasons of drops; more are no vehicle."""
LEVELS = 4


class UnusableError(ValueError):
    """A message that a report leaves out; it counts them."""


def text(value: Any) -> str:
    """Return a text, printable and not longer than ``LONGEST_TEXT``."""
    return one_line(str(value)[:LONGEST_TEXT])


def whole(name: str, value: Any, low: int, high: int) -> int:
    """Return a whole number within a range.

    Raises:
        UnusableError: it is not.
    """
    number = int(value)
    if not low <= number <= high:
        raise UnusableError(f'{name} is out of range')
    return number


def number(name: str, value: Any) -> float:
    """Return a finite number.

    Raises:
        UnusableError: it is not.
    """
    result = float(value)
    if not math.isfinite(result):
        raise UnusableError(f'{name} is not finite')
    return result


def time_ns(name: str, stamp: Any) -> int:
    """Return a ``builtin_interfaces/Time`` in nanoseconds."""
    total = int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)
    return whole(name, total, -LARGEST_TIME_NS, LARGEST_TIME_NS)


def few(name: str, values: Any) -> Any:
    """Return a sequence of few enough names.

    Raises:
        UnusableError: there are more.
    """
    if len(values) > MOST_NAMES:
        raise UnusableError(f'more than {MOST_NAMES} {name}')
    return values
