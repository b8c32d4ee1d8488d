"""A sheet of the worst mistakes: the largest labels that nothing found, the surest wrong boxes."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from yolox_trt_ros.datasets.labelled import LabelledBoxes
from yolox_trt_ros.draw.boxes import Colour, corners, draw_tag
from yolox_trt_ros.draw.mosaic import fit_into
from yolox_trt_ros.evaluation.coco_metrics import Found
from yolox_trt_ros.evaluation.confusion import PictureOutcome, above

EACH = 12
"""Mistakes of a kind on the sheet."""
COLUMNS, TILE = 4, (320, 240)
AROUND = 1.5
"""Picture that is shown around a box, as a multiple of its larger side."""
LABEL, DETECTION, OTHER = (80, 200, 80), (60, 60, 240), (200, 160, 60)
"""Colours, BGR: the label in question, the detection in question, everything else."""
PAPER: Colour = (28, 28, 28)


@dataclass(order=True)
class _Mistake:
    weight: float
    number: int
    tile: np.ndarray = field(compare=False)


class WorstMisses:
    """Remembers the worst mistakes while pictures pass.

    Args:
        classes: names.
        score: detections below it are not counted.
    """

    def __init__(self, classes: Sequence[str], score: float) -> None:
        self._classes, self._score = classes, score
        self._missed: list[_Mistake] = []
        self._wrong: list[_Mistake] = []
        self._count = 0

    def add(self, name: str, picture: np.ndarray, labels: LabelledBoxes, found: Found) -> None:
        """Look at one picture, uint8 (height, width, 3) BGR."""
        counted = above(found, self._score)
        outcome = PictureOutcome(labels, counted)
        right = outcome.right(labels, counted[2]) | labels.ignored
        for i in np.flatnonzero(~right):
            taken = outcome.claimed_by[i]
            seen = f', seen as {self._classes[counted[2][taken]]}' if taken >= 0 else ''
            height = labels.xyxy[i, 3] - labels.xyxy[i, 1]
            text = f'{name}: {self._classes[labels.class_id[i]]} of {height:.0f} px{seen}'
            if np.isfinite(labels.distance_m[i]):
                text += f', {labels.distance_m[i]:.0f} m'
            box = labels.xyxy[i]
            self._keep(self._missed, labels.area[i], picture, labels, counted, box, LABEL, text)
        for i in np.flatnonzero(outcome.wrong):
            text = f'{name}: {self._classes[counted[2][i]]} {counted[1][i]:.2f}'
            box = counted[0][i]
            self._keep(self._wrong, counted[1][i], picture, labels, counted, box, DETECTION, text)

    def _keep(
        self,
        heap: list[_Mistake],
        weight: float,
        picture: np.ndarray,
        labels: LabelledBoxes,
        found: Found,
        box: np.ndarray,
        colour: Colour,
        text: str,
    ) -> None:
        if len(heap) == EACH and weight <= heap[0].weight:
            return
        self._count += 1
        mistake = _Mistake(float(weight), -self._count, _tile(picture, labels, found, box, colour))
        draw_tag(mistake.tile, text, (0, TILE[1]), PAPER, 0.4)
        (heapq.heappush if len(heap) < EACH else heapq.heapreplace)(heap, mistake)

    def sheet(self) -> np.ndarray:
        """Return the sheet, uint8 (height, width, 3) BGR, worst first."""
        parts = []
        for title, heap in (
            ('Largest labels that were missed (green), with all detections (blue)', self._missed),
            ('Surest detections of nothing (red), with all labels (blue)', self._wrong),
        ):
            tiles = [m.tile for m in sorted(heap, reverse=True)]
            parts += [_heading(f'{title}: {"none" if not tiles else ""}'.rstrip(': '), not tiles)]
            parts += [_grid(tiles)] if tiles else []
        return np.concatenate(parts)


def _heading(text: str, none: bool) -> np.ndarray:
    strip = np.full((32, COLUMNS * TILE[0], 3), PAPER, np.uint8)
    words = f'{text}: none' if none else text
    cv2.putText(
        strip, words, (8, 22), cv2.FONT_HERSHEY_SIMPLEX, 0.55, (235, 235, 235), 1, cv2.LINE_AA
    )
    return strip


def _grid(tiles: Sequence[np.ndarray]) -> np.ndarray:
    rows = -(-len(tiles) // COLUMNS)
    grid = np.full((rows * TILE[1], COLUMNS * TILE[0], 3), PAPER, np.uint8)
    for i, tile in enumerate(tiles):
        y, x = i // COLUMNS * TILE[1], i % COLUMNS * TILE[0]
        grid[y : y + TILE[1], x : x + TILE[0]] = tile
    return grid


def _tile(
    picture: np.ndarray, labels: LabelledBoxes, found: Found, box: np.ndarray, colour: Colour
) -> np.ndarray:
    """Return the surroundings of a box in the size of a tile."""
    height, width = picture.shape[:2]
    x0, y0, x1, y1 = corners(box, picture)
    half = max(24.0, AROUND * max(x1 - x0, (y1 - y0) * TILE[0] / TILE[1]) / 2)
    cx, cy = (x0 + x1) / 2, (y0 + y1) / 2
    left, right = (int(np.clip(v, 0, width)) for v in (cx - half, cx + half))
    flat = half * TILE[1] / TILE[0]
    top, bottom = (int(np.clip(v, 0, height)) for v in (cy - flat, cy + flat))
    tile = np.full((TILE[1], TILE[0], 3), PAPER, np.uint8)
    if right <= left or bottom <= top:
        return tile
    seen = fit_into(picture[top:bottom, left:right], TILE).copy()
    scale = seen.shape[1] / (right - left)
    for boxes, c in (
        (found[0] if colour == LABEL else labels.xyxy, OTHER), (box[None], colour),
    ):  # fmt: skip
        for one in boxes:
            a, b, c_, d = corners((one - (left, top, left, top)) * scale, seen)
            cv2.rectangle(seen, (a, b), (c_, d), c, 2 if c == colour else 1, cv2.LINE_AA)
    tile[: seen.shape[0], : seen.shape[1]] = seen
    return tile
