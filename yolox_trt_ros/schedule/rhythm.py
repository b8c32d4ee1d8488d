"""When a camera's next frame may be expected: most cameras are as regular as a clock."""

from __future__ import annotations

from yolox_trt_ros.schedule.costs import RollingMedian

REMEMBERED = 15
"""Gaps between frames that the period is the median of."""
ON_TIME = 1 / 8
"""A camera is expected again if its last frame was no further off than this part of a period."""
NEVER_NS = 1 << 62


class Rhythm:
    """Predicts a camera's next arrival from its last ones; an irregular camera is not predicted.

    Attributes:
        next_ns: when the next frame is expected, monotonic; ``NEVER_NS`` if that is not known.
    """

    __slots__ = ('_due_ns', '_gaps', '_last_ns', 'next_ns')

    def __init__(self) -> None:
        self.next_ns = NEVER_NS
        self._gaps = RollingMedian(REMEMBERED)
        self._last_ns: int | None = None
        self._due_ns = NEVER_NS

    def arrived(self, now_ns: int) -> None:
        """Take in an arrival, monotonic nanoseconds."""
        last_ns, self._last_ns = self._last_ns, now_ns
        if last_ns is None:
            return
        off_ns = abs(now_ns - self._due_ns)
        self._gaps.add(now_ns - last_ns)
        period_ns = self._gaps.value
        self._due_ns = now_ns + period_ns
        self.next_ns = self._due_ns if off_ns <= ON_TIME * period_ns else NEVER_NS
