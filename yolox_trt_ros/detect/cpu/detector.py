"""The detector of cpu lanes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import cv2

from yolox_trt_ros.core.backends import no_masks
from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.detector import Detected, FrameResult
from yolox_trt_ros.core.errors import FrameError
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.model import Letterbox, ModelSpec, Thresholds
from yolox_trt_ros.detect.attempt import attempt
from yolox_trt_ros.detect.backends.protocol import Backend
from yolox_trt_ros.detect.cpu.postprocess import CpuPostprocessor
from yolox_trt_ros.detect.cpu.preprocess import CpuPreprocessor
from yolox_trt_ros.detect.cpu.segment import CpuSegmenter
from yolox_trt_ros.detect.merged_parts import merged_parts


@dataclass(frozen=True, slots=True)
class _Done:
    """A ticket of a detector that works while ``submit`` runs."""

    results: list[FrameResult]

    def sleep(self) -> None:
        """Return at once."""

    def wait(self) -> list[FrameResult]:
        return self.results


class CpuDetector:
    """OpenCV letterbox, a backend, NumPy decode and NMS, all on the calling thread.

    Args:
        spec: the model.
        backend: runs the network, on arrays of the host.
        thresholds: asked for at every batch, so that they may change at run time.
        threads: CPU threads that OpenCV may use.
        about: which network runs, for people.
        masks: whether somebody wants the class masks of a camera; asked for every image.
    """

    def __init__(
        self,
        spec: ModelSpec,
        backend: Backend,
        thresholds: Callable[[], Thresholds],
        threads: int = 1,
        about: str = '',
        masks: Callable[[str], bool] = no_masks,
    ) -> None:
        # OpenCV's pool belongs to the process; a lane must not use other lanes' cores through it.
        cv2.setNumThreads(threads)
        self.max_batch, self.about = backend.sizes[-1], about
        self._thresholds = thresholds
        self._backend = backend
        self._preprocessor = CpuPreprocessor(spec.input)
        self._postprocessor = CpuPostprocessor(spec)
        self._segmenter, self._wanted = CpuSegmenter.of(spec), masks

    def submit(self, frames: Sequence[Frame]) -> _Done:
        """Detect in frames that take 1 to ``max_batch`` places; the returned ticket is ready.

        Raises:
            LaneError: the network's output has not the model's shape.
        """
        backend, begun = self._backend, time.monotonic_ns()
        written, places = [], 0
        for frame in frames:
            targets = backend.input[places : places + frame.places]
            write = partial(self._preprocessor.write_parts, targets=targets)
            written.append(attempt(write, frame))
            places += frame.places
        wrong = [boxes for boxes, _ in written if isinstance(boxes, FrameError)]
        if len(wrong) == len(frames):  # there is nothing to run the network for
            return _Done([*wrong])
        preprocessed = time.monotonic_ns()
        # A fixed batch is always run whole; what its unused places hold does not matter.
        size = next(size for size in backend.sizes if size >= places)
        masks = [self._segmenter is not None and self._wanted(frame.camera) for frame in frames]
        if any(masks):
            backend.infer(size, masks=True)
        else:
            backend.infer(size)
        inferred = time.monotonic_ns()
        self._postprocessor.check(backend.outputs, size)
        if any(masks) and self._segmenter:
            self._segmenter.check(backend.segmentation, size)
        thresholds, place = self._thresholds(), 0
        found: list[Detections | FrameError] = []
        for frame, (boxes, _), mask in zip(frames, written, masks, strict=True):
            if isinstance(boxes, FrameError):
                found.append(boxes)
            else:
                limits = thresholds.of(frame.camera)
                found.append(self._found(frame, boxes, place, limits, mask))
            place += frame.places
        times = begun, preprocessed, inferred, time.monotonic_ns()
        return _Done(
            [
                f if isinstance(f, FrameError) else Detected(f, *times, prepare_ns)
                for f, (_, prepare_ns) in zip(found, written, strict=True)
            ]
        )

    def _found(
        self,
        frame: Frame,
        boxes: Sequence[Letterbox],
        place: int,
        thresholds: Thresholds,
        mask: bool,
    ) -> Detections:
        """Return what is in a frame and its crops, which begin at a place of the batch."""
        backend = self._backend
        parts = [
            self._postprocessor.detections(backend.outputs, place + i, box, thresholds)
            for i, box in enumerate(boxes)
        ]
        if mask and self._segmenter is not None:
            chosen = self._segmenter.mask(backend.segmentation, place, boxes[0])
            parts[0] = parts[0].segmented(chosen)
        return merged_parts(parts, frame, thresholds) if frame.crops else parts[0]

    def close(self) -> None:
        """Free the backend; twice is allowed."""
        self._backend.close()
