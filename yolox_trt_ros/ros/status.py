"""Reports of the pipeline as messages: ``~/status`` and ``/diagnostics``."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node

from yolox_trt_ros.core.trace import STAGES
from yolox_trt_ros.msg import CameraStatus, LaneStatus, PipelineStatus
from yolox_trt_ros.ros.intake import IngestNotes
from yolox_trt_ros.ros.messages import time_message
from yolox_trt_ros.telemetry.health import Level
from yolox_trt_ros.telemetry.report import CameraReport, LaneReport, PipelineReport

PREFIX = 'yolox_trt_ros: '


def camera_status(report: CameraReport, notes: IngestNotes, now_ns: int) -> CameraStatus:
    """Return one camera's part of ``~/status``."""
    s = report.snapshot
    # No empty sequences of 8-byte numbers: Fast CDR pads behind them and other readers do not.
    latencies = [*((name, report.stages[name]) for name in STAGES), ('total', report.total)]
    message = CameraStatus(
        name=s.name,
        level=int(report.health.level),
        message=report.health.message,
        lane=s.lane,
        ran_on=list(report.ran),
        ran_frames=list(report.ran.values()),
        priority=s.priority,
        deadline_ms=s.deadline_ms,
        rate_in_hz=report.rate_in_hz,
        rate_out_hz=report.rate_out_hz,
        received=s.received,
        published=s.published,
        waiting=s.waiting,
        in_flight=s.in_flight,
        drop_reasons=[reason.value for reason in s.dropped],
        drop_counts=list(s.dropped.values()),
        deadline_misses=s.late,
        stamp_jumps=notes.stamp_jumps,
        age_ns=-1 if notes.published_stamp_ns is None else now_ns - notes.published_stamp_ns,
        stages=[name for name, _ in latencies],
        p50_ns=[int(p.p50_ns) for _, p in latencies],
        p95_ns=[int(p.p95_ns) for _, p in latencies],
        p99_ns=[int(p.p99_ns) for _, p in latencies],
        max_ns=[int(p.max_ns) for _, p in latencies],
    )
    message.last_stamp = time_message(notes.published_stamp_ns or 0)
    return message


def lane_status(report: LaneReport) -> LaneStatus:
    """Return one lane's part of ``~/status``."""
    s = report.snapshot
    return LaneStatus(
        name=s.name,
        device=s.device,
        backend=s.backend,
        state=s.state.value,
        note=s.note,
        cameras=list(s.cameras),
        utilisation=report.utilisation,
        processed=s.processed,
        batches=s.batches,
        mean_batch=report.mean_batch,
        failures=s.failures,
        restarts=s.restarts,
        cost_batch_sizes=list(s.cost_ns) or [0],
        cost_ns=[int(cost) for cost in s.cost_ns.values()] or [0],
    )


def camera_diagnostic(report: CameraReport, notes: IngestNotes) -> DiagnosticStatus:
    """Return one camera's line of ``/diagnostics`` with the numbers behind it."""
    s, transit = report.snapshot, notes.transit_ns
    values = {
        'lane': s.lane or 'none',
        'ran on': ', '.join(f'{lane} {n}' for lane, n in report.ran.items()) or 'none',
        'ingest': notes.way or 'none',
        'results': notes.results or 'none',
        'publisher': notes.publisher or 'nothing known against it',
        'lost on the way here': 'unknown' if notes.lost is None else notes.lost,
        'on the way here (ms)': 'unknown' if transit is None else f'{transit / 1e6:.1f}',
        'rate in (Hz)': f'{report.rate_in_hz:.1f}',
        'rate out (Hz)': f'{report.rate_out_hz:.1f}',
        'received': s.received,
        'published': s.published,
        'late': s.late,
        'age (ms)': 'none yet' if report.age_ns is None else f'{report.age_ns / 1e6:.1f}',
        'stamp jumps': notes.stamp_jumps,
        'last problem': notes.last_problem or 'none',
    }
    values |= {f'dropped, {reason.value}': n for reason, n in s.dropped.items()}
    for name, p in (*report.stages.items(), ('total', report.total)):
        values[f'{name} p50/p95/p99 (ms)'] = (
            f'{p.p50_ns / 1e6:.1f} / {p.p95_ns / 1e6:.1f} / {p.p99_ns / 1e6:.1f}'
        )
    level, told = report.health.level, report.health.message
    if notes.publisher:
        level, told = max(level, Level.WARN), f'{told}; {notes.publisher}'
    return _diagnostic(s.name, level, told, values)


