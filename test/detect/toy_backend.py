"""A backend from outside the package: onnx's own reference implementation, on the CPU."""

from __future__ import annotations

import numpy as np
from onnx.reference import ReferenceEvaluator

from yolox_trt_ros.core.backends import LaneSetup
from yolox_trt_ros.core.config import LaneConfig
from yolox_trt_ros.detect.cpu.detector import CpuDetector


class ReferenceBackend:
    def __init__(self, setup: LaneSetup, max_batch: int) -> None:
        spec = setup.spec
        self._network = ReferenceEvaluator(str(setup.path))
        self._spec = spec
        self.sizes = list(range(1, max_batch + 1))
        self.input = np.zeros((max_batch, 3, spec.input.height, spec.input.width), spec.input.dtype)
        self.outputs: list[np.ndarray] = []

    def infer(self, images: int) -> None:
        feed = {self._spec.input.name: self.input[:images]}
        self.outputs = self._network.run(list(self._spec.head.outputs), feed)

    def close(self) -> None:
        pass


def lane_detector(lane: LaneConfig, setup: LaneSetup) -> CpuDetector:
    backend = ReferenceBackend(setup, lane.max_batch)
    return CpuDetector(setup.spec, backend, setup.thresholds, lane.threads)
