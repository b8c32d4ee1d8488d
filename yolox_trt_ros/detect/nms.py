"""Greedy suppression of boxes that overlap better ones."""

from __future__ import annotations

import numpy as np


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
