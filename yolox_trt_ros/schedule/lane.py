"""One thread that owns one detector: build, measure, serve, close."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from yolox_trt_ros.core.config import LaneConfig
from yolox_trt_ros.core.detector import Detected, Detector, FrameResult, Ticket
from yolox_trt_ros.core.errors import FrameError, LaneError, without_calls
from yolox_trt_ros.core.threads import named_thread
from yolox_trt_ros.schedule.state import Batch

if TYPE_CHECKING:
    from yolox_trt_ros.schedule.pipeline import Pipeline


CROWDED_NS = 1_000_000_000
"""How often it is looked whether a lane's earlier calls have returned."""


@dataclass(frozen=True, slots=True)
class LaneSpec:
    """A lane and how its detector is made.

    Attributes:
        config: name, device, batch and in-flight limits.
        factory: builds the detector; called on the lane's own thread, and again after a fault.
    """

    config: LaneConfig
    factory: Callable[[], Detector]


class LaneWorker:
    """One life of a lane's detector, on a thread of its own.

    A worker that fails, or is given up because it hangs, never comes back: the pipeline starts
    another one for the same lane. A given-up worker closes its detector when, and if, it returns.

    Args:
        spec: the lane.
        pipeline: where results, faults and measurements go.
        first: whether this is the lane's first life, which is measured beside the others.
        not_before_ns: monotonic time before which the detector is not built.
    """

    def __init__(
        self, spec: LaneSpec, pipeline: Pipeline, *, first: bool, not_before_ns: int = 0
    ) -> None:
        self.spec = spec
        self.name = spec.config.name
        self.wake = threading.Condition(pipeline.lock)
        self.inbox: deque[Batch] = deque()
        self._pipeline = pipeline
        self.first = first
        self._not_before_ns = not_before_ns
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
        """Let the supervisor know what may take long, or for ever."""
        with self._pipeline.lock:
            self._pipeline.lane_does(self, what)
        try:
            yield
        finally:
            with self._pipeline.lock:
                self._pipeline.lane_does(self, '')

    def _live(self) -> None:
        detector: Detector | None = None
        try:
            if self._rest():
                with self.doing('building its detector'):
                    detector = self.spec.factory()
                self._check(detector)
                self._pipeline.warm_up(self, detector)
                self._serve(detector)
        except Exception as error:
            self._pipeline.lane_failed(self, error, self._failing)
        finally:
            if detector is not None:
                self._close(detector)

    def _rest(self) -> bool:
        """Wait for the time to build and return whether the lane is still wanted then."""
        with self._pipeline.lock:
            while self._pipeline.wants(self):
                left_ns = self._not_before_ns - self._pipeline.clock()
                if self._pipeline.crowded(self):
                    left_ns = max(left_ns, CROWDED_NS)
                if left_ns <= 0:
                    self._pipeline.lane_probing(self)
                    return True
                self.wake.wait(left_ns / 1e9)
        return False

    def _check(self, detector: Detector) -> None:
        if detector.max_batch < self.spec.config.max_batch:
            raise LaneError(
                f'max_batch is {self.spec.config.max_batch}, but its detector takes at most '
                f'{detector.max_batch} frames a call: lower lanes.{self.name}.max_batch'
            )

    def _serve(self, detector: Detector) -> None:
        """Submit what is assigned, keep up to ``in_flight`` running, publish what is done."""
        running: deque[tuple[Batch, Ticket]] = deque()

        def submit(batch: Batch | None) -> bool:
            if batch is not None:
                with self._blaming(batch):
                    running.append((batch, detector.submit(batch.frames)))
            return batch is not None

        depth = self.spec.config.in_flight
        while True:
            while submit(self._next(may_sleep=not running, may_take=len(running) < depth)):
                pass
            if not running:
                return
            batch, ticket = running.popleft()
            with self._blaming(batch):
                results = ticket.wait()
            check_results(batch, results)
            if not self._pipeline.collect(batch, results):
                return
            try:
                if depth > 1:  # the device works on while results are published
                    submit(self._next(may_sleep=False, may_take=True))
            finally:
                self._pipeline.publish(self, batch, results)

    @contextmanager
    def _blaming(self, batch: Batch) -> Iterator[None]:
        """Note that it is with this batch if the lane fails now."""
        self._failing = batch
        yield
        self._failing = None

    def _next(self, *, may_sleep: bool, may_take: bool) -> Batch | None:
        """Return the next batch to submit, or None: collect what runs, or end if nothing does."""
        with self._pipeline.lock:
            while self._pipeline.wants(self):
                if may_take:
                    self._pipeline.accept(self)
                    if self.inbox:
                        return self.inbox.popleft()
                if not may_sleep:
                    break
                self.wake.wait()
            self._pipeline.refuse(self)
        return None

    def _close(self, detector: Detector) -> None:
        try:
            detector.close()
        except Exception as error:
            self._pipeline.event('warn', f'lane {self.name}: closing its detector failed: {error}')


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
