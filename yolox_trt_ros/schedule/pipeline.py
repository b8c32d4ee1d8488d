"""Frames in, published results out: the dispatcher on real threads and a real clock.

Threads: the caller's ingest thread (:meth:`Pipeline.offer`), one per lane (submit, collect,
publish) and a supervisor. They report to the pipeline, which alone moves the dispatcher; one lock
guards it, and is never held while a detector or a callback runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from yolox_trt_ros.core.config import CameraConfig, Config
from yolox_trt_ros.core.errors import DropReason, LaneError
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.snapshot import LaneState, PipelineSnapshot
from yolox_trt_ros.schedule.dispatcher import Dispatcher
from yolox_trt_ros.schedule.host import EventCallback, Host, Publishing, Sink, TraceCallback
from yolox_trt_ros.schedule.lane import LaneSpec
from yolox_trt_ros.schedule.supervisor import WATCH_NS, Supervisor
from yolox_trt_ros.schedule.warmup import WarmUp


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

    @classmethod
    def of(cls, config: Config) -> PipelineOptions:
        """Return a vehicle's options: detectors are measured with images as large as its own.

        So what they allocate for an image is there before the first camera's.
        """
        options = cls(build_timeout_s=config.build_timeout_s, lockstep=config.lockstep)
        largest = max(config.cameras, key=lambda camera: camera.width * camera.height)
        if not largest.width * largest.height:
            return options
        return replace(options, warmup_height=largest.height, warmup_width=largest.width)


DEFAULTS = PipelineOptions()
LOCKSTEP_BACKLOG = 4
"""Frames that wait per camera in lockstep before :meth:`Pipeline.offer` does."""


class Pipeline(Host):
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
        super().__init__(
            Dispatcher(cameras, [spec.config for spec in lanes], lockstep=options.lockstep),
            lanes,
            Publishing(sink, on_trace, on_event, on_problem),
            clock,
        )
        self._lockstep = options.lockstep
        self._supervisor = Supervisor(self, round(options.build_timeout_s * 1e9))
        self._measure = WarmUp(self, options.warmup_height, options.warmup_width).run
        self._started = False

    # ------------------------------------------------------------------ life

    def start(self) -> None:
        """Build and measure all detectors and begin to run frames.

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
            while self.lanes_in(LaneState.STARTING):
                self.changed.wait(WATCH_NS / 1e9)
                self._supervisor.watch_builds()
            refusal = self._failures.refusal(bool(self.lanes_in(LaneState.RUNNING)))
        if self.stopping:
            raise LaneError('the pipeline was stopped before its lanes had started')
        if refusal is not None:
            self.stop(drain=False)
            try:
                raise refusal
            finally:  # with it this call would keep itself, the lanes and what they hold
                del refusal
        self._supervisor.report_missing()
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
        self._supervisor.stop(timeout_s)
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
                self._dispatch()
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
            self.dispatcher.cameras[name].update(priority, deadline_ms, limits, max_rate_hz)

    def snapshot(self) -> PipelineSnapshot:
        """Return all accounts at one moment."""
        with self.lock:
            return self.dispatcher.snapshot(self.clock())
