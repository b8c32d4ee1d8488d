"""Make one image's detections of those in its parts, without double boxes where parts meet.

An object that a part's border cuts gives a box that ends at that border. It yields to a box of the
same class that covers it and that no border has cut: of the whole image, or of a part beside it.
What is left goes through suppression across parts. There are few boxes, so this is done on the
host, where results have arrived, on all lanes alike.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.model import Thresholds

TOUCHES = 0.02
"""A box that ends nearer to a border than this share of the part's side, touches it …"""
TOUCHES_PX = 2.0
"""… or nearer than so many pixels."""
COVERED = 0.6
"""A box that a border has cut yields where this share of it lies in the other one."""


def merged_parts(found: Sequence[Detections], frame: Frame, thresholds: Thresholds) -> Detections:
    """Return the detections of an image, best first.

    Args:
        found: in the image, or in its part, and in each of its crops; in source-image pixels. The
            mask is the first one's.
        frame: which image.
        thresholds: whose overlap, classes and number hold for all of them together.
    """
    base = frame.part or (0, 0, frame.width, frame.height)
    parts = (base, *frame.crops)
    xyxy = np.concatenate([one.xyxy for one in found])
    score = np.concatenate([one.score for one in found])
    class_id = np.concatenate([one.class_id for one in found])
    origin = np.repeat(np.arange(len(found)), [len(one) for one in found])
    order = np.argsort(-score, kind='stable')
    xyxy, score, class_id, origin = xyxy[order], score[order], class_id[order], origin[order]
    other = origin[:, None] != origin
    if not thresholds.class_agnostic:
        other &= class_id[:, None] == class_id
    shared, area = _shared(xyxy)
    cut = _cut(xyxy, np.array(parts, np.float32)[origin], (frame.width, frame.height))
    yields = cut & (other & ~cut & (shared > COVERED * area[:, None])).any(axis=1)
    overlap = other & (shared > thresholds.nms_iou * (area[:, None] + area - shared))
    keep = _best(overlap, ~yields)[: thresholds.max_detections]
    arrays = xyxy[keep], score[keep], class_id[keep]
    return Detections(*arrays, found[0].labels, segmentation=found[0].segmentation)


def merged_images(
    found: Sequence[Detections], frames: Sequence[Frame], thresholds: Thresholds
) -> list[Detections]:
    """Return the detections of each frame of a batch.

    Args:
        found: of each place of the batch.
        frames: those of the batch, in order.
        thresholds: see :func:`merged_parts`.
    """
    images, place = [], 0
    for frame in frames:
        parts = found[place : place + frame.places]
        images.append(merged_parts(parts, frame, thresholds) if frame.crops else parts[0])
        place += frame.places
    return images


def _shared(xyxy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the area that each box shares with each other, (n, n), and its own, (n,)."""
    x1, y1, x2, y2 = np.ascontiguousarray(xyxy.T)
    width = np.minimum(x2[:, None], x2) - np.maximum(x1[:, None], x1)
    height = np.minimum(y2[:, None], y2) - np.maximum(y1[:, None], y1)
    return np.maximum(width, 0) * np.maximum(height, 0), (x2 - x1) * (y2 - y1)


def _cut(xyxy: np.ndarray, parts: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return which boxes end at a border of their part that is none of the image, bool (n,).

    Args:
        xyxy: float32 (n, 4).
        parts: float32 (n, 4), the part of each: left, top, width, height.
        size: width and height of the image.
    """
    low, sides = parts[:, :2], parts[:, 2:]
    high = low + sides
    near = np.maximum(TOUCHES_PX, TOUCHES * sides)
    before = (low > 0) & (xyxy[:, :2] < low + near)
    behind = (high < np.array(size, np.float32)) & (xyxy[:, 2:] > high - near)
    cut: np.ndarray = (before | behind).any(axis=1)
    return cut


def _best(overlap: np.ndarray, alive: np.ndarray) -> np.ndarray:
    """Return the indices that greedy suppression keeps, best first.

    Args:
        overlap: bool (n, n), which boxes suppress each other.
        alive: bool (n,), those that take part; changed.
    """
    keep = []
    for i in range(len(alive)):
        if alive[i]:
            keep.append(i)
            alive[i + 1 :] &= ~overlap[i, i + 1 :]
    return np.array(keep, np.intp)
