"""Decode a YOLOX head and suppress overlapping boxes on the CPU, with NumPy.

Conventions are YOLOX's own (``decode_outputs`` in yolox/models/yolo_head.py, ``multiclass_nms`` in
yolox/utils/demo_utils.py): score = objectness × class probability; class-aware NMS decides each
class on its own. Overlap is the plain continuous IoU, without the pixel that YOLOX's demo adds to
widths and heights; that changes the verdict only for pairs of boxes a few pixels large.
Boxes are clipped to the image only if the thresholds ask for it, and then after suppression, so
that the same objects are found either way.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.errors import LaneError
from yolox_trt_ros.core.model import Letterbox, ModelSpec, Thresholds

MAX_CANDIDATES = 1024
"""Boxes that enter NMS, best scores first; bounds its cost when a model fires everywhere."""

FARTHEST = 1e6
"""Input pixels; far beyond any image, and its square still is a float32."""


class CpuPostprocessor:
    """Turns head outputs of one model into detections; grids are computed once."""

    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec
        cells, strides = [], []
        for stride, (rows, columns) in zip(spec.strides, spec.grids(), strict=True):
            y, x = np.mgrid[:rows, :columns].astype(np.float32)
            cells.append(np.stack((x.ravel(), y.ravel()), axis=1))
            strides.append(np.full(rows * columns, stride, np.float32))
        self._cells = np.concatenate(cells)
        self._strides = np.concatenate(strides)[:, None]

    def check(self, outputs: Sequence[np.ndarray], batch: int) -> None:
        """Refuse outputs whose shapes are not those of the model.

        Raises:
            LaneError: with the expected and the actual shape.
        """
        spec = self._spec
        classes = len(spec.labels)
        expected: list[tuple[int, ...]] = [(batch, spec.anchors, 5 + classes)]
        if spec.layout == 'per_level':
            expected = [
                (batch, channels, *grid) for grid in spec.grids() for channels in (4, 1, classes)
            ]
        got = [output.shape for output in outputs]
        if got != expected:
            raise LaneError(f'model output: expected shapes {expected}, got {got}')

    def detections(
        self,
        outputs: Sequence[np.ndarray],
        index: int,
        box: Letterbox,
        thresholds: Thresholds,
    ) -> Detections:
        """Return one image's detections, best first.

        Args:
            outputs: head outputs of the batch, in the order of ``ModelSpec.outputs``.
            index: which image of the batch.
            box: the letterbox it was fed with.
            thresholds: what counts as a detection.
        """
        head = self._head(outputs, index)
        xywh, score, class_id = self._candidates(*head, thresholds)
        order = np.argsort(-score, kind='stable')[:MAX_CANDIDATES]
        xywh, score, class_id = xywh[order], score[order], class_id[order]
        half = xywh[:, 2:] / 2
        xyxy = np.concatenate((xywh[:, :2] - half, xywh[:, :2] + half), axis=1)
        xyxy /= np.float32(box.scale)
        groups = None if thresholds.class_agnostic else class_id
        keep = nms(xyxy, thresholds.nms_iou, groups)[: thresholds.max_detections]
        if thresholds.clip_boxes:
            size = (box.source_width, box.source_height)
            xyxy = np.clip(xyxy, 0, np.array(size * 2, np.float32))
        return Detections(xyxy[keep], score[keep], class_id[keep].astype(np.int32))

    def _head(
        self, outputs: Sequence[np.ndarray], index: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return boxes (anchors, 4), objectness (anchors,), classes (anchors, classes)."""
        if self._spec.layout == 'concatenated':
            head = outputs[0][index]
            return head[:, :4], head[:, 4], head[:, 5:]
        boxes, objectness, classes = (
            np.concatenate([m[index].reshape(m.shape[1], -1) for m in outputs[k::3]], axis=1)
            for k in range(3)
        )
        return boxes.T, objectness[0], classes.T

    @np.errstate(over='ignore')  # of a sigmoid far off zero, or of a size that is no box's
    def _candidates(
        self,
        boxes: np.ndarray,
        objectness: np.ndarray,
        classes: np.ndarray,
        thresholds: Thresholds,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return centre-size boxes in input pixels, scores and classes above the threshold."""
        logits = self._spec.scores == 'logit'
        # No class probability exceeds 1, so objectness alone rules out nearly every anchor.
        bound = _logit(thresholds.score) if logits else thresholds.score
        (anchors,) = np.nonzero(objectness >= bound)
        # Float16 scores would be multiplied, and compared, with three digits.
        objectness, classes = (m[anchors].astype(np.float32) for m in (objectness, classes))
        if logits:
            objectness, classes = _sigmoid(objectness), _sigmoid(classes)
        scores = objectness[:, None] * classes
        if thresholds.class_agnostic:
            best = scores.argmax(axis=1)
            (row,) = np.nonzero(scores[np.arange(len(best)), best] > thresholds.score)
            class_id = best[row]
        else:
            row, class_id = np.nonzero(scores > thresholds.score)
        anchors = anchors[row]
        xywh = boxes[anchors].astype(np.float32)
        if self._spec.boxes == 'grid':
            stride = self._strides[anchors]
            xywh[:, :2] = (xywh[:, :2] + self._cells[anchors]) * stride
            xywh[:, 2:] = np.exp(xywh[:, 2:]) * stride
        # NaN, and numbers so large that an area overflows, are no boxes.
        sane = (np.abs(xywh) < FARTHEST).all(axis=1)
        return xywh[sane], scores[row, class_id][sane].astype(np.float32), class_id[sane]


def nms(xyxy: np.ndarray, iou: float, groups: np.ndarray | None = None) -> np.ndarray:
    """Greedy non-maximum suppression.

    Args:
        xyxy: float (n, 4), best first.
        iou: a box is dropped if it overlaps a kept one by more than this.
        groups: int (n,); boxes of different groups do not suppress each other. ``None``: all do.

    Returns:
        Indices of the kept boxes, ascending.
    """
    n = len(xyxy)
    x1, y1, x2, y2 = xyxy.T
    area = (x2 - x1) * (y2 - y1)
    alive = np.ones(n, bool)
    keep = []
    for i in range(n):
        if not alive[i]:
            continue
        keep.append(i)
        rest = slice(i + 1, n)
        width = np.minimum(x2[i], x2[rest]) - np.maximum(x1[i], x1[rest])
        height = np.minimum(y2[i], y2[rest]) - np.maximum(y1[i], y1[rest])
        overlap = np.maximum(width, 0) * np.maximum(height, 0)
        drop = overlap > iou * (area[i] + area[rest] - overlap)
        if groups is not None:
            drop &= groups[rest] == groups[i]
        alive[rest] &= ~drop
    return np.array(keep, np.intp)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x.astype(np.float32)))


def _logit(p: float) -> float:
    if p <= 0 or p >= 1:
        return -np.inf if p <= 0 else np.inf
    return float(np.log(p / (1 - p)))
