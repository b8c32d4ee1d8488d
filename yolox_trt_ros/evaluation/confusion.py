"""Which classes are taken for which, and how recall depends on size and distance."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from yolox_trt_ros.datasets.labelled import LabelledBoxes
from yolox_trt_ros.evaluation.coco_metrics import Found
from yolox_trt_ros.evaluation.matching import MIN_IOU, iou

HEIGHTS_PX = (0, 12, 16, 20, 24, 32, 48, 64, 96, 128, 192, 256, np.inf)
DISTANCES_M = (0, 5, 10, 15, 20, 25, 30, 40, 50, 60, 80, 100, np.inf)
"""Edges of the bins that recall is reported for."""
Row = dict[str, float | int | None]


class PictureOutcome:
    """What became of the labels and detections of one picture.

    Detections claim labels best score first at an IoU of at least :data:`MIN_IOU`: one of their own
    class if there is a free one, else of any class. What lies mostly within an ignored label is no
    mistake.

    Args:
        labels: of one picture, n of them.
        found: its detections, m of them from the wanted score on.

    Attributes:
        claimed_by: int (n,): index of the detection that claims a label; -1: none does.
        wrong: bool (m,): detections that claim nothing and lie in no ignored label.
    """

    def __init__(self, labels: LabelledBoxes, found: Found) -> None:
        xyxy, score, class_id = found
        asked = ~labels.ignored
        overlap = iou(xyxy.astype(np.float64), labels.xyxy)
        self.claimed_by = np.full(len(labels), -1)
        self.wrong = np.zeros(len(score), bool)
        within = _within(xyxy, labels.xyxy[labels.ignored]) >= MIN_IOU
        order = np.argsort(-score, kind='stable')
        same = labels.class_id[None] == class_id[:, None]
        left: list[int] = []
        for own in (True, False):  # a label goes to a detection of its class before any other
            for i in order if own else left:
                free = asked & (self.claimed_by < 0) & (same[i] | (not own))
                fits = np.where(free, overlap[i], 0.0)
                if fits.max(initial=0.0) >= MIN_IOU:
                    self.claimed_by[fits.argmax()] = i
                elif own:
                    left.append(i)
                else:
                    self.wrong[i] = not within[i].any()

    def right(self, labels: LabelledBoxes, class_id: np.ndarray) -> np.ndarray:
        """Return which labels were found as what they are, bool (n,)."""
        taken = np.where(self.claimed_by >= 0, self.claimed_by, 0)
        of = class_id[taken] if len(class_id) else np.full(len(labels), -1)
        return (self.claimed_by >= 0) & (of == labels.class_id)


def _within(boxes: np.ndarray, areas: np.ndarray) -> np.ndarray:
    """Return how much of each box (m, 4) lies within each area (k, 4): float64 (m, k)."""
    low = np.maximum(boxes[:, None, :2], areas[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], areas[None, :, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=2)
    size = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1).astype(np.float64)[:, None]
    return np.divide(shared, size, out=np.zeros_like(shared, dtype=np.float64), where=size > 0)


def above(found: Found, score: float) -> Found:
    """Return the detections from a score on."""
    kept = found[1] >= score
    return found[0][kept], found[1][kept], found[2][kept]


def confusion(
    labels: Sequence[LabelledBoxes], found: Sequence[Found], classes: Sequence[str], score: float
) -> dict[str, Any]:
    """Return the confusion matrix, and recall by height and by distance.

    Args:
        labels, found: per picture, as for COCO's metrics.
        classes: names.
        score: detections below it are not counted.

    Returns:
        ``score``; ``classes``; ``matrix``: rows are labels and then "nothing", columns are
        detections and then "missed"; ``by_height``: rows of ``from_px``, ``to_px``, ``labels``,
        ``recall``; ``by_distance``: the same with ``from_m``; empty without distances.
    """
    n = len(classes)
    matrix = np.zeros((n + 1, n + 1), int)
    rows = []
    for truth, every in zip(labels, found, strict=True):
        counted = above(every, score)
        outcome = PictureOutcome(truth, counted)
        asked = ~truth.ignored
        taken = outcome.claimed_by[asked]
        seen_as = np.full(len(taken), n)
        seen_as[taken >= 0] = counted[2][taken[taken >= 0]]
        np.add.at(matrix, (truth.class_id[asked], seen_as), 1)
        np.add.at(matrix, (np.full(int(outcome.wrong.sum()), n), counted[2][outcome.wrong]), 1)
        right = outcome.right(truth, counted[2])
        height = truth.xyxy[:, 3] - truth.xyxy[:, 1]
        rows.append(np.column_stack([height, truth.distance_m, right])[asked])
    table = np.concatenate([np.zeros((0, 3)), *rows])
    known = np.isfinite(table[:, 1])
    return {
        'score': score,
        'classes': list(classes),
        'matrix': matrix.tolist(),
        'by_height': binned(table[:, 0], table[:, 2], HEIGHTS_PX, 'px'),
        'by_distance': binned(table[known, 1], table[known, 2], DISTANCES_M, 'm'),
    }


def binned(where: np.ndarray, right: np.ndarray, edges: Sequence[float], unit: str) -> list[Row]:
    """Return the share of right ones between edges; nothing where there is nothing at all."""
    rows: list[Row] = []
    for low, high in pairwise(edges):
        inside = (where >= low) & (where < high)
        count = int(inside.sum())
        rows.append(
            {
                f'from_{unit}': low,
                f'to_{unit}': None if np.isinf(high) else high,
                'labels': count,
                'recall': round(float(right[inside].mean()), 4) if count else None,
            }
        )
    return rows if len(where) else []
