"""Turn a model's segmentation map into class masks on the CPU, with NumPy."""

from __future__ import annotations

import numpy as np

from yolox_trt_ros.core.errors import LaneError
from yolox_trt_ros.core.model import InputSpec, Letterbox, ModelSpec
from yolox_trt_ros.core.segmentation import Segmentation, SegmentationSpec, region_of

ROWS_BYTES = 1 << 19
"""Of scores that are compared in one go: about what a core's cache holds."""


class CpuSegmenter:
    """Reads the masks of one model.

    Args:
        image: how it is fed.
        spec: what its segmentation output means.
    """

    def __init__(self, image: InputSpec, spec: SegmentationSpec) -> None:
        self._image, self._spec = image, spec

    @classmethod
    def of(cls, spec: ModelSpec) -> CpuSegmenter | None:
        """Return that of a model; None: it gives no masks."""
        return cls(spec.input, spec.segmentation) if spec.segmentation else None

    def check(self, maps: np.ndarray, batch: int) -> None:
        """Refuse an output whose shape is not that of the model.

        Raises:
            LaneError: with the expected and the actual shape.
        """
        expected = (batch, *self._spec.shape)
        if maps.shape != expected:
            raise LaneError(f'segmentation output: expected shape {expected}, got {maps.shape}')

    def mask(self, maps: np.ndarray, index: int, box: Letterbox) -> Segmentation:
        """Return one image's mask.

        Args:
            maps: output of the batch.
            index: which image of it.
            box: the letterbox it was fed with.
        """
        left, top, width, height = self._spec.window(box, self._image)
        seen = maps[index][..., top : top + height, left : left + width]
        if self._spec.numbers:
            chosen = as_bytes(seen.reshape(height, width))
        else:
            chosen = argmax(seen)
        return Segmentation(chosen, region_of(box), self._spec.labels)


def argmax(scores: np.ndarray) -> np.ndarray:
    """Return the class with the highest score, uint8 (height, width); of equals the first.

    A NaN is never highest; where all are, the class is 0.

    Args:
        scores: float (classes, height, width).
    """
    classes, height, width = scores.shape
    out = np.zeros((height, width), np.uint8)
    rows = max(1, ROWS_BYTES // max(1, classes * width * scores.itemsize))
    with np.errstate(invalid='ignore'):
        for first in range(0, height, rows):
            part, target = scores[:, first : first + rows], out[first : first + rows]
            best = np.fmax(part[0], scores.dtype.type(-np.inf))
            for number in range(1, classes):
                higher = part[number] > best
                np.maximum(target, higher.view(np.uint8) * np.uint8(number), out=target)
                np.fmax(best, part[number], out=best)
    return out


def as_bytes(numbers: np.ndarray) -> np.ndarray:
    """Return class numbers as uint8, what is no such number as the nearest one, NaN as 0."""
    if numbers.dtype.kind == 'f':
        numbers = np.fmin(np.fmax(numbers, 0), 255)
    else:
        numbers = np.clip(numbers, 0, 255)
    return np.ascontiguousarray(numbers.astype(np.uint8))
