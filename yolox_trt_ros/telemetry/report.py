"""Reports over a time window, from which status, diagnostics and tables are made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from yolox_trt_ros.core.config import CameraConfig, LimitsConfig
from yolox_trt_ros.core.errors import DropReason
from yolox_trt_ros.core.snapshot import CameraSnapshot, LaneSnapshot, PipelineSnapshot
from yolox_trt_ros.core.trace import FrameTrace
from yolox_trt_ros.telemetry.health import (
    CameraNumbers,
    Health,
    Level,
    camera_health,
    lane_health,
)
from yolox_trt_ros.telemetry.windows import CounterWindow, Percentiles, TraceWindow, rate


@dataclass(frozen=True, slots=True)
class CameraReport:
    """One camera over the window.

    Attributes:
        snapshot: its totals.
        rate_in_hz, rate_out_hz: messages that arrived and results that were published.
        ran: frames that each lane has run; lanes without are left out.
        dropped_in_window: frames without a result, by reason.
        age_ns: time since the arrival of the newest frame whose result is published, or None.
        total: arrival to publication.
        stages: the same per stage of :data:`core.trace.STAGES`.
        health: level and message.
    """

    snapshot: CameraSnapshot
    rate_in_hz: float
    rate_out_hz: float
    ran: Mapping[str, int]
    dropped_in_window: Mapping[DropReason, int]
    age_ns: int | None
    total: Percentiles
    stages: Mapping[str, Percentiles]
    health: Health


@dataclass(frozen=True, slots=True)
class LaneReport:
    """One lane over the window.

    Attributes:
        snapshot: its totals.
        utilisation: fraction of the time that it ran batches, 0 to 1.
        rate_hz: frames per second.
        mean_batch: frames per batch, 0 without batches.
        health: level and message.
    """

    snapshot: LaneSnapshot
    utilisation: float
    rate_hz: float
    mean_batch: float
    health: Health


@dataclass(frozen=True, slots=True)
class PipelineReport:
    """All cameras and lanes at one monotonic moment, looking back over the window."""

    now_ns: int
    cameras: tuple[CameraReport, ...]
    lanes: tuple[LaneReport, ...]
    placement_reason: str


INACTIVE = Health(Level.STALE, 'inactive: the node takes no images until it is activated')


def inactive(report: PipelineReport) -> PipelineReport:
    """Return the report of a node that is configured but not active."""
    return replace(report, cameras=tuple(replace(c, health=INACTIVE) for c in report.cameras))


class Telemetry:
    """Collects traces and turns snapshots into reports.

    Args:
        cameras: names, rates and timeouts.
        limits: window and thresholds.
    """

    def __init__(self, cameras: Sequence[CameraConfig], limits: LimitsConfig) -> None:
        self._limits = limits
        self._window_ns = round(limits.window_s * 1e9)
        self._expected_hz = {camera.name: camera.rate_hz for camera in cameras}
        self._timeout_ms = {camera.name: camera.timeout_ms for camera in cameras}
        self._traces = {camera.name: TraceWindow() for camera in cameras}
        self._counters: dict[tuple[str, str], CounterWindow] = {}
        self._first_ns: int | None = None
        self._heard_ns: dict[str, int] = {}

    def record(self, trace: FrameTrace) -> None:
        """Take in a finished trace; from any thread, a few microseconds."""
        self._traces[trace.camera].add(trace)

    def update_camera(self, name: str, *, timeout_ms: float) -> None:
        """Change the silence after which a camera is stale."""
        self._timeout_ms[name] = timeout_ms

    def report(self, snapshot: PipelineSnapshot) -> PipelineReport:
        """Return the state of everything.

        Rates look back to earlier calls, so this is called regularly (once a second) by one thread.
        """
        if self._first_ns is None:
            self._first_ns = snapshot.now_ns
        return PipelineReport(
            snapshot.now_ns,
            tuple(self._camera(camera, snapshot.now_ns) for camera in snapshot.cameras),
            tuple(self._lane(lane, snapshot.now_ns) for lane in snapshot.lanes),
            snapshot.placement_reason,
        )

    def _camera(self, camera: CameraSnapshot, now_ns: int) -> CameraReport:
        counters = {reason.value: count for reason, count in camera.dropped.items()}
        for name in ('received', 'published', 'late'):
            counters[name] = getattr(camera, name)
        span_s, added = self._read('camera', camera.name, now_ns, counters)
        _, ran = self._read('lanes of', camera.name, now_ns, camera.ran)
        dropped = {reason: added[reason.value] for reason in camera.dropped}
        rate_in_hz = rate(added['received'], span_s)
        rate_out_hz = rate(added['published'], span_s)
        total, stages = self._traces[camera.name].since(now_ns - self._window_ns)
        heard_ns = camera.last_received_ns
        if heard_ns is not None:
            self._heard_ns.setdefault(camera.name, now_ns)
        numbers = CameraNumbers(
            expected_hz=self._expected_hz[camera.name],
            timeout_ms=self._timeout_ms[camera.name],
            silent_ms=(now_ns - (heard_ns or self._first_ns or now_ns)) / 1e6,
            heard=heard_ns is not None,
            heard_s=(now_ns - self._heard_ns.get(camera.name, self._first_ns or now_ns)) / 1e9,
            span_s=span_s,
            rate_in_hz=rate_in_hz,
            rate_out_hz=rate_out_hz,
            received=added['received'],
            dropped=dropped,
            p95_ms=total.p95_ns / 1e6,
            deadline_ms=camera.deadline_ms,
            late=added['late'],
            lane=camera.lane,
            slowed=camera.slowed,
        )
        return CameraReport(
            snapshot=camera,
            rate_in_hz=rate_in_hz,
            rate_out_hz=rate_out_hz,
            ran={lane: count for lane, count in ran.items() if count},
            dropped_in_window=dropped,
            age_ns=None if camera.newest_ns is None else now_ns - camera.newest_ns,
            total=total,
            stages=stages,
            health=camera_health(numbers, self._limits),
        )

    def _lane(self, lane: LaneSnapshot, now_ns: int) -> LaneReport:
        counters = {
            'processed': lane.processed,
            'batches': lane.batches,
            'busy_ns': lane.busy_ns,
        }
        span_s, added = self._read('lane', lane.name, now_ns, counters)
        busy = min(1.0, rate(added['busy_ns'], span_s) / 1e9)
        return LaneReport(
            snapshot=lane,
            utilisation=busy,
            rate_hz=rate(added['processed'], span_s),
            mean_batch=added['processed'] / added['batches'] if added['batches'] else 0.0,
            health=lane_health(lane, busy),
        )

    def _read(
        self, kind: str, name: str, now_ns: int, counters: Mapping[str, int]
    ) -> tuple[float, dict[str, int]]:
        window = self._counters.get((kind, name))
        if window is None:
            window = self._counters[kind, name] = CounterWindow(self._window_ns)
        return window.read(now_ns, counters)
