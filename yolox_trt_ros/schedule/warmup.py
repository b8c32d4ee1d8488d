"""How a detector is measured before its lane takes frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from yolox_trt_ros.core.detector import LaneDetector
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.snapshot import LaneState
from yolox_trt_ros.schedule.camera import Camera
from yolox_trt_ros.schedule.host import Host
from yolox_trt_ros.schedule.lane import LaneWorker, check_results
from yolox_trt_ros.schedule.state import Batch

UNTIMED_RUNS, TIMED_RUNS = 2, 5
MEASURE_NS = 1_500_000_000
"""A batch size is measured no longer than this once it has one sample."""


class WarmUp:
    """Measures the lanes of a pipeline.

    In its first life a lane is measured alone, one lane after the other, and then beside all the
    others; after a fault it is measured beside whatever runs, which is its probe.

    Args:
        host: whose cost model learns.
        height, width: size of the image that is used, pixels.
    """

    def __init__(self, host: Host, height: int, width: int) -> None:
        self._host = host
        self._frames = warmup_frames(host.dispatcher.models, height, width)
        self._alone_now: LaneWorker | None = None
        self._measured: set[str] = set()

    def run(self, worker: LaneWorker, detector: LaneDetector) -> None:
        """Measure ``worker``'s detector.

        Raises:
            LaneError: it does not answer every frame.
        """
        if worker.first:
            with self._alone(worker):
                self._measure(worker, detector, 0)
            self._wait_for_the_others(worker)
            load = len(self._measured) - 1
            if load > 0:
                self._measure(worker, detector, load)
        else:
            with self._host.lock:
                load = len(self._host.lanes_in(LaneState.RUNNING))
            self._measure(worker, detector, load)

    @contextmanager
    def _alone(self, worker: LaneWorker) -> Iterator[None]:
        """Wait until no other lane is measured; one that was given up meanwhile does not count."""
        host = self._host
        with host.lock:
            host.changed.wait_for(
                lambda: (
                    not host.wants(worker)
                    or self._alone_now is None
                    or not host.wants(self._alone_now)
                )
            )
            self._alone_now = worker
        try:
            yield
        finally:
            with host.lock:
                if self._alone_now is worker:
                    self._alone_now = None
                host.changed.notify_all()

    def _measure(self, worker: LaneWorker, detector: LaneDetector, load: int) -> None:
        host = self._host
        sizes = sizes_to_measure(worker.spec.config.max_batch)
        with worker.doing('measuring its detector'):
            for model, frame in self._frames.items():
                for size, cost_ns in measure(detector, sizes, frame, host.clock):
                    with host.lock:
                        if not host.wants(worker):
                            return
                        if cost_ns is not None:
                            host.learn(worker, model, size, load, cost_ns)

    def _wait_for_the_others(self, worker: LaneWorker) -> None:
        host = self._host
        with host.lock:
            self._measured.add(worker.name)
            host.changed.notify_all()
            host.changed.wait_for(
                lambda: (
                    not host.wants(worker) or not host.lanes_in(LaneState.STARTING) - self._measured
                )
            )


def measure(
    detector: LaneDetector, sizes: Sequence[int], frame: Frame, clock: Callable[[], int]
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
    """Return all sizes up to 8, then two to each doubling, and ``max_batch``."""
    sizes = [*range(1, 9), 12, 16, 24, 32, 48, 64]
    return [*(size for size in sizes if size < max_batch), max_batch]


def warmup_frame(height: int, width: int) -> Frame:
    """Return a grey bgr8 image for measuring a detector before the first camera image arrives."""
    data = np.full(height * width * 3, 114, np.uint8)
    return Frame('warm-up', 0, 0, 0, '', 'bgr8', height, width, width * 3, data)


def warmup_frames(
    models: Mapping[str, Sequence[Camera]], height: int, width: int
) -> dict[str, Frame]:
    """Return an image for each model: of one of its cameras, if there are several models."""
    frame = warmup_frame(height, width)
    if len(models) == 1:
        return dict.fromkeys(models, frame)
    return {m: replace(frame, camera=cameras[0].config.name) for m, cameras in models.items()}
