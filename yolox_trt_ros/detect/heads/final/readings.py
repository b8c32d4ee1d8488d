"""The boxes and scores that the maps of known heads stand for, to look for them in final boxes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Literal

import numpy as np

from yolox_trt_ros.detect.graph.dequantise import NotFollowedError
from yolox_trt_ros.detect.heads.dense.flat import MapLevel
from yolox_trt_ros.detect.heads.dense.formulas import corners_by_distances, distance_kinds
from yolox_trt_ros.detect.heads.dense.match import TOLERANCE, sigmoid

Line = Literal['yolox', 'ultralytics', '']
"""Whose models they are, which says how they are fed; empty: not known."""
SHAPES = 3
"""Anchor boxes of a cell, of families that have them."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a head's maps stand for.

    Attributes:
        line: whose it is.
        corners: float64 (anchors, 4), input pixels; of ``centre`` and ``root`` where sizes hang on
            anchor boxes: None.
        scores: float64 (anchors, classes).
        centre: float64 (anchors, 2), input pixels.
        root: float64 (anchors, 2), what an anchor box is multiplied by.
        kind: int (anchors,), which of the anchor boxes.
    """

    line: Line
    scores: np.ndarray
    corners: np.ndarray | None = None
    centre: np.ndarray | None = None
    root: np.ndarray | None = None
    kind: np.ndarray | None = None


def readings(levels: Sequence[MapLevel]) -> Iterator[Reading]:
    """Yield the readings of the first image's maps, levels finest first.

    Raises:
        NotFollowedError: levels have different maps.
    """
    channels = [sorted(rows.shape[2] for rows in level.rows) for level in levels]
    if any(sizes != channels[0] for sizes in channels):
        raise NotFollowedError('its levels have different maps')
    count = len(channels[0])
    for roles in permutations(range(count), min(count, 3)):
        places = [_places(level, roles) for level in levels]
        maps = [
            [level.rows[i][0] for i in some] for level, some in zip(levels, places, strict=True)
        ]
        if count == 1:
            yield from _with_anchor_boxes(levels, [m[0] for m in maps])
        if count >= 2 and maps[0][0].shape[1] % 4 == 0:
            yield from _by_distances(levels, [m[0] for m in maps], [m[1] for m in maps])
        if count >= 3 and [maps[0][i].shape[1] for i in (0, 1)] == [4, 1]:
            yield _yolox(levels, maps)


def _places(level: MapLevel, roles: Sequence[int]) -> list[int]:
    """Return a level's maps by the order of their channels, for levels list them in any."""
    order = sorted(range(len(level.rows)), key=lambda i: level.rows[i].shape[2])
    return [order[role] for role in roles]


def _by_distances(
    levels: Sequence[MapLevel], boxes: Sequence[np.ndarray], classes: Sequence[np.ndarray]
) -> Iterator[Reading]:
    scores = sigmoid(np.concatenate(classes))
    for kind in distance_kinds(boxes[0].shape[1]):
        corners = [
            corners_by_distances(rows[None], kind, level.grid)[0]
            for level, rows in zip(levels, boxes, strict=True)
        ]
        line: Line = 'ultralytics' if (kind.bins, kind.offset) == (16, 0.5) else ''
        yield Reading(line, scores, np.concatenate(corners))


def _yolox(levels: Sequence[MapLevel], maps: Sequence[Sequence[np.ndarray]]) -> Reading:
    corners = []
    for level, (box, *_) in zip(levels, maps, strict=True):
        centre = (box[:, :2] + level.grid.at()) * level.grid.stride
        half = np.exp(box[:, 2:]) * level.grid.stride / 2
        corners.append(np.concatenate((centre - half, centre + half), axis=1))
    objectness, classes = (np.concatenate([m[i] for m in maps]) for i in (1, 2))
    return Reading('yolox', sigmoid(objectness) * sigmoid(classes), np.concatenate(corners))


def _with_anchor_boxes(levels: Sequence[MapLevel], maps: Sequence[np.ndarray]) -> Iterator[Reading]:
    """Yield the reading of maps of 3 × (5 + classes) channels, by YOLOv5's formula."""
    channels = maps[0].shape[1]
    if channels % SHAPES or channels // SHAPES < 6:
        return
    centres, roots, scores, kinds = [], [], [], []
    for i, (level, rows) in enumerate(zip(levels, maps, strict=True)):
        for k, part in enumerate(np.split(sigmoid(rows), SHAPES, axis=1)):
            centres.append((part[:, :2] * 2 - 0.5 + level.grid.at()) * level.grid.stride)
            roots.append(4 * part[:, 2:4] ** 2)
            scores.append(part[:, 4:5] * part[:, 5:])
            kinds.append(np.full(len(part), SHAPES * i + k))
    yield Reading(
        'ultralytics',
        np.concatenate(scores),
        None,
        np.concatenate(centres),
        np.concatenate(roots),
        np.concatenate(kinds),
    )


def explains(reading: Reading, rows: np.ndarray) -> bool:
    """Return whether every row is one of a reading's boxes.

    Args:
        reading: of the maps.
        rows: float64 (n, 6), corners in input pixels, score, class.
    """
    sizes: dict[int, np.ndarray] = {}
    for row in rows:
        box, score, class_id = row[:4], row[4], int(row[5])
        if not 0 <= class_id < reading.scores.shape[1]:
            return False
        (near,) = np.nonzero(np.abs(reading.scores[:, class_id] - score) < TOLERANCE)
        if reading.corners is not None:
            if not close_to(reading.corners[near], box).any():
                return False
        elif not _fits(reading, near, box, sizes):
            return False
    return True


def close_to(boxes: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Return which of some corners are those of a box."""
    close: np.ndarray = (np.abs(boxes - box) <= 0.1 + 2e-3 * np.abs(box)).all(axis=1)
    return close


def _fits(
    reading: Reading, near: np.ndarray, box: np.ndarray, sizes: dict[int, np.ndarray]
) -> bool:
    """Return whether a box lies where one of these anchors does; its anchor box is then known."""
    assert reading.centre is not None and reading.root is not None and reading.kind is not None
    centre, size = (box[:2] + box[2:]) / 2, box[2:] - box[:2]
    for anchor in near[close_to(reading.centre[near], centre)]:
        own = size / reading.root[anchor]
        known = sizes.setdefault(int(reading.kind[anchor]), own)
        if np.abs(known - own).max() <= 5 * TOLERANCE * np.abs(known).max():
            return True
    return False