def lane_diagnostic(report: LaneReport) -> DiagnosticStatus:
    """Return one lane's line of ``/diagnostics`` with the numbers behind it."""
    s = report.snapshot
    values = {
        'device': s.device,
        'backend': s.backend,
        'state': s.state.value,
        'cameras': ', '.join(s.cameras) or 'none',
        'utilisation (%)': f'{report.utilisation * 100:.0f}',
        'processed': s.processed,
        'mean batch': f'{report.mean_batch:.1f}',
        'failures': s.failures,
        'restarts': s.restarts,
        'note': s.note or 'none',
    }
    values |= {f'cost of {n} (ms)': f'{cost / 1e6:.1f}' for n, cost in s.cost_ns.items()}
    return _diagnostic(f'lane {s.name}', report.health.level, report.health.message, values)


def _diagnostic(
    name: str, level: int, text: str, values: Mapping[str, object] | None = None
) -> DiagnosticStatus:
    return DiagnosticStatus(
        name=PREFIX + name,
        level=bytes([int(level)]),
        message=text,
        hardware_id='yolox_trt_ros',
        values=[KeyValue(key=k, value=str(v)) for k, v in (values or {}).items()],
    )


class StatusPublisher:
    """Publishes a report once a second from a thread of its own, so that frames never wait for it.

    Args:
        node: where it publishes.
        report: returns the pipeline's report and each camera's notes, or a sentence that says why
            there is no pipeline.
    """

    PERIOD_S = 1.0

    def __init__(
        self,
        node: Node,
        report: Callable[[], tuple[PipelineReport, dict[str, IngestNotes]] | str],
    ) -> None:
        self._node = node
        self._report = report
        self._status = node.create_publisher(PipelineStatus, '~/status', 1)
        self._diagnostics = node.create_publisher(DiagnosticArray, '/diagnostics', 1)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name='status', daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop publishing; waits for the thread."""
        self._stopped.set()
        self._thread.join(timeout=2 * self.PERIOD_S)

    def _run(self) -> None:
        while not self._stopped.wait(self.PERIOD_S):
            try:
                self.publish()
            except Exception as error:
                if self._stopped.is_set() or not self._node.context.ok():
                    return
                self._node.get_logger().error(f'status was not published: {error!r}')

    def publish(self) -> None:
        """Publish both messages now."""
        now_ns = self._node.get_clock().now().nanoseconds
        report = self._report()
        diagnostics = DiagnosticArray()
        diagnostics.header.stamp = time_message(now_ns)
        if isinstance(report, str):
            diagnostics.status = [_diagnostic('node', DiagnosticStatus.ERROR[0], report)]
        else:
            status = self._pipeline_status(*report, now_ns)
            self._status.publish(status)
            diagnostics.status = list(_lines(*report))
        self._diagnostics.publish(diagnostics)

    def _pipeline_status(
        self, report: PipelineReport, notes: dict[str, IngestNotes], now_ns: int
    ) -> PipelineStatus:
        message = PipelineStatus(placement_reason=report.placement_reason)
        message.header.stamp = time_message(now_ns)
        message.cameras = [camera_status(c, notes[c.snapshot.name], now_ns) for c in report.cameras]
        message.lanes = [lane_status(lane) for lane in report.lanes]
        return message


def _lines(report: PipelineReport, notes: dict[str, IngestNotes]) -> Iterator[DiagnosticStatus]:
    for camera in report.cameras:
        yield camera_diagnostic(camera, notes[camera.snapshot.name])
    for lane in report.lanes:
        yield lane_diagnostic(lane)
