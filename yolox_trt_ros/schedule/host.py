"""The half of the pipeline that its lanes, their measuring and their supervisor see.

They report here, and nothing but these reports and the pipeline's own face moves the dispatcher.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from yolox_trt_ros.core.complaints import Complaints
from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.detector import Detected, FrameResult, LaneDetector
from yolox_trt_ros.core.errors import DropReason, FrameError, LaneError, YoloxTrtRosError
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.snapshot import LaneState
from yolox_trt_ros.core.trace import FrameTrace
from yolox_trt_ros.schedule.accounts import missing
from yolox_trt_ros.schedule.dispatcher import Dispatcher
from yolox_trt_ros.schedule.failures import Failures
from yolox_trt_ros.schedule.lane import LaneSpec, LaneWorker
from yolox_trt_ros.schedule.state import Batch

Sink = Callable[[Frame, Detections], None]
TraceCallback = Callable[[Frame, FrameTrace], None]
EventCallback = Callable[[str, str], None]

CROWDED_NS = 1_000_000_000
"""How often it is looked whether a lane's earlier calls have returned."""


@dataclass(frozen=True, slots=True)
class Publishing:
    """Where results and messages go, see :class:`schedule.pipeline.Pipeline`."""

    sink: Sink
    on_trace: TraceCallback | None = None
    on_event: EventCallback | None = None
    on_problem: EventCallback | None = None


