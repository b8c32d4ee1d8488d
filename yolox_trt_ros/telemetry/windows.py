"""Counters, rates and percentiles over a sliding window, in bounded memory."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from yolox_trt_ros.core.trace import STAGES, FrameTrace

MAX_TRACES = 2048
"""Traces remembered per camera: a minute at 30 Hz."""
MAX_READINGS = 1024
"""Readings of the counters remembered per window."""


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Distribution of a duration over a window, nanoseconds; zeros when ``count`` is 0."""

    count: int = 0
    p50_ns: float = 0.0
    p95_ns: float = 0.0
    p99_ns: float = 0.0
    max_ns: float = 0.0


class TraceWindow:
    """One camera's latest traces; adding one costs the same whatever was added before."""

    def __init__(self, size: int = MAX_TRACES) -> None:
        self._rows = np.zeros((size, 2 + len(STAGES)), np.int64)
        self._added = 0
        self._lock = threading.Lock()

    def add(self, trace: FrameTrace) -> None:
        """Remember a finished trace in place of the oldest one."""
        row = (trace.published_ns, trace.total_ns, *trace.stages_ns().values())
        with self._lock:
            self._rows[self._added % len(self._rows)] = row
            self._added += 1

    def since(self, after_ns: int) -> tuple[Percentiles, dict[str, Percentiles]]:
        """Return the distribution of the total and of each stage, published after ``after_ns``."""
        with self._lock:
            rows = self._rows[: min(self._added, len(self._rows))].copy()
        rows = rows[rows[:, 0] > after_ns, 1:]
        if not len(rows):
            return Percentiles(), dict.fromkeys(STAGES, Percentiles())
        at = np.percentile(rows, (50, 95, 99, 100), axis=0)
        total, *stages = (Percentiles(len(rows), *column) for column in at.T.tolist())
        return total, dict(zip(STAGES, stages, strict=True))


class CounterWindow:
    """Readings of counters that only grow, for differences over the last ``window_ns``."""

    def __init__(self, window_ns: int) -> None:
        self._window_ns = window_ns
        self._readings: deque[tuple[int, Mapping[str, int]]] = deque(maxlen=MAX_READINGS)

    def read(self, now_ns: int, counters: Mapping[str, int]) -> tuple[float, dict[str, int]]:
        """Take in a reading; return the span in seconds that is looked back on and what was added.

        The span reaches to the last reading before the window, or to the first one; it is 0 with
        only one reading.
        """
        readings = self._readings
        readings.append((now_ns, dict(counters)))
        while len(readings) > 1 and readings[1][0] <= now_ns - self._window_ns:
            readings.popleft()
        since_ns, before = readings[0]
        added = {key: value - before.get(key, 0) for key, value in counters.items()}
        return (now_ns - since_ns) / 1e9, added


def rate(added: int, span_s: float) -> float:
    """Return events per second, 0 over an empty span."""
    return added / span_s if span_s > 0 else 0.0
