"""One thread that owns one detector: build, measure, serve, close."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
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

    def next_batch(self, worker: LaneWorker, *, may_sleep: bool, may_take: bool) -> Batch | None:
        """Return the next batch to submit, or None: collect what runs, or end if nothing does."""
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
        self._thread = named_thread(self._live, f'lane {self.name}')

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

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
                self._serve(detector)
        except Exception as error:
            self._host.lane_failed(self, error, self._failing)
        finally:
            if detector is not None:
                self._close(detector)

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
        running: deque[tuple[Batch, Ticket]] = deque()

        def submit(batch: Batch | None) -> bool:
            if batch is not None:
                with self._blaming(batch):
                    running.append((batch, detector.submit(batch.frames)))
            return batch is not None

        depth = self.spec.config.in_flight
        while True:
            while submit(
                self._host.next_batch(self, may_sleep=not running, may_take=len(running) < depth)
            ):
                pass
            if not running:
                return
            batch, ticket = running.popleft()
            with self._blaming(batch):
                results = ticket.wait()
            check_results(batch, results)
            if not self._host.collect(batch, results):
                return
            try:
                if depth > 1:  # the device works on while results are published
                    submit(self._host.next_batch(self, may_sleep=False, may_take=True))
            finally:
                self._host.publish(self, batch, results)

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
