"""Count what a data set holds."""

from __future__ import annotations

from typing import Any

import numpy as np

from yolox_trt_ros.datasets.labelled import LabelledBoxes, LabelledData

SMALL, MEDIUM = 32.0**2, 96.0**2
"""Areas in square pixels below which COCO calls an object small, and medium."""
SPAN = (5, 50, 95)
"""Per cent of all values that a span leaves below it."""


def summary(data: LabelledData) -> dict[str, Any]:
    """Return counts as plain data.

    Returns:
        ``pictures``, ``empty`` (pictures without objects), ``boxes``, ``ignored``, ``distance_m``
        (5 %, median, 95 %, or None), and ``classes``: for each name ``boxes``, ``ignored``,
        ``pictures``, ``small``, ``medium``, ``large`` and ``height_px`` as ``distance_m``.
    """
    every = _joined([image.boxes for image in data.images])
    picture = np.concatenate(
        [np.zeros(0, int), *(np.full(len(m.boxes), i) for i, m in enumerate(data.images))]
    )
    height = every.xyxy[:, 3] - every.xyxy[:, 1]
    classes = {}
    for number, name in enumerate(data.classes):
        of = every.class_id == number
        area = every.area[of]
        classes[name] = {
            'boxes': int(of.sum()),
            'ignored': int(every.ignored[of].sum()),
            'pictures': len(np.unique(picture[of])),
            'small': int((area < SMALL).sum()),
            'medium': int(((area >= SMALL) & (area < MEDIUM)).sum()),
            'large': int((area >= MEDIUM).sum()),
            'height_px': _span(height[of]),
        }
    return {
        'name': data.name,
        'format': data.format,
        'pictures': len(data.images),
        'empty': sum(not len(image.boxes) for image in data.images),
        'boxes': len(every),
        'ignored': int(every.ignored.sum()),
        'distance_m': _span(every.distance_m[np.isfinite(every.distance_m)]),
        'classes': classes,
        'faults': data.faults.to_json(),
    }


def _joined(parts: list[LabelledBoxes]) -> LabelledBoxes:
    none = LabelledBoxes(np.zeros((0, 4)), np.zeros(0), np.zeros(0, bool))
    columns = (
        np.concatenate([getattr(part, name) for part in (none, *parts)])
        for name in LabelledBoxes.__slots__
    )
    return LabelledBoxes(*columns)


def _span(values: np.ndarray) -> list[float] | None:
    if not len(values):
        return None
    return [round(float(v), 2) for v in np.percentile(values, SPAN)]
