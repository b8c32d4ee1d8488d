"""The detector of cpu lanes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2

from yolox_trt_ros.core.detector import Detected, FrameResult
from yolox_trt_ros.core.errors import ConfigError, FrameError
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.model import ModelSpec, Thresholds
from yolox_trt_ros.detect.attempt import attempt
from yolox_trt_ros.detect.backends.onnxruntime import OnnxRuntimeCpuBackend
from yolox_trt_ros.detect.cpu.postprocess import CpuPostprocessor
from yolox_trt_ros.detect.cpu.preprocess import CpuPreprocessor


@dataclass(frozen=True, slots=True)
class _Done:
    """A ticket of a detector that works while ``submit`` runs."""

    results: list[FrameResult]

    def wait(self) -> list[FrameResult]:
        return self.results


class CpuDetector:
    """OpenCV letterbox, ONNX Runtime, NumPy decode and NMS, all on the calling thread.

    Args:
        path: the ONNX file.
        spec: what it says of itself.
        thresholds: asked for at every batch, so that they may change at run time.
        max_batch: most frames of one call.
        threads: CPU threads of one inference.

    Raises:
        ConfigError: the model's batch size is fixed and ``max_batch`` is another.
        ModelError, MissingDependencyError: see :class:`OnnxRuntimeCpuBackend`.
    """

    def __init__(
        self,
        path: Path,
        spec: ModelSpec,
        thresholds: Callable[[], Thresholds],
        max_batch: int = 1,
        threads: int = 1,
    ) -> None:
        if spec.batch not in (0, max_batch):
            raise ConfigError(
                f'max_batch: {path.name} takes batches of {spec.batch} only, got {max_batch}'
            )
        # OpenCV's pool belongs to the process; a lane must not use other lanes' cores through it.
        cv2.setNumThreads(threads)
        self.max_batch = max_batch
        self._thresholds = thresholds
        self._batch = spec.batch
        self._backend = OnnxRuntimeCpuBackend(path, spec, threads)
        self._preprocessor = CpuPreprocessor(spec)
        self._postprocessor = CpuPostprocessor(spec)
        self._input = self._preprocessor.new_input(max_batch)

    def submit(self, frames: Sequence[Frame]) -> _Done:
        """Detect in 1 to ``max_batch`` frames; the returned ticket is ready.

        Raises:
            LaneError: the network's output has not the model's shape.
        """
        begun = time.monotonic_ns()
        written = [
            attempt(partial(self._preprocessor.write, target=self._input[place]), frame)
            for place, frame in enumerate(frames)
        ]
        wrong = [box for box, _ in written if isinstance(box, FrameError)]
        if len(wrong) == len(frames):  # there is nothing to run the network for
            return _Done([*wrong])
        preprocessed = time.monotonic_ns()
        # A fixed batch is always run whole; what its unused places hold does not matter.
        size = self._batch or len(frames)
        outputs = self._backend.infer(self._input[:size])
        inferred = time.monotonic_ns()
        self._postprocessor.check(outputs, size)
        thresholds = self._thresholds()
        found = [
            box
            if isinstance(box, FrameError)
            else self._postprocessor.detections(outputs, i, box, thresholds)
            for i, (box, _) in enumerate(written)
        ]
        times = begun, preprocessed, inferred, time.monotonic_ns()
        return _Done(
            [
                f if isinstance(f, FrameError) else Detected(f, *times, prepare_ns)
                for f, (_, prepare_ns) in zip(found, written, strict=True)
            ]
        )

    def close(self) -> None:
        """Free nothing: Python's reference counting owns all there is."""
