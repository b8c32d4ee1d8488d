"""Figures that several parts of the report need, computed from a recording."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import numpy as np

from yolox_trt_ros.report.recording import CameraState, LaneSeen, Recording, Results

LEVELS = ('ok', 'warn', 'error', 'stale')
"""Names of the levels of ``diagnostic_msgs/DiagnosticStatus`` by number."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that changed between two status messages.

    Attributes:
        time_ns: of the status that first shows it, node's clock.
        who: lane, or the cameras to which the same happened.
        level: one of :data:`LEVELS`.
        text: what happened.
    """

    time_ns: int
    who: str
    level: str
    text: str


def percentiles_ms(ns: np.ndarray) -> tuple[float, float, float]:
    """Return p50, p95 and p99 of durations (n,) in nanoseconds, as milliseconds; zeros if none."""
    if not len(ns):
        return 0.0, 0.0, 0.0
    p50, p95, p99 = (np.percentile(ns, (50, 95, 99)) / 1e6).tolist()
    return p50, p95, p99


def age_bins(results: Results, edges_ns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how old a camera's newest published result was: lowest and highest, per bin.

    Args:
        results: of one camera.
        edges_ns: int64 (bins + 1,), in the node's clock.

    Returns:
        Two float64 (bins,), nanoseconds; NaN before the first result. Between two results the age
        grows with time, so its extremes lie at results and at the bins' edges.
    """
    bins = len(edges_ns) - 1
    if not len(results):
        return np.full(bins, np.nan), np.full(bins, np.nan)
    low, high = np.full(bins, np.inf), np.full(bins, -np.inf)
    published = results.published_ns
    newest = np.maximum.accumulate(results.stamp_ns)
    times = np.concatenate([published, published[1:]])
    ages = np.concatenate([published - newest, published[1:] - newest[:-1]]).astype(float)
    where = np.searchsorted(edges_ns, times, side='right') - 1
    inside = (where >= 0) & (where < bins)
    np.minimum.at(low, where[inside], ages[inside])
    np.maximum.at(high, where[inside], ages[inside])
    # A bin begins with what is published at its left edge, and ends just before its right one.
    begins = _age_at(edges_ns[:-1], published, newest, 'right')
    ends = _age_at(edges_ns[1:], published, newest, 'left')
    low, high = np.fmin(low, begins), np.fmax(high, ends)
    nothing = ~np.isfinite(high)
    low[nothing] = high[nothing] = np.nan
    return low, high


def _age_at(
    times_ns: np.ndarray, published: np.ndarray, newest: np.ndarray, side: Literal['left', 'right']
) -> np.ndarray:
    """Return the age at (``right``) or just before (``left``) some times; NaN without result."""
    last = np.searchsorted(published, times_ns, side=side) - 1
    return np.where(last >= 0, times_ns - newest[np.maximum(last, 0)], np.nan)