class Host:
    """What lanes (``LaneHost``), ``WarmUp`` and ``Supervisor`` ask for and report.

    Args:
        dispatcher: whose state it moves, under its lock.
        lanes: how detectors are made.
        publishing: where results go.
        clock: monotonic nanoseconds.

    Attributes:
        lock: guards the dispatcher.
        changed: notified when lanes come, fail or have nothing more to do, and at the end.
        workers: the present one of each lane.
        stopping: whether the pipeline ends.
    """

    _measure: Callable[[LaneWorker, LaneDetector], None]

    def __init__(
        self,
        dispatcher: Dispatcher,
        lanes: Sequence[LaneSpec],
        publishing: Publishing,
        clock: Callable[[], int],
    ) -> None:
        self.lock = threading.RLock()
        self.clock = clock
        self.changed = threading.Condition(self.lock)
        self.dispatcher = dispatcher
        self.workers = {
            spec.config.name: LaneWorker(spec, self, self.lock, first=True) for spec in lanes
        }
        self.stopping = False
        self._publishing = publishing
        self._complaints = Complaints(self.event, publishing.on_problem, clock)
        self._publish_locks = {name: threading.Lock() for name in dispatcher.cameras}
        self._failures = Failures()
        self._on_room: Callable[[], None] | None = None

    def event(self, level: str, message: str) -> None:
        """Tell the operator; a callback that fails must not take a lane with it."""
        if self._publishing.on_event is not None:
            try:
                self._publishing.on_event(level, message)
            except Exception:
                logging.getLogger(__name__).exception('on_event failed for: %s', message)

    def _dispatch(self) -> None:
        """Hand every free lane what it takes now. The lock is held."""
        for batch in self.dispatcher.dispatch(self.clock()):
            worker = self.workers[batch.lane]
            worker.inbox.append(batch)
            worker.wake.notify()
            self.changed.notify_all()  # in lockstep, offers wait for room
            if self._on_room is not None:
                self._on_room()

    def wants(self, worker: LaneWorker) -> bool:
        """Return whether this worker is still its lane's and the pipeline still runs."""
        return not self.stopping and self.workers[worker.name] is worker

    def lanes_in(self, state: LaneState) -> set[str]:
        """Return the lanes that are in a state. The lock is held."""
        return {name for name, lane in self.dispatcher.lanes.items() if lane.state is state}

    def learn(self, worker: LaneWorker, model: str, batch: int, load: int, cost_ns: int) -> None:
        """Take in what a call with a model took. The lock is held."""
        self.dispatcher.lanes[worker.name].costs[model].observe(batch, load, cost_ns)

    def wait_to_build(self, worker: LaneWorker) -> bool:
        """Wait for the time to build and return whether the lane is still wanted then."""
        with self.lock:
            while self.wants(worker):
                left_ns = worker.not_before_ns - self.clock()
                if self._failures.crowded(worker.name):
                    left_ns = max(left_ns, CROWDED_NS)
                if left_ns <= 0:
                    if not worker.first:
                        self.dispatcher.lanes[worker.name].state = LaneState.PROBING
                    return True
                worker.wake.wait(left_ns / 1e9)
        return False

    def doing(self, worker: LaneWorker, what: str) -> None:
        """Note what the worker is at before it serves; empty: nothing."""
        with self.lock:
            if self.wants(worker):
                lane = self.dispatcher.lanes[worker.name]
                lane.doing, lane.step, lane.doing_since_ns = what, '', self.clock()

    def step(self, worker: LaneWorker, what: str) -> None:
        """Note where in what it is at before it serves the worker is."""
        with self.lock:
            if self.wants(worker):
                self.dispatcher.lanes[worker.name].step = what

    def warm_up(self, worker: LaneWorker, detector: LaneDetector) -> None:
        """Measure a new detector and let its lane take frames."""
        self._measure(worker, detector)
        with self.lock:
            if self.wants(worker):
                self.dispatcher.lanes[worker.name].runs = detector.about
                failures = self.dispatcher.lanes[worker.name].failures
                self.dispatcher.lane_up(worker.name, self.clock())
                if failures:
                    self.event('info', f'lane {worker.name} is back after {failures} failures')
                self.changed.notify_all()

    def next_batch(self, worker: LaneWorker, *, may_sleep: bool) -> Batch | None:
        """Return the next batch to submit, or None: collect what runs, or end if nothing does."""
        with self.lock:
            lane = self.dispatcher.lanes[worker.name]
            while self.wants(worker):
                lane.accepts = True
                self._dispatch()
                lane.accepts = not lane.running
                if worker.inbox:
                    return worker.inbox.popleft()
                if worker.call_done or not may_sleep:
                    break
                left_ns = lane.ahead_ns - self.clock() if lane.running else 0
                worker.wake.wait(left_ns / 1e9 if left_ns > 0 else None)
        return None

    def lane_failed(
        self, worker: LaneWorker, error: Exception, failed: Batch | None = None
    ) -> None:
        """Quarantine a worker's lane and start the worker of its next life.

        Args:
            worker: whose lane it is; nothing happens if it has been given up before.
            error: what happened.
            failed: the batch that it happened with, if that is known.
        """
        name = worker.name
        with self.lock:
            if not self.wants(worker):
                return
            lane = self.dispatcher.lanes[name]
            starting = lane.state is LaneState.STARTING
            if starting:
                self._failures.at_start(name, error)
            why, now_ns = f'{type(error).__name__}: {error}', self.clock()
            retry_ns = self.dispatcher.lane_down(name, why, now_ns, failed)
            if failed is None or not failed.blamed:  # otherwise the camera waits, not the lane
                self._failures.leave(worker)
            self.workers[name] = LaneWorker(
                worker.spec, self, self.lock, first=False, not_before_ns=retry_ns
            )
            self.workers[name].start()
            self.changed.notify_all()
            worker.wake.notify_all()
            self._dispatch()
        then = f'{lane.state.value}, next attempt in {(retry_ns - now_ns) / 1e9:.1f} s'
        if starting and isinstance(error, YoloxTrtRosError):  # that ends the start
            then = 'nothing starts without it'
        self.event('error', f'lane {name} failed ({why}); {then}')

    def give_up_hung(self) -> None:
        """Give up the lanes whose calls hang, and let the others have the frames."""
        with self.lock:
            hung = [
                (self.workers[name], LaneError(what), self.dispatcher.lanes[name].running[0])
                for name, what in self.dispatcher.overdue(self.clock())
            ]
            # Lanes that are late make others more attractive without any event that says so.
            self._dispatch()
        for worker, error, batch in hung:
            self.lane_failed(worker, error, batch)

    def lanes_at_work(self) -> list[tuple[str, str, int]]:
        """Return what lanes do before they take frames: (lane, what, since when)."""
        with self.lock:
            lanes = self.dispatcher.lanes.items()
            return [(name, lane.doing, lane.doing_since_ns) for name, lane in lanes if lane.doing]

    def time_lost(self, from_ns: int, to_ns: int) -> None:
        """Count a time in which nothing could run for none of the lanes."""
        with self.lock:
            self.dispatcher.time_lost(from_ns, to_ns)

    def missing(self) -> Mapping[str, str]:
        """Return what cameras cannot get from the lanes, in words."""
        with self.lock:
            return missing(self.dispatcher.cameras, self.dispatcher.lanes)

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
            self._publishing.sink(frame, result.detections)
        except Exception as error:
            with self.lock:
                self.dispatcher.drop(frame, DropReason.UNPUBLISHED)
            self._complaints.tell(frame.camera, f'publishing failed: {error!r}')
            return
        with self.lock:
            published_ns = self.clock()
            drops = self.dispatcher.published(frame, published_ns)
        if self._publishing.on_trace is not None:
            trace = FrameTrace(
                frame.camera,
                frame.sequence,
                batch.lane,
                batch.places,
                drops,
                frame.received_ns,
                max(frame.received_ns, frame.decoded_ns),
                batch.taken_ns,
                result.begun_ns,
                result.preprocessed_ns,
                result.inferred_ns,
                result.decoded_ns,
                published_ns,
            )
            try:
                self._publishing.on_trace(frame, trace)
            except Exception as error:
                self._complaints.tell(frame.camera, f'the trace was not taken: {error!r}')
