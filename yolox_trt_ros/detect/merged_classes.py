"""Suppression among final boxes whose classes got one name, which the model's own could not do.

There are few of them, so that this is done on the host, where results have arrived, on all lanes
alike.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.rules import Rules
from yolox_trt_ros.detect.nms import nms


@lru_cache(maxsize=64)  # of each camera; asked for each of its images
def merged_ids(rules: Rules) -> np.ndarray:
    """Return the numbers in the result that several wanted classes of the model share, int32."""
    ids, counts = np.unique(rules.class_ids[np.isfinite(rules.scores)], return_counts=True)
    return ids[counts > 1]


def without_rivals(found: Detections, merged: np.ndarray, iou: float) -> Detections:
    """Return detections without those that a better one of the same merged class overlaps.

    Args:
        found: best first.
        merged: see :func:`merged_ids`.
        iou: overlap above which the worse one is left out.
    """
    (places,) = np.nonzero(np.isin(found.class_id, merged))
    if len(places) < 2:
        return found
    some = found[places]
    keep = np.ones(len(found), bool)
    keep[places] = False
    keep[places[nms(some.xyxy, iou, some.class_id)]] = True
    return found if keep.all() else found[keep]
