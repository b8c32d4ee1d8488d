"""Outputs as rows of numbers, one row an anchor, whichever axis the anchors stand on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from yolox_trt_ros.detect.graph.dequantise import EXPORT, NotFollowedError, OtherEndError
from yolox_trt_ros.detect.graph.end import HeadMap
from yolox_trt_ros.detect.heads.dense.formulas import Grid
from yolox_trt_ros.detect.heads.dense.head import OutputLayout


@dataclass(frozen=True, slots=True)
class Rows:
    """An output as rows.

    Attributes:
        name: of the output.
        values: float64 (batch, anchors, channels).
        layout: how it lies in memory.
        unbatched: whether it has no axis for the batch.
    """

    name: str
    values: np.ndarray
    layout: OutputLayout
    unbatched: bool

    @property
    def channels(self) -> int:
        """Return how many numbers an anchor has."""
        return int(self.values.shape[2])


@dataclass(frozen=True, slots=True)
class MapLevel:
    """The maps of one level, finest first among levels, and their values as rows."""

    grid: Grid
    maps: tuple[HeadMap, ...]
    rows: tuple[np.ndarray, ...]


def map_levels(
    maps: Sequence[HeadMap], values: dict[str, np.ndarray], size: tuple[int, int]
) -> list[MapLevel]:
    """Return the levels of a head's maps, finest first.

    Raises:
        NotFollowedError: something that is no map comes before the outputs.
    """
    by_cells: dict[tuple[int, ...], list[HeadMap]] = {}
    for m in maps:
        if len(m.shape) != 4:
            raise NotFollowedError(f'{m.name} {list(m.shape)} comes before it, which is no map')
        by_cells.setdefault(m.shape[2:], []).append(m)
    if not by_cells:
        raise NotFollowedError('no convolution comes before its outputs')
    return [
        MapLevel(Grid.of(some[0], size), tuple(some), tuple(map_rows(values[m.name]) for m in some))
        for _, some in sorted(by_cells.items(), reverse=True)
    ]


def map_rows(values: np.ndarray) -> np.ndarray:
    """Return a map (batch, channels, height, width) as float64 (batch, cells, channels)."""
    flat = values.reshape(*values.shape[:2], -1)
    return flat.transpose(0, 2, 1).astype(np.float64)


def as_rows(name: str, got: np.ndarray, cells: int, batch: int) -> Rows:
    """Return an output as rows.

    Args:
        name: of the output.
        got: its values.
        cells: that all levels have together; anchors are a multiple of them.
        batch: images that were run.

    Raises:
        NotFollowedError: no axis, or more than one, holds the anchors.
    """
    if got.dtype.kind != 'f':
        raise OtherEndError(f'its output {name} holds {got.dtype}, expected float: {EXPORT}')
    unbatched = got.ndim == 2 and batch == 1
    whole = got[None] if unbatched else got
    sides = [axis for axis in range(1, whole.ndim) if whole.shape[axis] > 1]
    if whole.ndim < 3 or len(sides) > 2 or whole.shape[0] != batch:
        raise NotFollowedError(f'its output {name} {list(got.shape)} is no list of boxes')
    counts = [whole.shape[axis] for axis in sides]
    places = [i for i, n in enumerate(counts) if n % cells == 0 and n // cells <= 9]
    if len(places) != 1:
        raise NotFollowedError(
            f'its output {name} {list(got.shape)} is no list of boxes for the {cells} cells of '
            'its head'
        )
    anchors = counts[places[0]]
    channels = math.prod(counts) // anchors
    last = places[0] == 0
    shape = (batch, anchors, channels) if last else (batch, channels, anchors)
    values = whole.reshape(shape) if last else whole.reshape(shape).transpose(0, 2, 1)
    own = tuple(got.shape if unbatched else got.shape[1:])
    return Rows(name, values.astype(np.float64), OutputLayout(own, last), unbatched)
