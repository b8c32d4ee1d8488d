"""When a camera's next frame may be expected: most cameras are as regular as a clock."""

from __future__ import annotations

from yolox_trt_ros.schedule.costs import RollingMedian

REMEMBERED = 15
"""Gaps that the period is the median of, and predictions that are judged."""
GRACE_NS = 1_000_000
"""A frame is expected for this long after its moment, if the camera is rarely further off."""
NEVER_NS = 1 << 62


class Rhythm:
    """Predicts a camera's next arrival from its last ones; an irregular camera is not predicted.

    Attributes:
        next_ns: when the next frame is expected, monotonic; ``NEVER_NS`` if that is not known.
    """

    __slots__ = ('_due_ns', '_gaps', '_last_ns', '_off', 'next_ns')

    def __init__(self) -> None:
        self.next_ns = NEVER_NS
        self._gaps = RollingMedian(REMEMBERED)
        self._last_ns: int | None = None
        self._due_ns = NEVER_NS
        self._off = RollingMedian(REMEMBERED)

    def arrived(self, now_ns: int) -> None:
        """Take in an arrival, monotonic nanoseconds."""
        last_ns, self._last_ns = self._last_ns, now_ns
        if last_ns is None:
            return
        if self._due_ns != NEVER_NS:
            self._off.add(abs(now_ns - self._due_ns))
        self._gaps.add(now_ns - last_ns)
        self._due_ns = now_ns + self._gaps.value
        regular = len(self._off) > 0 and self._off.value <= GRACE_NS
        self.next_ns = self._due_ns if regular else NEVER_NS
