"""A pipeline of fake detectors, and a sink that remembers what it was given."""

from __future__ import annotations

import time
from collections import defaultdict

from schedule_helpers import camera, lane

from yolox_trt_ros.schedule.lane import LaneSpec
from yolox_trt_ros.schedule.pipeline import Pipeline, PipelineOptions

SMALL = PipelineOptions(warmup_height=8, warmup_width=8)


class Published:
    """A sink that remembers what it was given and fails where it is asked to."""

    def __init__(self) -> None:
        self.sequences: dict[str, list[int]] = defaultdict(list)
        self.traces = []
        self.events: list[tuple[str, str]] = []
        self.problems: list[tuple[str, str]] = []
        self.fails_for: set[str] = set()

    def sink(self, frame, detections) -> None:
        if frame.camera in self.fails_for:
            raise RuntimeError('the middleware is gone')
        self.sequences[frame.camera].append(frame.sequence)

    def on_trace(self, frame, trace) -> None:
        self.traces.append(trace)

    def on_event(self, level: str, message: str) -> None:
        self.events.append((level, message))

    def on_problem(self, camera: str, message: str) -> None:
        self.problems.append((camera, message))


def make_pipeline(cameras, detectors, published, **lane_values) -> Pipeline:
    lanes = [
        LaneSpec(
            lane(name, **lane_values.get(name, {})),
            made if callable(made) else lambda made=made: made,
        )
        for name, made in detectors.items()
    ]
    return Pipeline(
        [camera(name) if isinstance(name, str) else name for name in cameras],
        lanes,
        published.sink,
        on_trace=published.on_trace,
        on_event=published.on_event,
        on_problem=published.on_problem,
        options=SMALL,
    )


def wait_until(condition, timeout_s: float = 20.0) -> None:
    until = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until, 'waited in vain'
        time.sleep(0.002)