def drops_per_step(recording: Recording) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return when and why frames were dropped, between consecutive status messages.

    Returns:
        ``edges`` int64 (n + 1,): times of the statuses; and per reason float64 (n,): frames
        dropped in each step, all cameras together. A counter that went back (the node was
        activated again) counts from zero.
    """
    statuses = recording.statuses
    edges = np.array([s.time_ns for s in statuses], np.int64)
    steps: dict[str, np.ndarray] = {}
    for index, (before, after) in enumerate(pairwise(statuses)):
        for name, state in after.cameras.items():
            old = before.cameras[name].dropped if name in before.cameras else {}
            for reason, count in state.dropped.items():
                was = old.get(reason, 0)
                added = count - was if count >= was else count
                row = steps.setdefault(reason, np.zeros(len(statuses) - 1))
                row[index] += added
    return edges, {reason: row for reason, row in steps.items() if row.any()}


def counted(recording: Recording, camera: str) -> tuple[int, int, Counter[str], int]:
    """Return what a camera received, published, dropped by reason, and had late, in the recording.

    Zeros where the recording has fewer than two status messages of that camera.
    """
    statuses = (*([recording.before] if recording.before else []), *recording.statuses)
    states = [s.cameras[camera] for s in statuses if camera in s.cameras]
    received = published = late = 0
    dropped = Counter[str]()
    for before, after in pairwise(states):
        again = after.received < before.received
        received += after.received - (0 if again else before.received)
        published += after.published - (0 if again else before.published)
        late += after.late - (0 if again else before.late)
        for reason, count in after.dropped.items():
            dropped[reason] += count - (0 if again else before.dropped.get(reason, 0))
    return received, published, Counter({r: n for r, n in dropped.items() if n}), late


def arrivals(recording: Recording, camera: str) -> tuple[int, float]:
    """Return how many images of a camera arrived, and in how many seconds, since its first one."""
    heard = [
        status
        for status in recording.statuses
        if camera in status.cameras and status.cameras[camera].received
    ]
    if len(heard) < 2:
        return 0, 0.0
    since = replace(recording, statuses=tuple(heard), before=None)
    return counted(since, camera)[0], (heard[-1].time_ns - heard[0].time_ns) / 1e9


def events(recording: Recording) -> list[Event]:
    """Return what changed from one status message to the next, oldest first."""
    found: list[Event] = []
    for before, after in pairwise(recording.statuses):
        for name, lane in after.lanes.items():
            if happened := _lane_event(before.lanes.get(name), lane):
                found.append(Event(after.time_ns, f'lane {name}', *happened))
        together: dict[tuple[str, str], list[str]] = {}
        for name, state in after.cameras.items():
            for happened in _camera_events(before.cameras.get(name), state):
                together.setdefault(happened, []).append(name)
        found += [Event(after.time_ns, ', '.join(who), *what) for what, who in together.items()]
    return found


def _lane_event(before: LaneSeen | None, after: LaneSeen) -> tuple[str, str] | None:
    if before is None or before.state != after.state:
        level = {'running': 'ok', 'starting': 'warn', 'probing': 'warn'}.get(after.state, 'error')
        was = f'{before.state} → ' if before else ''
        note = f': {after.note}' if after.note else ''
        return level, f'{was}{after.state}{note}'
    if after.failures > before.failures:
        return 'error', f'failed and is back: {after.note}'
    return None


def _camera_events(before: CameraState | None, after: CameraState) -> Iterator[tuple[str, str]]:
    if before is None:
        return
    if before.lane != after.lane:
        level = 'ok' if after.lane else 'error'
        yield level, f'{before.lane or "no lane"} → {after.lane or "no lane"}'
    if before.level != after.level:
        # The figures behind the last semicolon differ from camera to camera.
        problem, figures_follow, _ = after.message.rpartition('; ')
        healthy = LEVELS[after.level] == 'ok'
        text = 'well again' if healthy else problem if figures_follow else after.message
        yield LEVELS[after.level], text


def busiest_window(recording: Recording, span_ns: int) -> int:
    """Return the start of the window of ``span_ns`` around the slowest result, node's clock."""
    first, last = recording.span_ns
    worst_ns, at_ns = 0, first
    for camera in recording.cameras:
        total = camera.results.total_ns
        if len(total) and total.max() > worst_ns:
            worst_ns, at_ns = int(total.max()), int(camera.results.published_ns[total.argmax()])
    return max(first, min(at_ns - worst_ns // 2 - span_ns // 2, last - span_ns))


def middle_window(recording: Recording, span_ns: int) -> int:
    """Return the start of the window of ``span_ns`` in the middle of the recording."""
    first, last = recording.span_ns
    return max(first, (first + last - span_ns) // 2)


def shown_lanes(recording: Recording) -> Sequence[str]:
    """Return the lanes in the order of their names' first appearance in a status, then traces."""
    names = [name for status in recording.statuses[:1] for name in status.lanes]
    return list(dict.fromkeys([*names, *recording.lanes]))
