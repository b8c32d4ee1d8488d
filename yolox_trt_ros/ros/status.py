"""Publish reports of the pipeline as ``~/status`` and ``/diagnostics``."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from socket import gethostname as hostname

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node

from yolox_trt_ros.core.printing import one_line, printable
from yolox_trt_ros.core.threads import named_thread
from yolox_trt_ros.core.trace import STAGES
from yolox_trt_ros.msg import CameraStatus, LaneStatus, PipelineStatus
from yolox_trt_ros.ros.input.intake import IngestNotes
from yolox_trt_ros.ros.output.messages import time_message
from yolox_trt_ros.telemetry.health import Health, Level
from yolox_trt_ros.telemetry.report import INACTIVE, CameraReport, LaneReport, PipelineReport

PROBLEM_NS = 10_000_000_000
"""How long a problem is shown after the last frame that had it."""


def status_name(node: str, task: str) -> str:
    """Return a name of ``/diagnostics``, as diagnostic_updater makes them.

    Args:
        node: fully qualified, such as ``/car/detector``: two nodes have no name in common.
        task: a camera, ``lane <lane>`` or ``node``.
    """
    return f'{node}: {task}'


def health_around(report: CameraReport, notes: IngestNotes) -> Health:
    """Return a camera's health with what is known around it: why nothing comes, and warnings."""
    if report.health is INACTIVE:
        return INACTIVE
    level, message = report.health.level, report.health.message
    if level is Level.STALE and notes.silence:
        message = f'{message}: {notes.silence}'
    if warnings := [*notes.warnings, *filter(None, [notes.hint])]:
        level = max(level, Level.WARN)
        message = '; '.join((message, *warnings))
    return Health(level, message)


def camera_status(report: CameraReport, notes: IngestNotes, now_ns: int) -> CameraStatus:
    """Return one camera's part of ``~/status``."""
    s, health = report.snapshot, health_around(report, notes)
    # No empty sequences of 8-byte numbers: Fast CDR pads behind them and other readers do not.
    latencies = [*((name, report.stages[name]) for name in STAGES), ('total', report.total)]
    message = CameraStatus(
        name=s.name,
        level=int(health.level),
        message=health.message,
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


def camera_diagnostic(node: str, report: CameraReport, notes: IngestNotes) -> DiagnosticStatus:
    """Return one camera's line of ``/diagnostics`` with the numbers behind it."""
    s, transit = report.snapshot, notes.transit_ns
    values = {
        'lane': s.lane or 'none',
        'ran on': ', '.join(f'{lane} {n}' for lane, n in report.ran.items()) or 'none',
        'topic': notes.topic or 'none',
        'ingest': notes.mode or 'none',
        'results': notes.results or 'none',
        'video': _video(notes, report.rate_in_hz),
        'publisher': notes.publisher or 'no problem known',
        'lost on the way here': 'unknown' if notes.lost is None else notes.lost,
        'on the way here (ms)': 'unknown' if transit is None else f'{transit / 1e6:.1f}',
        'rate in (Hz)': f'{report.rate_in_hz:.1f}',
        'rate out (Hz)': f'{report.rate_out_hz:.1f}',
        'received': s.received,
        'published': s.published,
        'late': s.late,
        **({} if s.crops is None else {'crops': s.crops}),
        'age (ms)': 'none yet' if report.age_ns is None else f'{report.age_ns / 1e6:.1f}',
        'stamp jumps': notes.stamp_jumps,
        'last problem': notes.present_problem(time.monotonic_ns(), PROBLEM_NS) or 'none',
    }
    values |= {f'dropped, {reason.value}': n for reason, n in s.dropped.items()}
    for name, p in (*report.stages.items(), ('total', report.total)):
        values[f'{name} p50/p95/p99 (ms)'] = (
            f'{p.p50_ns / 1e6:.1f} / {p.p95_ns / 1e6:.1f} / {p.p99_ns / 1e6:.1f}'
        )
    health = health_around(report, notes)
    return _diagnostic(status_name(node, s.name), health, notes.topic or s.name, values)


def _video(notes: IngestNotes, rate_hz: float) -> str:
    """Return what a camera's video is, and what it costs to decode."""
    if not notes.video:
        return 'none'
    share = notes.video_ns * rate_hz / 1e9
    return f'{notes.video}, {notes.video_ns / 1e6:.1f} ms a picture, {share:.0%} of a core'


def lane_diagnostic(node: str, report: LaneReport) -> DiagnosticStatus:
    """Return one lane's line of ``/diagnostics`` with the numbers behind it."""
    s = report.snapshot
    values = {
        'device': s.device,
        'backend': s.backend,
        'runs': s.runs or 'nothing yet',
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
    for model, costs in s.other_cost_ns.items():
        whose = f'cost of {model or "model"}'
        values |= {f'{whose}, {n} (ms)': f'{cost / 1e6:.1f}' for n, cost in costs.items()}
    return _diagnostic(status_name(node, f'lane {s.name}'), report.health, s.device, values)


def _diagnostic(
    name: str, health: Health, hardware_id: str, values: Mapping[str, object]
) -> DiagnosticStatus:
    return DiagnosticStatus(
        name=name,
        level=bytes([int(health.level)]),
        message=printable(health.message),
        hardware_id=hardware_id,
        values=[KeyValue(key=k, value=one_line(v)) for k, v in values.items()],
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
        self._thread = named_thread(self._run, 'status')
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
        name = self._node.get_fully_qualified_name()
        report = self._report()
        diagnostics = DiagnosticArray()
        diagnostics.header.stamp = time_message(now_ns)
        if isinstance(report, str):
            health = Health(Level.ERROR, report)
            diagnostics.status = [_diagnostic(status_name(name, 'node'), health, hostname(), {})]
        else:
            status = self._pipeline_status(*report, now_ns)
            self._status.publish(status)
            diagnostics.status = list(_lines(name, *report))
        self._diagnostics.publish(diagnostics)

    def _pipeline_status(
        self, report: PipelineReport, notes: dict[str, IngestNotes], now_ns: int
    ) -> PipelineStatus:
        message = PipelineStatus(placement_reason=report.placement_reason)
        message.header.stamp = time_message(now_ns)
        message.cameras = [camera_status(c, notes[c.snapshot.name], now_ns) for c in report.cameras]
        message.lanes = [lane_status(lane) for lane in report.lanes]
        return message


def _lines(
    node: str, report: PipelineReport, notes: dict[str, IngestNotes]
) -> Iterator[DiagnosticStatus]:
    for camera in report.cameras:
        yield camera_diagnostic(node, camera, notes[camera.snapshot.name])
    for lane in report.lanes:
        yield lane_diagnostic(node, lane)
