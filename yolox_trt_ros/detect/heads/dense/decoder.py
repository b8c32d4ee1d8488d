"""Find the candidates of a dense head on the CPU, with NumPy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from yolox_trt_ros.core.head import Candidates
from yolox_trt_ros.core.model import Thresholds
from yolox_trt_ros.detect.heads.dense.head import AnchorSet, Boxes, DenseHead, Place

FARTHEST = 1e6
"""Input pixels; kFarthest in head.cuh."""


class DenseDecoder:
    """Finds the candidates in the outputs of one model."""

    def __init__(self, head: DenseHead) -> None:
        self._head = head

    @np.errstate(over='ignore', invalid='ignore')  # of numbers that are no box's and no score's
    def __call__(
        self, outputs: Sequence[np.ndarray], index: int, thresholds: Thresholds
    ) -> Candidates:
        """Return one image's boxes whose score is above the threshold, anchor by anchor."""
        images = [o if self._head.unbatched else o[index] for o in outputs]
        found = [self._of_level(level, images, thresholds) for level in self._head.levels]
        xyxy, score, class_id = (np.concatenate(part) for part in zip(*found, strict=True))
        # NaN, and numbers so large that an area overflows, are no boxes.
        sane = (np.abs(xyxy) < FARTHEST).all(axis=1)
        return Candidates(xyxy[sane], score[sane], class_id[sane])

    def _of_level(
        self, level: AnchorSet, images: Sequence[np.ndarray], thresholds: Thresholds
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        head, classes = self._head, self._head.classes
        softmax = head.scores == 'softmax'
        raw = self._numbers(images, level.scores, level.anchors, classes + softmax)
        objectness = None
        if level.objectness is not None:
            objectness = self._numbers(images, level.objectness, level.anchors, 1)[:, 0]
            first = objectness
        else:
            first = np.fmax.reduce(raw, axis=1)
        (anchors,) = np.nonzero(~(first.astype(np.float32) < head.bound(thresholds.score)))
        scores = self._scores(raw[anchors].astype(np.float32))
        if objectness is not None:
            scores *= self._probability(objectness[anchors].astype(np.float32))[:, None]
        if thresholds.class_agnostic or softmax:
            best = scores.argmax(axis=1)
            (row,) = np.nonzero(scores[np.arange(len(best)), best] > thresholds.score)
            class_id = best[row]
        else:
            row, class_id = np.nonzero(scores > thresholds.score)
        channels = 4 * head.boxes.bins
        numbers = self._numbers(images, level.box, level.anchors, channels)
        numbers = numbers[anchors[row]].astype(np.float32)
        xyxy = corners(numbers, head.boxes, level, anchors[row])
        return xyxy, scores[row, class_id], class_id

    def _numbers(
        self, images: Sequence[np.ndarray], place: Place, anchors: int, channels: int
    ) -> np.ndarray:
        """Return a view (anchors, channels) of one kind of number."""
        image = images[place.output]
        if self._head.layouts[place.output].channels_last:
            rows = image.reshape(-1, place.channels)
        else:
            rows = image.reshape(place.channels, -1).T
        return rows[place.anchor : place.anchor + anchors, place.channel : place.channel + channels]

    def _scores(self, raw: np.ndarray) -> np.ndarray:
        if self._head.scores != 'softmax':
            return self._probability(raw)
        most = np.fmax.reduce(raw, axis=1, keepdims=True)
        shares = np.exp(raw - most)
        scores: np.ndarray = shares[:, :-1] / shares.sum(axis=1, keepdims=True)
        return scores

    def _probability(self, raw: np.ndarray) -> np.ndarray:
        return raw if self._head.scores == 'probability' else _sigmoid(raw)


def corners(numbers: np.ndarray, boxes: Boxes, level: AnchorSet, anchors: np.ndarray) -> np.ndarray:
    """Return corners in input pixels.

    Args:
        numbers: float32 (n, 4 × bins).
        boxes: what they mean.
        level: where they come from.
        anchors: int (n,), in the level.
    """
    if boxes.coding == 'corners':
        return numbers * np.array(boxes.unit * 2, np.float32)
    if boxes.coding == 'centre':
        return _from_centre(numbers * np.array(boxes.unit * 2, np.float32))
    columns = level.columns
    cell = np.stack((anchors % columns, anchors // columns), axis=1).astype(np.float32)
    stride = np.array(level.stride, np.float32)
    if boxes.coding == 'distances':
        distances = _mean(numbers, boxes.bins) if boxes.bins > 1 else numbers
        point = (cell + np.float32(boxes.offset)) * stride
        if not boxes.pixels:
            distances = distances * np.tile(stride, 2)
        return np.concatenate((point - distances[:, :2], point + distances[:, 2:]), axis=1)
    if boxes.coding == 'grid':
        centre, size = (numbers[:, :2] + cell) * stride, np.exp(numbers[:, 2:]) * stride
        return _from_centre(np.concatenate((centre, size), axis=1))
    inside = _sigmoid(numbers[:, :2]) if boxes.squashed else numbers[:, :2]
    reach = np.float32(level.reach)
    centre = (inside * reach - (reach - 1) / 2 + cell) * stride
    if boxes.exponential:
        factor = np.exp(numbers[:, 2:])
    else:
        root = _sigmoid(numbers[:, 2:]) if boxes.squashed else numbers[:, 2:]
        factor = 4 * root * root
    size = factor * np.array(level.size, np.float32)
    return _from_centre(np.concatenate((centre, size), axis=1))


def _mean(numbers: np.ndarray, bins: int) -> np.ndarray:
    """Return the mean of each side's distribution."""
    sides = numbers.reshape(-1, 4, bins)
    shares = np.exp(sides - sides.max(axis=2, keepdims=True))
    mean: np.ndarray = (shares * np.arange(bins, dtype=np.float32)).sum(axis=2) / shares.sum(axis=2)
    return mean


def _from_centre(xywh: np.ndarray) -> np.ndarray:
    half = xywh[:, 2:] / 2
    return np.concatenate((xywh[:, :2] - half, xywh[:, :2] + half), axis=1)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))
