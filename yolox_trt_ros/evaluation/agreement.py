"""How far a version of a model finds other things than the model itself: no labels needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.model import Letterbox, ModelSpec, Thresholds
from yolox_trt_ros.detect.cpu.postprocess import CpuPostprocessor
from yolox_trt_ros.evaluation.matching import iou

LOWEST = 0.1
"""Score from which detections count; what is less sure changes with every rounding."""
Run = Callable[[np.ndarray], Sequence[np.ndarray]]
"""From an input (1, 3, height, width) to the outputs of the head."""


class Agreement:
    """Compares what versions of a model detect with what the model itself detects.

    Args:
        spec: of the model.
        pictures: float32 (3, height, width) each.
        run: the model itself.
    """

    def __init__(self, spec: ModelSpec, pictures: Sequence[np.ndarray], run: Run) -> None:
        self.pictures = pictures
        self._post = CpuPostprocessor(spec)
        height, width = spec.input.height, spec.input.width
        self._box = Letterbox(1.0, height, width, height, width)
        self._thresholds = Thresholds(score=LOWEST, nms_iou=0.65, max_detections=100)
        self._reference = [self._found(run, picture) for picture in pictures]

    def _found(self, run: Run, picture: np.ndarray) -> Detections:
        return self._post.detections(run(picture[None]), 0, self._box, self._thresholds)

    def loss(self, run: Run, count: int | None = None) -> float:
        """Return what part of the detections is lost or false, 0 (none) to 1.

        Detections of both are paired by class and overlap. A pair counts by the lower of its
        scores and by its overlap, everything by its score: 1 - 2 Σ pairs / (Σ here + Σ there),
        Dice's coefficient for boxes that are more or less sure.

        Args:
            run: the version.
            count: look at the first pictures only.
        """
        shared = total = 0.0
        limit = len(self.pictures) if count is None else count
        for picture, reference in zip(self.pictures[:limit], self._reference, strict=False):
            found = self._found(run, picture)
            total += float(reference.score.sum() + found.score.sum())
            shared += _shared(reference, found)
        return 1 - 2 * shared / total if total else 0.0


def _shared(a: Detections, b: Detections) -> float:
    if not len(a) or not len(b):
        return 0.0
    overlap = iou(a.xyxy, b.xyxy) * (a.class_id[:, None] == b.class_id[None])
    worth = overlap * np.minimum(a.score[:, None], b.score[None])
    total = 0.0
    # Each is paired once, the best pairs first.
    for _ in range(min(len(a), len(b))):
        best = int(worth.argmax())
        i, j = divmod(best, worth.shape[1])
        if worth[i, j] <= 0:
            break
        total += float(worth[i, j])
        worth[i], worth[:, j] = 0, 0
    return total
