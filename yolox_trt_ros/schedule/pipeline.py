"""Frames in, published results out: the dispatcher on real threads and a real clock.

Threads: the caller's ingest thread (:meth:`Pipeline.offer`), one per lane (submit, collect,
publish) and a supervisor (watchdog, placement). One lock guards the dispatcher; it is never held
while a detector or a callback runs.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from yolox_trt_ros.core.config import CameraConfig
from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.detector import Detected, Detector, FrameResult
from yolox_trt_ros.core.errors import DropReason, FrameError, LaneError
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.snapshot import LaneState, PipelineSnapshot
from yolox_trt_ros.core.trace import FrameTrace
from yolox_trt_ros.schedule.complaints import Complaints
from yolox_trt_ros.schedule.dispatcher import Dispatcher
from yolox_trt_ros.schedule.lane import LaneSpec, LaneWorker
from yolox_trt_ros.schedule.state import Batch
from yolox_trt_ros.schedule.supervisor import WATCH_NS, Supervisor
from yolox_trt_ros.schedule.warmup import WarmUp

Sink = Callable[[Frame, Detections], None]
TraceCallback = Callable[[Frame, FrameTrace], None]
EventCallback = Callable[[str, str], None]


@dataclass(frozen=True, slots=True)
class PipelineOptions:
    """What is not the vehicle's business.

    Attributes:
        warmup_height, warmup_width: pixels of the image that detectors are measured with.
        build_timeout_s: longest time in which a lane must have built, and again have measured, its
            detector; one that takes longer has failed.
        lockstep: process every frame, as a replay needs it; see
            :class:`schedule.dispatcher.Dispatcher`.
    """

    warmup_height: int = 720
    warmup_width: int = 1280
    build_timeout_s: float = 1800.0
    lockstep: bool = False


DEFAULTS = PipelineOptions()
LOCKSTEP_BACKLOG = 4
"""Frames that wait per camera in lockstep before :meth:`Pipeline.offer` does."""


class Pipeline:
    """Mailboxes, lanes and their supervisor.

    Args:
        cameras: at least one.
        lanes: at least one; each builds its detector on a thread of its own.
        sink: publishes a result; called on a lane's thread, for one result of a camera at a time
            and in arrival order.
        on_trace: gets the trace after each publication.
        on_event: gets ('info' | 'warn' | 'error', message) for what an operator should know.
        on_problem: gets (camera, message) for each frame of which a lane could make nothing.
        options: see :class:`PipelineOptions`.
        clock: monotonic nanoseconds; the clock of ``Frame.received_ns`` and of the detectors.

    Raises:
        ValueError: a camera or lane appears twice, or a pin names an unknown lane.
    """

    def __init__(
        self,
        cameras: Sequence[CameraConfig],
        lanes: Sequence[LaneSpec],
        sink: Sink,
        *,
        on_trace: TraceCallback | None = None,
        on_event: EventCallback | None = None,
        on_problem: EventCallback | None = None,
        options: PipelineOptions = DEFAULTS,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.lock = threading.RLock()
        self.clock = clock
        self.changed = threading.Condition(self.lock)
        self._lockstep = options.lockstep
        self.dispatcher = Dispatcher(
            cameras, [spec.config for spec in lanes], lockstep=options.lockstep
        )
        self.workers = {spec.config.name: LaneWorker(spec, self, first=True) for spec in lanes}
        self.stopping = False
        self._sink = sink
        self._on_trace = on_trace
        self._on_event = on_event
        self._complaints = Complaints(self.event, on_problem, clock)
        self._publish_locks = {camera.name: threading.Lock() for camera in cameras}
        self._supervisor = Supervisor(self, round(options.build_timeout_s * 1e9))
        self._warm_up = WarmUp(self, options.warmup_height, options.warmup_width)
        self._on_room: Callable[[], None] | None = None
        self._started = False

    # ------------------------------------------------------------------ life

    def start(self) -> None:
        """Build and measure all detectors, place the cameras, and begin to run frames.

        Raises:
            YoloxTrtRosError: what a lane's factory raised (a missing model or package, a wrong
                parameter); everything is closed again.
            LaneError: no lane came up, or the pipeline was stopped meanwhile.
            RuntimeError: called a second time.
        """
        with self.lock:
            if self._started:
                raise RuntimeError('a pipeline starts once: make a new one')
            self._started = True
            for worker in self.workers.values():
                worker.start()
            lanes = self.dispatcher.lanes.values()
            while any(lane.state is LaneState.STARTING for lane in lanes):
                self.changed.wait(WATCH_NS / 1e9)
                self._supervisor.watch_builds()
            refusal = self._supervisor.refusal()
        if self.stopping:
            raise LaneError('the pipeline was stopped before its lanes had started')
        if refusal is not None:
            self.stop(drain=False)
            try:
                raise refusal
            finally:  # with it this call would keep itself, the lanes and what they hold
                del refusal
        self._supervisor.place('placed by measured cost')
        self._supervisor.start()

    def drain(self, timeout_s: float = 5.0) -> bool:
        """Wait until no frame waits or is in flight and return whether that came in time."""
        with self.lock:
            return self.changed.wait_for(lambda: self.dispatcher.idle, timeout_s)

    def stop(self, *, drain: bool = True, timeout_s: float = 5.0) -> None:
        """End all threads and close all detectors; what was not run is dropped as ``stopped``."""
        if drain and self._started and not self.stopping:
            self.drain(timeout_s)
        until = time.monotonic() + timeout_s
        with self.lock:
            self.stopping = True
            self.dispatcher.drop_waiting()
            self.changed.notify_all()
            workers = list(self.workers.values()) if self._started else []
            for worker in workers:
                worker.wake.notify_all()
        hung = [w.name for w in workers if not w.join(max(0.0, until - time.monotonic()))]
        self._supervisor.join(timeout_s)
        with self.lock:
            self.dispatcher.stop()
        for name in hung:
            self.event('error', f'lane {name} did not stop within {timeout_s:g} s: left behind')

    def __enter__(self) -> Pipeline:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # ---------------------------------------------------------------- frames

    def next_sequence(self, camera: str) -> int:
        """Return the arrival number of the camera's next message."""
        with self.lock:
            return self.dispatcher.cameras[camera].received

    def offer(self, frame: Frame) -> None:
        """Hand in an arrived frame; returns at once.

        One that is too large, or whose camera is slowed down, is counted, told and dropped.

        Only in lockstep it waits while the camera's backlog is full, so that a replay runs no
        faster than the lanes. Who may have to give up asks :meth:`wait_for_room` before.

        Raises:
            ValueError: its sequence does not follow the camera's earlier frames.
        """
        with self.lock:
            if self._lockstep:
                self.wait_for_room(frame.camera)
            refusal = self.dispatcher.offer(frame)
            if self.stopping:
                self.dispatcher.drop_waiting()
            elif refusal is None:
                self.dispatch()
        if refusal is not None:
            self._complaints.tell(frame.camera, str(refusal))

    def wait_for_room(self, camera: str, timeout_s: float | None = None) -> bool:
        """Wait until :meth:`offer` would not; return whether that came in time."""
        if not self._lockstep:
            return True
        with self.lock:
            mailbox = self.dispatcher.cameras[camera].mailbox
            return self.changed.wait_for(
                lambda: self.stopping or len(mailbox) < LOCKSTEP_BACKLOG, timeout_s
            )

    def when_room(self, callback: Callable[[], None] | None) -> None:
        """Have something called whenever :meth:`offer` may have room again in lockstep.

        Args:
            callback: does not block, and takes no lock that is held while the pipeline is called.
        """
        with self.lock:
            self._on_room = callback

    def reject(self, camera: str, reason: DropReason, n: int = 1) -> None:
        """Count messages that never became frames as received and dropped."""
        with self.lock:
            self.dispatcher.reject(camera, reason, n, self.clock())

    def update_camera(
        self,
        name: str,
        *,
        priority: float | None = None,
        deadline_ms: float | None = None,
        limits: tuple[float, float] | None = None,
        max_rate_hz: float | None = None,
    ) -> None:
        """Change a camera's weight, deadline, limits or rate; from the next decision on it holds.

        Args:
            name: the camera.
            priority, deadline_ms, max_rate_hz: see :class:`core.config.CameraConfig`.
            limits: its ``max_megapixels`` and ``max_decode_ms``.
        """
        with self.lock:
            if self.dispatcher.update_camera(name, priority, deadline_ms, limits, max_rate_hz):
                self._supervisor.request(f'{name} was given another priority, deadline or rate')

    def snapshot(self) -> PipelineSnapshot:
        """Return all accounts at one moment."""
        with self.lock:
            return self.dispatcher.snapshot(self.clock())

    def event(self, level: str, message: str) -> None:
        """Tell the operator; a callback that fails must not take a lane with it."""
        if self._on_event is not None:
            try:
                self._on_event(level, message)
            except Exception:
                logging.getLogger(__name__).exception('on_event failed for: %s', message)

    def dispatch(self) -> None:
        """Hand every free lane what it takes now. The lock is held."""
        for batch in self.dispatcher.dispatch(self.clock()):
            worker = self.workers[batch.lane]
            worker.inbox.append(batch)
            worker.wake.notify()
            if self._lockstep:
                self.changed.notify_all()
                if self._on_room is not None:
                    self._on_room()
        self._supervisor.wake_at(self.dispatcher.ask_ns)

    # ------------------------------------------------- called by lane workers

    def wants(self, worker: LaneWorker) -> bool:
        """Return whether this worker is still its lane's and the pipeline still runs."""
        return not self.stopping and self.workers[worker.name] is worker

    def warm_up(self, worker: LaneWorker, detector: Detector) -> None:
        """Measure a new detector and let its lane take frames."""
        self._warm_up.run(worker, detector)
        with self.lock:
            if self.wants(worker):
                self._supervisor.lane_up(worker.name)

    def lane_probing(self, worker: LaneWorker) -> None:
        """Note that the worker builds its detector again. The lock is held."""
        if not worker.first:
            self.dispatcher.lanes[worker.name].state = LaneState.PROBING

    def crowded(self, worker: LaneWorker) -> bool:
        """Return whether the lane must wait for its earlier lives to end. The lock is held."""
        return self._supervisor.crowded(worker.name)

    def lane_does(self, worker: LaneWorker, what: str) -> None:
        """Note what the worker is at before it serves; empty: nothing. The lock is held."""
        if self.wants(worker):
            lane = self.dispatcher.lanes[worker.name]
            lane.doing, lane.doing_since_ns = what, self.clock()

    def lane_failed(self, worker: LaneWorker, error: Exception, failed: Batch | None) -> None:
        """Give up the worker, unless that has been done, and plan its lane's next life."""
        self._supervisor.lane_failed(worker, error, failed)

    def accept(self, worker: LaneWorker) -> None:
        """Let the worker's lane take frames now. The lock is held."""
        self.dispatcher.lanes[worker.name].accepts = True
        self.dispatch()

    def refuse(self, worker: LaneWorker) -> None:
        """Give the worker's lane no frames for now: it waits for its device. The lock is held."""
        if self.workers[worker.name] is worker:
            self.dispatcher.lanes[worker.name].accepts = False

    def collect(self, batch: Batch, results: Sequence[FrameResult]) -> bool:
        """Take a finished batch off its lane; False if the lane was given up before."""
        with self.lock:
            return self.dispatcher.collect(batch, self.clock(), results)

    def publish(self, worker: LaneWorker, batch: Batch, results: Sequence[FrameResult]) -> None:
        """Publish a collected batch and free its place on the lane."""
        for frame, result in zip(batch.frames, results, strict=True):
            self._settle(batch, frame, result)
        with self.lock:
            if self.workers[worker.name] is worker:
                self.dispatcher.release(worker.name)
            if self.dispatcher.idle:
                self.changed.notify_all()

    def _settle(self, batch: Batch, frame: Frame, result: FrameResult) -> None:
        if isinstance(result, FrameError):
            with self.lock:
                self.dispatcher.drop(frame, result.reason)
            self._complaints.tell(frame.camera, str(result))
            return
        with self._publish_locks[frame.camera]:
            with self.lock:
                if not self.dispatcher.admit(frame):
                    return
            self._publish(batch, frame, result)

    def _publish(self, batch: Batch, frame: Frame, result: Detected) -> None:
        try:
            self._sink(frame, result.detections)
        except Exception as error:
            with self.lock:
                self.dispatcher.drop(frame, DropReason.UNPUBLISHED)
            self._complaints.tell(frame.camera, f'publishing failed: {error!r}')
            return
        with self.lock:
            published_ns = self.clock()
            drops = self.dispatcher.published(frame, published_ns)
        if self._on_trace is not None:
            trace = FrameTrace(
                frame.camera,
                frame.sequence,
                batch.lane,
                len(batch.frames),
                drops,
                frame.received_ns,
                batch.taken_ns,
                result.begun_ns,
                result.preprocessed_ns,
                result.inferred_ns,
                result.decoded_ns,
                published_ns,
            )
            try:
                self._on_trace(frame, trace)
            except Exception as error:
                self._complaints.tell(frame.camera, f'the trace was not taken: {error!r}')
