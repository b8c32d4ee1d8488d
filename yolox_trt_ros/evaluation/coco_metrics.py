"""COCO's twelve numbers for detections against labelled boxes, and those of each class."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from yolox_trt_ros.core.errors import MissingDependencyError
from yolox_trt_ros.datasets.labelled import LabelledBoxes

Found = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Detections of one picture: xyxy (n, 4) pixels, score (n,), class_id (n,)."""

TWELVE = (
    'AP', 'AP50', 'AP75', 'AP_small', 'AP_medium', 'AP_large', 'AR_1', 'AR_10', 'AR_100',
    'AR_small', 'AR_medium', 'AR_large',
)  # fmt: skip
"""What pycocotools prints, in its order."""


def average_precision(
    labels: Sequence[LabelledBoxes], found: Sequence[Found], classes: Sequence[str]
) -> dict[str, Any]:
    """Return COCO's average precision and recall.

    Sizes are those of the labels' ``area``. An ignored label is COCO's crowd: any number of
    detections may lie within it.

    Args:
        labels: per picture.
        found: per picture, in the same order.
        classes: names; class ids index them.

    Returns:
        ``coco``: :data:`TWELVE`, not rounded; ``map50``, ``map50_95`` and
        ``map50_95_small|medium|large``, the same rounded; and ``per_class``: for each name
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
    truth, results = coco_truth(labels, classes), coco_results(found)
    precision = None
    if results:
        with contextlib.redirect_stdout(io.StringIO()):
            gt = COCO(truth)
            run = COCOeval_faster(gt, gt.loadRes(results), iouType='bbox')
            run.run()
        precision = run.eval['precision']
        stats = [None if v < 0 else float(v) for v in run.stats[: len(TWELVE)]]
    else:
        stats = _nothing_found(labels)
    twelve = dict(zip(TWELVE, stats, strict=True))
    out = {name: _rounded(twelve[of]) for name, of in _SHORT.items()}
    return {**out, 'coco': twelve, 'per_class': _per_class(precision, labels, classes)}


_SHORT = {
    'map50': 'AP50',
    'map50_95': 'AP',
    'map50_95_small': 'AP_small',
    'map50_95_medium': 'AP_medium',
    'map50_95_large': 'AP_large',
}
_EDGES = (0.0, 32.0**2, 96.0**2, 1e10)
"""COCO's small, medium and large, square pixels."""


def _nothing_found(labels: Sequence[LabelledBoxes]) -> list[float | None]:
    """Return the twelve numbers where nothing was found: 0 where there is a label, else nothing."""
    areas = np.concatenate([np.zeros(0), *(one.area[~one.ignored] for one in labels)])
    by_size = [
        0.0 if ((areas >= low) & (areas <= high)).any() else None for low, high in pairwise(_EDGES)
    ]
    all_sizes = 0.0 if len(areas) else None
    return [all_sizes] * 3 + by_size + [all_sizes] * 3 + by_size


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _known(value: float) -> float | None:
    return None if value < 0 else round(float(value), 4)


def coco_truth(labels: Sequence[LabelledBoxes], classes: Sequence[str]) -> dict[str, Any]:
    """Return labels as COCO's evaluation reads them; images are numbered from 1."""
    annotations: list[dict[str, Any]] = []
    for image_id, one in enumerate(labels, 1):
        rows = zip(one.xyxy.tolist(), one.class_id, one.ignored, one.area, strict=True)
        for (x0, y0, x1, y1), class_id, ignored, area in rows:
            annotations.append(
                {
                    'id': len(annotations) + 1,
                    'image_id': image_id,
                    'category_id': int(class_id) + 1,
                    'bbox': [x0, y0, x1 - x0, y1 - y0],
                    'area': float(area),
                    'iscrowd': int(ignored),
                }
            )
    return {
        'info': {},
        'images': [{'id': i + 1, 'width': 1, 'height': 1} for i in range(len(labels))],
        'categories': [{'id': i + 1, 'name': name} for i, name in enumerate(classes)],
        'annotations': annotations,
    }


def coco_results(found: Sequence[Found]) -> list[dict[str, Any]]:
    """Return detections as COCO's evaluation reads them; images are numbered from 1."""
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
