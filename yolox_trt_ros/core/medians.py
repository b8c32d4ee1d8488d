"""The median of what was measured last."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque

WINDOW = 31
"""Samples a median looks back on; a lasting change of cost is followed after half of them."""


class RollingMedian:
    """Median of the last ``window`` samples: a single outlier moves it by one rank at most."""

    __slots__ = ('_order', '_sorted')

    def __init__(self, window: int = WINDOW) -> None:
        self._order: deque[int] = deque(maxlen=window)
        self._sorted: list[int] = []

    def __len__(self) -> int:
        return len(self._order)

    def add(self, value: int) -> None:
        """Take in a sample; the oldest one leaves when the window is full."""
        if len(self._order) == self._order.maxlen:
            del self._sorted[bisect_left(self._sorted, self._order[0])]
        self._order.append(value)
        insort(self._sorted, value)

    @property
    def value(self) -> int:
        """Return the median (the upper one of two), or raise IndexError before any sample."""
        return self._sorted[len(self._sorted) // 2]
