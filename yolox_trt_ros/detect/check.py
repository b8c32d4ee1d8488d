"""Check on a few pictures that a prepared model finds what the model itself finds.

Compared are the best candidates before suppression, of which there are some in any picture: a
model of any classes can be checked so, and no box hangs on another's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.detector import Detected, LaneDetector
from yolox_trt_ros.core.errors import ModelError
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.head import HeadSpec
from yolox_trt_ros.core.model import InputSpec, Thresholds

PATCHES = (4, 16, 64)
"""Patches of random colour across each picture."""

THRESHOLDS = Thresholds(score=0.0, nms_iou=1.0, max_detections=300)
"""Under which pictures are compared: nothing is suppressed."""

COMPARED = 50
"""The best detections of a picture that have to be found again."""

LARGEST_SCORE, LARGEST_SHARE, SMALLEST_IOU = 0.03, 0.25, 0.7
"""Accepted: a score that differs by so much, and by no larger part of itself; such an overlap.
Float16 has 11 bits. Over the layers of a YOLOX-S that makes some thousandths of a score, and up to
half a pixel where the model itself gives out pixels."""

_TINY = 1e-4
"""A difference of scores that is none."""


@dataclass(frozen=True, slots=True)
class Difference:
    """How far detections are from what is expected, over some pictures.

    Attributes:
        compared: detections.
        missing: those of one side without a counterpart on the other.
        score: largest difference of two counterparts' scores.
        iou: smallest overlap of two counterparts.
    """

    compared: int = 0
    missing: int = 0
    score: float = 0.0
    iou: float = 1.0

    def __add__(self, other: Difference) -> Difference:
        return Difference(
            self.compared + other.compared,
            self.missing + other.missing,
            max(self.score, other.score),
            min(self.iou, other.iou),
        )

    def __str__(self) -> str:
        return (
            f'{self.missing} of {self.compared} detections without a counterpart; the others '
            f'differ by {self.score:.4f} in score at most, and overlap by {self.iou:.3f} at least'
        )


def check_frames(image: InputSpec) -> list[Frame]:
    """Return pictures of a model's input size, the same ones each time."""
    rng = np.random.default_rng(0)
    size = image.width, image.height
    frames = []
    for across in PATCHES:
        down = max(2, across * image.height // image.width)
        colours = rng.integers(0, 256, (down, across, 3), np.uint8)
        frames.append(Frame.of(cv2.resize(colours, size, interpolation=cv2.INTER_CUBIC)))
    return frames


def found_in(
    detector: LaneDetector, frames: Sequence[Frame], batch: int = 1
) -> tuple[Detections, ...]:
    """Return what a detector under :data:`THRESHOLDS` finds in each picture, in calls of a batch.

    Raises:
        ModelError: it gives no result for one.
    """
    found = []
    for first in range(0, len(frames), batch):
        for result in detector.submit(frames[first : first + batch]).wait():
            if not isinstance(result, Detected):
                raise ModelError(f'a picture is not read: {result}')
            found.append(result.detections)
    return tuple(found)


def compare(expected: Sequence[Detections], found: Sequence[Detections]) -> Difference:
    """Return how far two lists of detections, one for each picture, are from each other."""
    total = Difference()
    for one, other in zip(expected, found, strict=True):
        total += _one_sided(one, other) + _one_sided(other, one)
    return total


def differs(difference: Difference, head: HeadSpec) -> bool:
    """Return whether detections are farther apart than their precision explains.

    Where the network itself suppresses boxes, an overlap on its threshold decides on whole boxes:
    one in ten may be another one.
    """
    return difference.missing > (difference.compared // 10 if head.suppressed else 0)


def refusal(model: str, precision: str, device: str, difference: Difference) -> str:
    """Return what to say of a prepared model that finds something else."""
    return (
        f'{model} in {precision} finds something else on {device} than its file in fp32 does: '
        f'{difference}. Accepted are {LARGEST_SCORE} and {LARGEST_SHARE:.0%} of a score, and an '
        f'overlap of {SMALLEST_IOU}: ask for precision fp32'
    )


def _one_sided(wanted: Detections, there: Detections) -> Difference:
    full = len(there) >= THRESHOLDS.max_detections
    last = float(there.score[-1]) if full else 0.0
    compared = missing = 0
    score, iou = 0.0, 1.0
    for box, sure, class_id in zip(
        wanted.xyxy[:COMPARED], wanted.score, wanted.class_id, strict=False
    ):
        allowed = min(LARGEST_SCORE, LARGEST_SHARE * float(sure) + _TINY)
        if sure - allowed <= last and full:
            continue  # its counterpart may be one that the other list has no room for
        compared += 1
        off = np.abs(there.score - sure)
        overlap = _overlap(box, there.xyxy)
        fits = (there.class_id == class_id) & (off <= allowed) & (overlap >= SMALLEST_IOU)
        if not fits.any():
            missing += 1
            continue
        best = np.where(fits, off - overlap, 1.0).argmin()
        score, iou = max(score, float(off[best])), min(iou, float(overlap[best]))
    return Difference(compared, missing, score, iou)


def _overlap(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=1)
    area, areas = np.prod(box[2:] - box[:2]), np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    # A box without an area is the same as itself.
    same = np.all(np.abs(boxes - box) < 1, axis=1)
    union = area + areas - shared
    return np.where(same, 1.0, shared / np.where(union > 0, union, 1.0))
