"""One thread that owns one detector: build, measure, serve, close."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Protocol

from yolox_trt_ros.core.config import LaneConfig
from yolox_trt_ros.core.detector import Detected, FrameResult, LaneDetector, Ticket
from yolox_trt_ros.core.errors import FrameError, LaneError, without_calls
from yolox_trt_ros.core.steps import steps_heard_by
from yolox_trt_ros.core.threads import named_thread
from yolox_trt_ros.schedule.state import Batch


@dataclass(frozen=True, slots=True)
class LaneSpec:
    """A lane and how its detector is made.

    Attributes:
        config: name, device, batch and in-flight limits.
        factory: builds the detector; called on the lane's own thread, and again after a fault.
    """

    config: LaneConfig
    factory: Callable[[], LaneDetector]


@dataclass(slots=True, eq=False)
class Call:
    """A submitted batch, and whether nobody need wait for the device to be done with it.

    It is done, or the lane's thread has taken the call and waits itself.
    """

    batch: Batch
    ticket: Ticket
    done: bool = False


class LaneHost(Protocol):
    """What a lane's thread asks for and reports. The implementation takes what locks it needs."""

    def wait_to_build(self, worker: LaneWorker) -> bool:
        """Wait until the lane is to be built and return True; False: it is not wanted any more."""
        ...

    def doing(self, worker: LaneWorker, what: str) -> None:
        """Take note of what may take long, or for ever; empty: it is over."""
        ...

    def step(self, worker: LaneWorker, what: str) -> None:
        """Take note of where in that it is."""
        ...

    def warm_up(self, worker: LaneWorker, detector: LaneDetector) -> None:
        """Measure a new detector and let its lane take frames."""
        ...

    def next_batch(self, worker: LaneWorker, *, may_sleep: bool) -> Batch | None:
        """Return the next batch to submit, or None: collect what runs, or end if nothing does.

        It waits for one until the worker's oldest call is done, if it may sleep.
        """
        ...

    def collect(self, batch: Batch, results: Sequence[FrameResult]) -> bool:
        """Take a finished batch off its lane; False: the lane was given up before."""
        ...

    def publish(self, worker: LaneWorker, batch: Batch, results: Sequence[FrameResult]) -> None:
        """Publish a collected batch and free its place on the lane."""
        ...

    def lane_failed(self, worker: LaneWorker, error: Exception, failed: Batch | None) -> None:
        """Give the worker up, because of this batch if one is named."""
        ...

    def event(self, level: str, message: str) -> None:
        """Log a line."""
        ...


