"""The levels of a YOLOX's head, and what boxes of one may be decoded to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np

from yolox_trt_ros.detect.graph.dequantise import NotFollowedError
from yolox_trt_ros.detect.graph.end import HeadMap
from yolox_trt_ros.detect.heads.yolox.roles import box_objectness_class


@dataclass(frozen=True, slots=True)
class HeadLevel:
    """One level's values: each map as rows (batch, cells, channels)."""

    cells: tuple[int, int]
    stride: tuple[float, float]
    maps: tuple[HeadMap, ...]
    rows: tuple[np.ndarray, ...]

    @property
    def classes(self) -> int:
        """Return how many classes its maps have channels for."""
        return sum(part.shape[2] for part in self.rows) - 5


def head_levels(
    maps: Sequence[HeadMap], values: Mapping[str, np.ndarray], size: tuple[int, int]
) -> list[HeadLevel]:
    """Return a head's levels, finest first."""
    by_cells: dict[tuple[int, int], list[HeadMap]] = {}
    for m in maps:
        if len(m.shape) != 4:
            raise NotFollowedError(f'{m.name} {list(m.shape)} comes before it, which is no map')
        by_cells.setdefault((m.shape[2], m.shape[3]), []).append(m)
    levels = [
        HeadLevel(
            cells,
            stride_of(by_cells[cells][0], size),
            tuple(by_cells[cells]),
            tuple(map_rows(values[m.name]) for m in by_cells[cells]),
        )
        for cells in sorted(by_cells, reverse=True)
    ]
    good = levels and all(len(level.maps) == 1 or _is_triple(level) for level in levels)
    if not good or len({level.classes for level in levels}) != 1 or levels[0].classes < 1:
        listed = ', '.join(f'{m.name} {list(m.shape)}' for m in maps)
        raise NotFollowedError(
            'no YOLOX head comes before it: expected per stride three convolutions with 4, 1 and '
            f'one channel per class, got {listed or "none"}'
        )
    return levels


def _is_triple(level: HeadLevel) -> bool:
    channels = [part.shape[2] for part in level.rows]
    return len(channels) == 3 and 4 in channels and 1 in channels


def possible_parts(
    level: HeadLevel,
) -> list[tuple[tuple[np.ndarray, np.ndarray, np.ndarray], Sequence[HeadMap]]]:
    """Return the ways to read a level's maps as boxes, objectness and classes."""
    if len(level.rows) == 1:
        (rows,) = level.rows
        return [((rows[:, :, :4], rows[:, :, 4:5], rows[:, :, 5:]), ())]
    known = box_objectness_class([replace(m.facts, squashed=None) for m in level.maps])
    orders = [known] if known else list(permutations(range(3)))
    return [
        ((level.rows[b], level.rows[o], level.rows[c]), [level.maps[i] for i in (b, o, c)])
        for b, o, c in orders
        if level.rows[b].shape[2] == 4 and level.rows[o].shape[2] == 1
    ]


def decoded_boxes(rows: np.ndarray, level: HeadLevel) -> dict[str, np.ndarray]:
    """Return the boxes of a map, decoded in the ways that are known."""
    y, x = np.mgrid[: level.cells[0], : level.cells[1]]
    centre = rows[:, :, :2] + np.stack((x.ravel(), y.ravel()), axis=1)
    size = np.exp(rows[:, :, 2:])
    down, across = level.stride
    both = np.array([across, down])
    pixel = np.concatenate((centre * both, size * both), axis=2)
    half = pixel[:, :, 2:] / 2
    corners = np.concatenate((pixel[:, :, :2] - half, pixel[:, :, :2] + half), axis=2)
    image = np.tile((level.cells[1] * across, level.cells[0] * down), 2)
    return {
        'pixel': pixel,
        'corners': corners,
        'fractions': pixel / image,
        'cells': np.concatenate((centre, size), axis=2),
    }


def stride_of(m: HeadMap, size: tuple[int, int]) -> tuple[float, float]:
    """Return input pixels per cell, (down, across), for an input of (height, width)."""
    return size[0] / m.shape[2], size[1] / m.shape[3]


def map_rows(values: np.ndarray) -> np.ndarray:
    """Return a map (batch, channels, height, width) as float64 (batch, cells, channels)."""
    flat = values.reshape(*values.shape[:2], -1)
    return flat.transpose(0, 2, 1).astype(np.float64)
