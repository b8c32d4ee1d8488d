"""The health of cameras and lanes: a diagnostic level, and the reasons in one line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum

from yolox_trt_ros.core.config import LimitsConfig
from yolox_trt_ros.core.errors import DropReason
from yolox_trt_ros.core.snapshot import LaneSnapshot, LaneState

TOO_OFTEN = 1.5
"""Times its announced rate at which a camera arrives too often."""


class Level(IntEnum):
    """Levels of ``diagnostic_msgs/DiagnosticStatus``, same numbers."""

    OK = 0
    WARN = 1
    ERROR = 2
    STALE = 3


@dataclass(frozen=True, slots=True)
class Health:
    """A level and one line for a person."""

    level: Level
    message: str


@dataclass(frozen=True, slots=True)
class CameraNumbers:
    """What a camera's health is judged by.

    Attributes:
        expected_hz: rate its driver should publish at.
        timeout_ms: silence after which it is stale.
        silent_ms: time since its last message, or since the start if none came.
        heard: whether any message came.
        heard_s: time since the first one was seen, or since the start if none came.
        span_s: what the following numbers look back on; 0: nothing is known yet.
        rate_in_hz, rate_out_hz: messages that arrived and results that were published.
        received: messages in the span.
        dropped: of them, those without a result, by reason.
        p95_ms: arrival to publication; 0 without results.
        deadline_ms: oldest useful result; 0: none.
        late: results of the span published after the deadline.
        lane: where it is placed; empty: nowhere.
        slowed: for how long its images are refused and why; empty if they are not.
    """

    expected_hz: float
    timeout_ms: float
    silent_ms: float
    heard: bool
    heard_s: float
    span_s: float
    rate_in_hz: float
    rate_out_hz: float
    received: int
    dropped: Mapping[DropReason, int]
    p95_ms: float
    deadline_ms: float
    late: int
    lane: str
    slowed: str = ''


def camera_health(numbers: CameraNumbers, limits: LimitsConfig) -> Health:
    """Return how a camera does."""
    if numbers.silent_ms > numbers.timeout_ms:
        what = 'no image for' if numbers.heard else 'no image yet after'
        return Health(
            Level.STALE,
            f'{what} {numbers.silent_ms / 1000:.1f} s (timeout {numbers.timeout_ms / 1000:g} s)',
        )
    problems = sorted(_problems(numbers, limits), key=lambda problem: -problem[0])
    parts = [what for _, what in problems] + [
        f'{numbers.rate_in_hz:.1f} Hz in, {numbers.rate_out_hz:.1f} Hz out, '
        f'p95 {numbers.p95_ms:.1f} ms'
    ]
    return Health(problems[0][0] if problems else Level.OK, '; '.join(parts))


def _problems(numbers: CameraNumbers, limits: LimitsConfig) -> Iterator[tuple[Level, str]]:
    if not numbers.lane:
        yield Level.ERROR, 'no lane runs it'
    if numbers.slowed:
        yield Level.ERROR, numbers.slowed
    for level, limit_ms in (
        (Level.ERROR, limits.latency_error_ms),
        (Level.WARN, limits.latency_warn_ms),
    ):
        if numbers.p95_ms > limit_ms:
            yield level, f'latency above {limit_ms:g} ms'
            break
    lost = {r: n for r, n in numbers.dropped.items() if n and r is not DropReason.THINNED}
    meant = numbers.received - numbers.dropped.get(DropReason.THINNED, 0)  # to be processed
    share = sum(lost.values()) / meant if meant > 0 else 0.0
    for level, limit in (
        (Level.ERROR, limits.drop_ratio_error),
        (Level.WARN, limits.drop_ratio_warn),
    ):
        if share > limit:
            reasons = ', '.join(f'{count} {reason.value}' for reason, count in lost.items())
            yield level, f'{share:.0%} dropped, limit {limit:.0%} ({reasons})'
            break
    wanted_hz = limits.rate_ratio_warn * numbers.expected_hz
    # A slow camera needs a few periods before its rate means anything, and one that starts late,
    # as every replay does, a whole span.
    known = numbers.span_s * numbers.expected_hz >= 3 and numbers.heard_s >= numbers.span_s
    if known and numbers.rate_in_hz < wanted_hz:
        yield Level.WARN, f'arrives at {numbers.rate_in_hz:.1f} of {numbers.expected_hz:g} Hz'
    elif known and numbers.rate_in_hz > TOO_OFTEN * numbers.expected_hz:
        yield (
            Level.WARN,
            f'arrives at {numbers.rate_in_hz:.1f} of {numbers.expected_hz:g} Hz: too fast, maybe '
            'from two drivers',
        )
    if numbers.late:
        yield Level.WARN, f'{numbers.late} results later than {numbers.deadline_ms:g} ms'


def lane_health(lane: LaneSnapshot, utilisation: float) -> Health:
    """Return how a lane does."""
    if lane.state is LaneState.RUNNING:
        again = f', back after: {lane.note}' if lane.note else ''
        return Health(Level.OK, f'running, {utilisation:.0%} busy{again}')
    level = {
        LaneState.STARTING: Level.WARN,
        LaneState.PROBING: Level.WARN,
        LaneState.STOPPED: Level.STALE,
    }.get(lane.state, Level.ERROR)
    failed = f' after {lane.failures} failures' if lane.failures else ''
    tail = f': {lane.note}' if lane.note else ''
    return Health(level, f'{lane.state.value}{failed}{tail}')
