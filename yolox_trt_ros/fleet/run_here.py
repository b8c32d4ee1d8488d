"""Run segments in this process, one after the other."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any

from yolox_trt_ros.bags.reader import Bag
from yolox_trt_ros.core.errors import FrameError
from yolox_trt_ros.detector import Detector
from yolox_trt_ros.fleet.job import FleetJob
from yolox_trt_ros.fleet.plan import FleetSegment
from yolox_trt_ros.fleet.stored_bag import opened_bag
from yolox_trt_ros.fleet.worker import SegmentWorker
from yolox_trt_ros.ros.input.codecs import Arrival
from yolox_trt_ros.ros.input.readers import new_reader

MEASURED = 12
"""Images that an estimate is measured on."""


def run_here(job: FleetJob, segments: Sequence[FleetSegment]) -> Iterator[dict[str, Any]]:
    """Yield the row of each segment when it is written."""
    with SegmentWorker(job) as worker:
        for segment in segments:
            yield worker.run(segment)


def measured_rate(job: FleetJob, segment: FleetSegment) -> float:
    """Return how many images a second a worker reads and detects, from the first of a segment.

    Returns:
        0 where none of them can be read.
    """
    with opened_bag(segment.bag) as bag, job.detector() as detector:
        return _rate(bag, detector, segment, job.lane.max_batch)


def _rate(bag: Bag, detector: Detector, segment: FleetSegment, batch: int) -> float:
    cameras = {camera.topic: camera for camera in segment.cameras}
    readers = {topic: new_reader(camera.transport) for topic, camera in cameras.items()}
    messages = bag.messages([*cameras], segment.start_ns, segment.stop_ns)

    def detect() -> int:
        frames = []
        for message in islice(messages, batch):
            with suppress(FrameError):
                frames.append(readers[message.topic](message.cdr, Arrival('', 0, message.t_ns)))
        detector.each(frames)
        return len(frames)

    detect()  # the first batch makes buffers
    begun = time.monotonic()
    count = sum(detect() for _ in range(-(-MEASURED // batch)))
    return count / (time.monotonic() - begun)
