"""What boxes of a map may be decoded to, for comparison with what a graph's end makes of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from yolox_trt_ros.detect.graph.end import HeadMap

Unit = Literal['pixel', 'fraction', 'cell']
BINS = (16, 17, 8, 32)
"""Numbers of a side's distribution that heads are trained with."""


@dataclass(frozen=True, slots=True)
class Grid:
    """The cells of one level.

    Attributes:
        rows, columns: cells.
        stride: input pixels per cell, across and down.
    """

    rows: int
    columns: int
    stride: tuple[float, float]

    @classmethod
    def of(cls, m: HeadMap, size: tuple[int, int]) -> Grid:
        """Return the grid of a map, for an input of (height, width)."""
        rows, columns = m.shape[2:]
        return cls(rows, columns, (size[1] / columns, size[0] / rows))

    @property
    def cells(self) -> int:
        """Return how many there are."""
        return self.rows * self.columns

    def at(self) -> np.ndarray:
        """Return column and row of each cell: (cells, 2)."""
        y, x = np.mgrid[: self.rows, : self.columns]
        return np.stack((x.ravel(), y.ravel()), axis=1)


@dataclass(frozen=True, slots=True)
class Distances:
    """How a box map's numbers become distances of the sides from a point, in cells.

    Attributes:
        bins: see ``Boxes``.
        exponential: likewise.
        offset: likewise.
        in_pixels: whether the number, or its exponential, counts input pixels.
    """

    bins: int
    exponential: bool
    offset: float
    in_pixels: bool = False


def distance_kinds(channels: int) -> Iterator[Distances]:
    """Yield how a map of so many channels may be read as distances."""
    if channels == 4:
        for offset in (0.5, 0.0):
            for exponential in (False, True):
                for in_pixels in (False, True):
                    yield Distances(1, exponential, offset, in_pixels)
    elif channels % 4 == 0 and channels > 4:
        for offset in (0.5, 0.0):
            yield Distances(channels // 4, False, offset)


def corners_by_distances(rows: np.ndarray, kind: Distances, grid: Grid) -> np.ndarray:
    """Return corners in input pixels, float64 (batch, cells, 4).

    Args:
        rows: float64 (batch, cells, 4 × bins).
        kind: what they are.
        grid: of the map.
    """
    distances = rows
    if kind.bins > 1:
        sides = rows.reshape(*rows.shape[:2], 4, kind.bins)
        shares = np.exp(sides)
        distances = (shares * np.arange(kind.bins)).sum(-1) / shares.sum(-1)
    if kind.exponential:
        distances = np.exp(distances)
    if not kind.in_pixels:
        distances = distances * np.tile(grid.stride, 2)
    point = (grid.at() + kind.offset) * grid.stride
    return np.concatenate((point - distances[..., :2], point + distances[..., 2:]), axis=-1)


def codings(
    corners: np.ndarray, size: tuple[int, int], grid: Grid
) -> dict[tuple[Literal['centre', 'corners'], Unit], np.ndarray]:
    """Return corners in input pixels as outputs may hold them, by coding and unit."""
    centre = np.concatenate(
        ((corners[..., :2] + corners[..., 2:]) / 2, corners[..., 2:] - corners[..., :2]), axis=-1
    )
    boxes: dict[Literal['centre', 'corners'], np.ndarray] = {'centre': centre, 'corners': corners}
    units: dict[Unit, np.ndarray] = {
        'pixel': np.ones(4),
        'fraction': np.tile((size[1], size[0]), 2),
        'cell': np.tile(grid.stride, 2),
    }
    return {
        (coding, unit): numbers / divisor
        for coding, numbers in boxes.items()
        for unit, divisor in units.items()
    }
