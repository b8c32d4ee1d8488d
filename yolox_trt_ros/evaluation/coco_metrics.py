"""COCO average precision of detections against labelled boxes."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from yolox_trt_ros.core.errors import MissingDependencyError


@dataclass(frozen=True, slots=True, eq=False)
class LabelledBoxes:
    """The labelled boxes of one picture.

    Attributes:
        xyxy: float32 (n, 4), pixels.
        class_id: int (n,).
        ignored: bool (n,): counts neither as found nor as missed (COCO's ``iscrowd``).
    """

    xyxy: np.ndarray
    class_id: np.ndarray
    ignored: np.ndarray

    def ignoring_below(self, height: float) -> LabelledBoxes:
        """Return the same labels, those less than this many pixels high ignored."""
        low = self.xyxy[:, 3] - self.xyxy[:, 1] < height
        return LabelledBoxes(self.xyxy, self.class_id, self.ignored | low)


Found = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Detections of one picture: xyxy (n, 4) pixels, score (n,), class_id (n,)."""


def average_precision(
    labels: Sequence[LabelledBoxes], found: Sequence[Found], classes: Sequence[str]
) -> dict[str, Any]:
    """Return COCO's average precision.

    Args:
        labels: per picture.
        found: per picture, in the same order.
        classes: names; class ids index them.

    Returns:
        ``map50``, ``map50_95``, ``map50_95_small|medium|large`` and ``per_class``: for each name
        ``ap50``, ``ap50_95`` and ``labels``. A figure without any label is ``None``.

    Raises:
        MissingDependencyError: faster-coco-eval is not installed.
        ValueError: the two sequences differ in length.
    """
    if len(labels) != len(found):
        raise ValueError(f'{len(labels)} labelled pictures but detections of {len(found)}')
    try:
        from faster_coco_eval import COCO, COCOeval_faster
    except ImportError as error:
        raise MissingDependencyError(
            'COCO metrics need faster-coco-eval: pip install faster-coco-eval'
        ) from error
    truth, results = _coco(labels, classes), _results(found)
    if not results:
        nothing: dict[str, Any] = dict.fromkeys(_KEYS, 0.0)
        return {**nothing, 'per_class': _per_class(None, labels, classes)}
    with contextlib.redirect_stdout(io.StringIO()):
        gt = COCO(truth)
        run = COCOeval_faster(gt, gt.loadRes(results), iouType='bbox')
        run.run()
    stats = dict(zip(_KEYS, (run.stats[i] for i in (1, 0, 3, 4, 5)), strict=True))
    out: dict[str, Any] = {k: _known(v) for k, v in stats.items()}
    return {**out, 'per_class': _per_class(run.eval['precision'], labels, classes)}


_KEYS = ('map50', 'map50_95', 'map50_95_small', 'map50_95_medium', 'map50_95_large')


def _known(value: float) -> float | None:
    return None if value < 0 else round(float(value), 4)


def _coco(labels: Sequence[LabelledBoxes], classes: Sequence[str]) -> dict[str, Any]:
    annotations: list[dict[str, Any]] = []
    for image_id, one in enumerate(labels, 1):
        for box, class_id, ignored in zip(one.xyxy, one.class_id, one.ignored, strict=True):
            x0, y0, x1, y1 = (float(v) for v in box)
            annotations.append(
                {
                    'id': len(annotations) + 1,
                    'image_id': image_id,
                    'category_id': int(class_id) + 1,
                    'bbox': [x0, y0, x1 - x0, y1 - y0],
                    'area': (x1 - x0) * (y1 - y0),
                    'iscrowd': int(ignored),
                }
            )
    return {
        'info': {},
        'images': [{'id': i + 1, 'width': 1, 'height': 1} for i in range(len(labels))],
        'categories': [{'id': i + 1, 'name': name} for i, name in enumerate(classes)],
        'annotations': annotations,
    }


def _results(found: Sequence[Found]) -> list[dict[str, Any]]:
    return [
        {
            'image_id': image_id,
            'category_id': int(class_id) + 1,
            'bbox': [float(box[0]), float(box[1]), float(box[2] - box[0]), float(box[3] - box[1])],
            'score': float(score),
        }
        for image_id, (xyxy, scores, class_ids) in enumerate(found, 1)
        for box, score, class_id in zip(xyxy, scores, class_ids, strict=True)
    ]


def _per_class(
    precision: np.ndarray | None, labels: Sequence[LabelledBoxes], classes: Sequence[str]
) -> dict[str, dict[str, float | int | None]]:
    """``precision`` is COCO's (thresholds, recalls, classes, areas, max detections)."""
    out: dict[str, dict[str, float | int | None]] = {}
    for k, name in enumerate(classes):
        count = sum(int(((one.class_id == k) & ~one.ignored).sum()) for one in labels)
        ap: dict[str, float | None] = {'ap50': None, 'ap50_95': None}
        if count and precision is None:
            ap = {'ap50': 0.0, 'ap50_95': 0.0}
        elif count and precision is not None:
            curve = precision[:, :, k, 0, -1]
            ap = {'ap50': _known(curve[0].mean()), 'ap50_95': _known(curve.mean())}
        out[name] = {**ap, 'labels': count}
    return out
