"""Outputs that are the maps of a head, level by level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from yolox_trt_ros.detect.graph.dequantise import NotFollowedError
from yolox_trt_ros.detect.graph.end import HeadMap
from yolox_trt_ros.detect.graph.model_graph import ModelGraph
from yolox_trt_ros.detect.heads.dense.flat import map_rows
from yolox_trt_ros.detect.heads.dense.formulas import Grid
from yolox_trt_ros.detect.heads.dense.match import random_maps, same, sigmoid

Made = Literal['logit', 'probability', 'pixel', 'exponential']
"""What became of a map: nothing, a sigmoid, × stride, or the exponential × stride."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A map, or one half of a convolution's, in an output.

    Attributes:
        output: which.
        shape: of the output, without the batch.
        channel: its first.
        map: where it comes from.
        made: what became of it.
    """

    output: int
    shape: tuple[int, ...]
    channel: int
    map: HeadMap
    made: Made

    @property
    def channels(self) -> int:
        """Return how many it has."""
        return self.map.shape[1]


@dataclass(frozen=True, slots=True)
class LevelPieces:
    """The pieces of one level."""

    grid: Grid
    pieces: tuple[Piece, ...]


def map_outputs(graph: ModelGraph, names: Sequence[str]) -> list[LevelPieces]:
    """Return what outputs [batch, channels, height, width] hold, finest level first.

    Raises:
        NotFollowedError: one of them is no map of the head, nor several side by side.
    """
    if not names:
        raise NotFollowedError('it has no output that is a map')
    end = graph.end(names)
    values = random_maps(end.maps)
    size = graph.input.height, graph.input.width
    by_grid: dict[Grid, list[Piece]] = {}
    for i, (name, got) in enumerate(zip(names, end.run(values), strict=True)):
        pieces = _pieces(i, got, end.maps, values, size) if got.ndim == 4 else []
        if not pieces:
            raise NotFollowedError(
                f'its output {name} {list(got.shape)} is none of its head’s maps'
            )
        by_grid.setdefault(Grid.of(pieces[0].map, size), []).extend(pieces)
    ordered = sorted(by_grid.items(), key=lambda item: -item[0].cells)
    return [LevelPieces(grid, tuple(pieces)) for grid, pieces in ordered]


def _pieces(
    output: int,
    got: np.ndarray,
    maps: Sequence[HeadMap],
    values: dict[str, np.ndarray],
    size: tuple[int, int],
) -> list[Piece]:
    """Return the maps that an output holds side by side; [] if something of it is none."""
    rows, channel = map_rows(got), 0
    found: list[Piece] = []
    alike = [m for m in maps if len(m.shape) == 4 and m.shape[2:] == got.shape[2:]]
    while channel < got.shape[1]:
        for m in alike:
            block = rows[..., channel : channel + m.shape[1]]
            made = _made(block, map_rows(values[m.name]), Grid.of(m, size))
            if made:
                found.append(Piece(output, got.shape[1:], channel, m, made))
                channel += m.shape[1]
                break
        else:
            return []
    return found


def _made(block: np.ndarray, rows: np.ndarray, grid: Grid) -> Made | None:
    kinds: list[tuple[Made, np.ndarray]] = [
        ('logit', rows),
        ('probability', sigmoid(rows)),
    ]
    if rows.shape[2] == 4:
        pixels = np.tile(grid.stride, 2)
        kinds += [('pixel', rows * pixels), ('exponential', np.exp(rows) * pixels)]
    return next((made for made, expected in kinds if same(block, expected)), None)