class LaneWorker:
    """One life of a lane's detector, on a thread of its own.

    A worker that fails, or is given up because it hangs, never comes back: the host starts another
    one for the same lane. A given-up worker closes its detector when, and if, it returns.

    Args:
        spec: the lane.
        host: where results, faults and measurements go.
        lock: the host's; it guards ``inbox``.
        first: whether this is the lane's first life, which is measured beside the others.
        not_before_ns: monotonic time before which the detector is not built.

    Attributes:
        inbox: batches to run.
        wake: notified when there is one, or when the worker is not wanted any more.
    """

    def __init__(
        self,
        spec: LaneSpec,
        host: LaneHost,
        lock: threading.RLock,
        *,
        first: bool,
        not_before_ns: int = 0,
    ) -> None:
        self.spec = spec
        self.name = spec.config.name
        self.wake = threading.Condition(lock)
        self.inbox: deque[Batch] = deque()
        self.first = first
        self.not_before_ns = not_before_ns
        self._host = host
        self._failing: Batch | None = None
        self._running: deque[Call] = deque()
        self._watched: SimpleQueue[Call | None] = SimpleQueue()
        self._thread = named_thread(self._live, f'lane {self.name}')

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    @property
    def call_done(self) -> bool:
        """Whether the device is done with the oldest call; the host's lock is held."""
        return bool(self._running) and self._running[0].done

    @property
    def alive(self) -> bool:
        """Whether the thread has not ended yet."""
        return self._thread.is_alive()

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread to end and return whether it has."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    @contextmanager
    def doing(self, what: str) -> Iterator[None]:
        """Let the host know what may take long, or for ever."""
        self._host.doing(self, what)
        try:
            yield
        finally:
            self._host.doing(self, '')

    def _live(self) -> None:
        detector: LaneDetector | None = None
        try:
            if self._host.wait_to_build(self):
                with self.doing('building its detector'), steps_heard_by(self._step):
                    detector = self.spec.factory()
                self._check(detector)
                self._host.warm_up(self, detector)
                with self._watching():
                    self._serve(detector)
        except Exception as error:
            self._host.lane_failed(self, error, self._failing)
        finally:
            self._let_go()
            if detector is not None:
                self._close(detector)

    def _let_go(self) -> None:
        """Keep no frames: those who count lanes that failed keep the worker."""
        with self.wake:
            for call in self._running:
                call.done = True
            self._running.clear()
            self.inbox.clear()
        self._failing = None

    def _step(self, what: str) -> None:
        self._host.step(self, what)

    def _check(self, detector: LaneDetector) -> None:
        if detector.max_batch < self.spec.config.max_batch:
            raise LaneError(
                f'max_batch is {self.spec.config.max_batch}, but its detector takes at most '
                f'{detector.max_batch} frames a call: lower lanes.{self.name}.max_batch'
            )

    def _serve(self, detector: LaneDetector) -> None:
        """Submit what is assigned, keep up to ``in_flight`` running, publish what is done."""
        depth, running = self.spec.config.in_flight, self._running
        while True:
            while len(running) < depth and (batch := self._host.next_batch(self, may_sleep=True)):
                self._submit(detector, batch)
            if not running:
                return
            call = running.popleft()
            call.done = True  # a watcher that comes late would meet what has its place by then
            with self._blaming(call.batch):
                results = call.ticket.wait()
            check_results(call.batch, results)
            if not self._host.collect(call.batch, results):
                return
            try:  # the device works on while results are published
                if depth > 1 and (batch := self._host.next_batch(self, may_sleep=False)):
                    self._submit(detector, batch)
            finally:
                self._host.publish(self, call.batch, results)

    def _submit(self, detector: LaneDetector, batch: Batch) -> None:
        with self._blaming(batch):
            call = Call(batch, detector.submit(batch.frames))
        self._running.append(call)
        if self.spec.config.in_flight > 1:
            self._watched.put(call)

    @contextmanager
    def _watching(self) -> Iterator[None]:
        """Have a thread that sleeps on the device, so that the lane's can take what comes.

        Otherwise a batch that fills while the one before runs would be submitted when that is
        done, and the device would idle while its images are copied.
        """
        if self.spec.config.in_flight > 1:
            named_thread(self._watch, f'watch {self.name}').start()
        try:
            yield
        finally:
            self._watched.put(None)

    def _watch(self) -> None:
        while (call := self._watched.get()) is not None:
            if not call.done:
                with suppress(Exception):  # the lane's thread meets it too, and tells it
                    call.ticket.sleep()
            with self.wake:
                call.done = True
                self.wake.notify()
            del call  # it keeps frames

    @contextmanager
    def _blaming(self, batch: Batch) -> Iterator[None]:
        """Note that it is with this batch if the lane fails now."""
        self._failing = batch
        yield
        self._failing = None

    def _close(self, detector: LaneDetector) -> None:
        try:
            detector.close()
        except Exception as error:
            self._host.event('warn', f'lane {self.name}: closing its detector failed: {error}')


def check_results(batch: Batch, results: Sequence[FrameResult]) -> None:
    """Make sure that a detector answered each frame of a batch, and that no answer keeps frames.

    Raises:
        LaneError: the number of results is wrong, or one is neither a result nor a frame's error.
    """
    if len(results) != len(batch.frames):
        raise LaneError(f'expected {len(batch.frames)} results for its batch, got {len(results)}')
    for result in results:
        if isinstance(result, FrameError):
            without_calls(result)
        elif not isinstance(result, Detected):
            raise LaneError(f'expected Detected or FrameError, got {type(result).__name__}')
