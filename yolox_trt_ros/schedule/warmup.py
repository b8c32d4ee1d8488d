"""How a detector is measured before its lane takes frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from yolox_trt_ros.core.detector import Detector
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.snapshot import LaneState
from yolox_trt_ros.schedule.lane import LaneWorker, check_results
from yolox_trt_ros.schedule.state import Batch

if TYPE_CHECKING:
    from yolox_trt_ros.schedule.pipeline import Pipeline

UNTIMED_RUNS, TIMED_RUNS = 2, 5
MEASURE_NS = 1_500_000_000
"""A batch size is measured no longer than this once it has one sample."""


class WarmUp:
    """Measures the lanes of a pipeline.

    In its first life a lane is measured alone, one lane after the other, and then beside all the
    others; after a fault it is measured beside whatever runs, which is its probe.

    Args:
        pipeline: whose cost model learns.
        height, width: size of the image that is used, pixels.
    """

    def __init__(self, pipeline: Pipeline, height: int, width: int) -> None:
        self._pipeline = pipeline
        self._frame = warmup_frame(height, width)
        self._turn: LaneWorker | None = None
        self._measured: set[str] = set()

    def run(self, worker: LaneWorker, detector: Detector) -> None:
        """Measure ``worker``'s detector.

        Raises:
            LaneError: it does not answer every frame.
        """
        if worker.first:
            with self._alone(worker):
                self._learn(worker, detector, 0)
            self._wait_for_the_others(worker)
            load = len(self._measured) - 1
            if load > 0:
                self._learn(worker, detector, load)
        else:
            self._learn(worker, detector, len(self._lanes(LaneState.RUNNING)))

    @contextmanager
    def _alone(self, worker: LaneWorker) -> Iterator[None]:
        """Wait until no other lane is measured; one that was given up meanwhile does not count."""
        pipeline = self._pipeline
        with pipeline.lock:
            pipeline.changed.wait_for(
                lambda: pipeline.stopping or self._turn is None or not pipeline.wants(self._turn)
            )
            self._turn = worker
        try:
            yield
        finally:
            with pipeline.lock:
                if self._turn is worker:
                    self._turn = None
                pipeline.changed.notify_all()

    def _learn(self, worker: LaneWorker, detector: Detector, load: int) -> None:
        with worker.doing('measuring its detector'):
            self._measure(worker, detector, load)

    def _measure(self, worker: LaneWorker, detector: Detector, load: int) -> None:
        pipeline = self._pipeline
        if pipeline.stopping:
            return
        sizes = sizes_to_measure(worker.spec.config.max_batch)
        for size, cost_ns in measure(detector, sizes, self._frame, pipeline.clock):
            with pipeline.lock:
                if not pipeline.wants(worker):
                    return
                if cost_ns is not None:
                    pipeline.dispatcher.costs.observe(worker.name, size, load, cost_ns)

    def _wait_for_the_others(self, worker: LaneWorker) -> None:
        with self._pipeline.lock:
            self._measured.add(worker.name)
            self._pipeline.changed.notify_all()
            self._pipeline.changed.wait_for(
                lambda: (
                    self._pipeline.stopping or not self._lanes(LaneState.STARTING) - self._measured
                )
            )

    def _lanes(self, state: LaneState) -> set[str]:
        lanes = self._pipeline.dispatcher.lanes.items()
        return {name for name, lane in lanes if lane.state is state}


def measure(
    detector: Detector, sizes: Sequence[int], frame: Frame, clock: Callable[[], int]
) -> Iterator[tuple[int, int | None]]:
    """Run a detector and yield (batch size, nanoseconds of one call), or None of an untimed one.

    It may be left after each, for a large batch of a large model takes seconds.

    Raises:
        LaneError: it does not answer every frame.
    """
    for size in sizes:
        batch = Batch('', (frame,) * size, 0, 0, 0, 0)
        begin_ns = clock()
        for run in range(UNTIMED_RUNS + TIMED_RUNS):
            start_ns = clock()
            if run > UNTIMED_RUNS and start_ns - begin_ns > MEASURE_NS:
                break
            check_results(batch, detector.submit(batch.frames).wait())
            yield size, clock() - start_ns if run >= UNTIMED_RUNS else None


def sizes_to_measure(max_batch: int) -> list[int]:
    """Return the powers of two below ``max_batch``, and ``max_batch``."""
    sizes = [1 << bit for bit in range(max_batch.bit_length()) if 1 << bit < max_batch]
    return [*sizes, max_batch]


def warmup_frame(height: int, width: int) -> Frame:
    """Return a grey bgr8 image for measuring a detector before the first camera image arrives."""
    data = np.full(height * width * 3, 114, np.uint8)
    return Frame('warm-up', 0, 0, 0, '', 'bgr8', height, width, width * 3, data)
