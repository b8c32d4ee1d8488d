"""Cameras, lanes, frames and a detector whose every answer the test decides."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

import numpy as np

from yolox_trt_ros.core.config import CameraConfig, CameraSimConfig, LaneConfig, RigConfig
from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.detector import Detected, FrameResult
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.snapshot import CameraSnapshot

PIXELS = np.zeros(12, np.uint8)


def camera(name: str, **values: object) -> CameraConfig:
    return CameraConfig(name, RigConfig(), CameraSimConfig(), **values)


def lane(name: str, **values: object) -> LaneConfig:
    return LaneConfig(name, **values)


def frame(name: str, sequence: int, received_ns: int | None = None) -> Frame:
    at = time.monotonic_ns() if received_ns is None else received_ns
    return Frame(name, sequence, at, at, name, 'bgr8', 2, 2, 6, PIXELS)


def accounted(snapshot: CameraSnapshot) -> bool:
    """Return whether every received frame is published, dropped, waiting or in flight."""
    dropped = sum(snapshot.dropped.values())
    return snapshot.received == (
        snapshot.published + dropped + snapshot.waiting + snapshot.in_flight
    )


class SleepingDetector:
    """Takes ``cost_s`` a call and finds nothing, unless ``answer`` says otherwise."""

    about = 'sleep'

    def __init__(
        self,
        cost_s: float = 0.0,
        max_batch: int = 1,
        answer: Callable[[Sequence[Frame]], list[FrameResult] | None] = lambda frames: None,
    ) -> None:
        self.max_batch = max_batch
        self.closed = 0
        self.threads: set[str] = set()
        self._cost_s = cost_s
        self._answer = answer

    def submit(self, frames: Sequence[Frame]) -> SleepingTicket:
        self.threads.add(threading.current_thread().name)
        assert 1 <= len(frames) <= self.max_batch
        return SleepingTicket(tuple(frames), self._cost_s, self._answer)

    def close(self) -> None:
        self.closed += 1


class SleepingTicket:
    def __init__(self, frames, cost_s, answer) -> None:
        self._frames = frames
        self._answer = answer
        self._due_s = time.monotonic() + cost_s

    def sleep(self) -> None:
        time.sleep(max(0.0, self._due_s - time.monotonic()))

    def wait(self) -> list[FrameResult]:
        self.sleep()
        answer = self._answer(self._frames)
        if answer is not None:
            return answer
        now = time.monotonic_ns()
        return [Detected(Detections.empty(), now, now, now, now) for _ in self._frames]
