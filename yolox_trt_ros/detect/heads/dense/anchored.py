"""Heads with anchor boxes: one convolution a level gives all numbers of several anchors a cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

from yolox_trt_ros.detect.graph.dequantise import NotFollowedError
from yolox_trt_ros.detect.graph.model_graph import ModelGraph
from yolox_trt_ros.detect.heads.dense.flat import MapLevel, Rows, as_rows, map_levels
from yolox_trt_ros.detect.heads.dense.formulas import Grid, Unit
from yolox_trt_ros.detect.heads.dense.head import AnchorSet, Boxes, OutputLayout, Place
from yolox_trt_ros.detect.heads.dense.match import named_outputs, random_maps, same, sigmoid
from yolox_trt_ros.detect.heads.family import NotThisHeadError

MOST_SHAPES = 9
"""Anchor boxes of a cell."""


@dataclass(frozen=True, slots=True)
class AnchorKind:
    """By what formula boxes come out of anchor boxes.

    Attributes:
        exponential: see ``Boxes``.
        coding, unit: of the boxes.
        product: whether scores are objectness × class score already, in an output of their own.
    """

    exponential: bool
    coding: Literal['centre', 'corners']
    unit: Unit
    product: bool


@dataclass(frozen=True, slots=True)
class AnchoredFlat:
    """What flat outputs hold.

    Attributes:
        outputs: names.
        layouts: how they lie in memory.
        kind: what they hold.
        reach: of the finest level, see ``AnchorSet``.
        anchors: boxes in all.
        classes: how many.
        unbatched: see ``DenseHead``.
        further: numbers behind the classes.
    """

    outputs: tuple[str, ...]
    layouts: tuple[OutputLayout, ...]
    kind: AnchorKind
    reach: float
    anchors: int
    classes: int
    unbatched: bool
    further: int

    def sets(self) -> tuple[AnchorSet, ...]:
        """Return where boxes and scores stand."""
        if self.kind.product:
            return (AnchorSet(self.anchors, Place(0, 4), Place(1, self.classes)),)
        channels = 5 + self.classes + self.further
        box, scores, objectness = (Place(0, channels, first) for first in (0, 5, 4))
        return (AnchorSet(self.anchors, box, scores, objectness),)

    def boxes(self, size: tuple[int, int]) -> Boxes:
        """Return what the numbers of a box mean, for an input of (height, width)."""
        unit = (1.0, 1.0) if self.kind.unit == 'pixel' else (float(size[1]), float(size[0]))
        return Boxes(self.kind.coding, unit)


def anchored_flat_of(graph: ModelGraph) -> AnchoredFlat:
    """Return what an output of boxes holds, found out once.

    Raises:
        NotThisHeadError: no output, and no two, hold boxes by anchor boxes.
    """
    if 'anchored' not in graph.memo:
        graph.memo['anchored'] = _first(graph)
    found = graph.memo['anchored']
    if isinstance(found, str):
        raise NotThisHeadError(found)
    flat: AnchoredFlat = found
    return flat


def _first(graph: ModelGraph) -> AnchoredFlat | str:
    shapes, why = graph.outputs(), 'no output is a list of boxes'
    names = [n for n in named_outputs(graph) if len(shapes[n]) in (0, 2, 3, 4)]
    for count in (1, 2):
        for some in combinations(names, count):
            try:
                return _anchored_flat(graph, some)
            except NotFollowedError as error:
                why = str(error)
    return why


def _anchored_flat(graph: ModelGraph, names: Sequence[str]) -> AnchoredFlat:
    end = graph.end(names)
    values = random_maps(end.maps)
    size = graph.input.height, graph.input.width
    levels = map_levels(end.maps, values, size)
    if any(len(level.maps) != 1 for level in levels):
        raise NotFollowedError('a level has more than one map')
    cells, batch = sum(level.grid.cells for level in levels), end.maps[0].shape[0]
    outputs = end.run(values)
    rows = [as_rows(n, got, cells, batch) for n, got in zip(names, outputs, strict=True)]
    if len(rows) == 2 and rows[0].channels != 4:
        rows.reverse()
    shapes = rows[0].values.shape[1] // cells
    return _matched(rows, levels, shapes, size)


def _matched(
    rows: Sequence[Rows], levels: Sequence[MapLevel], shapes: int, size: tuple[int, int]
) -> AnchoredFlat:
    kinds: set[AnchorKind] | None = None
    first, waiting = 0, list(levels)
    reach, further, classes = 0.0, 0, 0
    while waiting:
        for level in waiting:
            block = slice(first, first + shapes * level.grid.cells)
            found = _level_kinds([r.values[:, block] for r in rows], level, shapes, size)
            if found:
                break
        else:
            raise NotFollowedError(
                f'from anchor {first} on, {rows[0].name} is not what anchor boxes make of its maps'
            )
        waiting.remove(level)
        first = block.stop
        kinds = set(found.kinds) if kinds is None else kinds & set(found.kinds)
        reach, further, classes = found.reach or reach, found.further, found.classes
    if not kinds or len(kinds) != 1:
        raise NotFollowedError('its levels differ in what they hold')
    return AnchoredFlat(
        tuple(r.name for r in rows),
        tuple(r.layout for r in rows),
        kinds.pop(),
        reach,
        first,
        classes,
        rows[0].unbatched,
        further,
    )


@dataclass(frozen=True, slots=True)
class _Found:
    kinds: tuple[AnchorKind, ...]
    reach: float
    classes: int
    further: int


def per_anchor(rows: np.ndarray, shapes: int) -> np.ndarray:
    """Return a map's rows (batch, cells, shapes × n) as (batch, shapes × cells, n)."""
    batch, cells, channels = rows.shape
    split = rows.reshape(batch, cells, shapes, channels // shapes).transpose(0, 2, 1, 3)
    return split.reshape(batch, shapes * cells, -1)


def _level_kinds(
    blocks: Sequence[np.ndarray], level: MapLevel, shapes: int, size: tuple[int, int]
) -> _Found | None:
    """Return what the rows of a level may hold."""
    if level.rows[0].shape[2] % shapes or level.rows[0].shape[2] // shapes < 6:
        return None
    raw = per_anchor(level.rows[0], shapes)
    scores = _scores(blocks, raw)
    if scores is None:
        return None
    kinds: list[AnchorKind] = []
    reach = 0.0
    for coding in ('centre', 'corners'):
        for unit, scale in (('pixel', 1.0), ('fraction', np.tile((size[1], size[0]), 2))):
            boxes = blocks[0][..., :4] * scale
            if coding == 'corners':
                centre = (boxes[..., :2] + boxes[..., 2:]) / 2
                boxes = np.concatenate((centre, boxes[..., 2:] - boxes[..., :2]), axis=-1)
            for exponential in (False, True):
                fitted = _reach(boxes, raw, level.grid, shapes, exponential)
                if fitted is not None:
                    reach = fitted
                    product = len(blocks) == 2
                    kinds.append(AnchorKind(exponential, coding, unit, product))  # type: ignore[arg-type]
    return _Found(tuple(kinds), reach, *scores) if kinds else None


def _scores(blocks: Sequence[np.ndarray], raw: np.ndarray) -> tuple[int, int] | None:
    """Return how many classes the rows hold, and how many further numbers; None: neither."""
    sure = sigmoid(raw[..., 4:])
    if len(blocks) == 2:
        product = sure[..., :1] * sure[..., 1:]
        return (product.shape[2], 0) if same(blocks[1], product) else None
    rest = blocks[0][..., 4:]
    if rest.shape != sure.shape:
        return None
    rated = np.isclose(rest, sure, 5e-3, 5e-3).all(axis=(0, 1))
    plain = np.isclose(rest, raw[..., 4:], 5e-3, 5e-3).all(axis=(0, 1))
    count = int(np.argmin(rated)) if not rated.all() else len(rated)
    if count < 2 or not plain[count:].all():
        return None
    return count - 1, len(rated) - count


def _reach(
    boxes: np.ndarray, raw: np.ndarray, grid: Grid, shapes: int, exponential: bool
) -> float | None:
    """Return the reach by which centres come out, if sizes are multiples of anchor boxes too."""
    cells = np.tile(grid.at(), (shapes, 1))
    apart = boxes[..., :2] / grid.stride - cells - 0.5
    inside = sigmoid(raw[..., :2]) - 0.5
    reach = float((apart * inside).sum() / (inside * inside).sum())
    if not np.allclose(apart, inside * reach, 0, 5e-3):
        return None
    factor = np.exp(raw[..., 2:4]) if exponential else 4 * sigmoid(raw[..., 2:4]) ** 2
    sizes = (boxes[..., 2:] / factor).reshape(len(boxes), shapes, -1, 2)
    middle = np.median(sizes, axis=2, keepdims=True)
    return reach if (middle > 0).all() and np.allclose(sizes, middle, 2e-2) else None


@dataclass(frozen=True, slots=True)
class AnchorMap:
    """An output that is one level's map of all anchors.

    Attributes:
        output: its name.
        shape: without the batch; [shapes × n, h, w], or [shapes, h, w, n].
        grid: its cells.
        squashed: whether a sigmoid is still to be taken.
    """

    output: str
    shape: tuple[int, ...]
    grid: Grid
    squashed: bool

    @property
    def channels_last(self) -> bool:
        """Return whether the numbers of an anchor lie side by side."""
        return len(self.shape) == 4


def anchor_maps_of(graph: ModelGraph) -> list[AnchorMap]:
    """Return the maps that the outputs are, finest first.

    Raises:
        NotThisHeadError: they are none.
    """
    shapes = graph.outputs()
    names = [n for n in named_outputs(graph) if len(shapes[n]) in (4, 5)]
    if not names:
        raise NotThisHeadError('it has no output that is a map')
    try:
        end = graph.end(names)
        values = random_maps(end.maps)
        size = graph.input.height, graph.input.width
        levels = map_levels(end.maps, values, size)
        outputs = end.run(values)
    except NotFollowedError as error:
        raise NotThisHeadError(str(error)) from None
    if len(levels) != len(names) or any(len(level.maps) != 1 for level in levels):
        raise NotThisHeadError('expected one map of all anchors for each stride')
    found = [_anchor_map(n, got, levels) for n, got in zip(names, outputs, strict=True)]
    return sorted(found, key=lambda m: -m.grid.cells)


def _anchor_map(name: str, got: np.ndarray, levels: Sequence[MapLevel]) -> AnchorMap:
    for level in levels:
        cells = (level.grid.rows, level.grid.columns)
        raw = level.rows[0]
        if got.ndim == 4 and got.shape[2:] == cells:
            rows = got.reshape(*got.shape[:2], -1).transpose(0, 2, 1)
        elif got.ndim == 5 and got.shape[2:4] == cells and raw.shape[2] % got.shape[1] == 0:
            rows = got.reshape(len(got), -1, got.shape[4])
            raw = per_anchor(raw, got.shape[1])
        else:
            continue
        for squashed, expected in ((True, raw), (False, sigmoid(raw))):
            if same(rows.astype(np.float64), expected):
                return AnchorMap(name, got.shape[1:], level.grid, squashed)
    raise NotThisHeadError(f'its output {name} {list(got.shape)} is none of its head’s maps')


def anchor_sets(
    maps: Sequence[AnchorMap],
    sizes: Sequence[Sequence[tuple[float, float]]],
    reaches: Sequence[float],
) -> tuple[AnchorSet, ...]:
    """Return the anchors of maps, one set for each anchor box.

    Args:
        maps: finest first.
        sizes: of each one's anchor boxes, input pixels.
        reaches: of each, see ``AnchorSet``.

    Raises:
        NotThisHeadError: a map's channels are no multiple of its anchor boxes.
    """
    sets = []
    for i, (m, own, reach) in enumerate(zip(maps, sizes, reaches, strict=True)):
        cells, shapes = m.grid.cells, len(own)
        channels = m.shape[3] if m.channels_last else m.shape[0] // shapes
        wrong = m.shape[0] != shapes if m.channels_last else m.shape[0] % shapes != 0
        if wrong or channels < 6:
            raise NotThisHeadError(
                f'{m.output} {list(m.shape)} is no map of {shapes} anchor boxes with 5 numbers and '
                'the classes of each'
            )
        for k, size in enumerate(own):
            first, anchor = (0, k * cells) if m.channels_last else (k * channels, 0)
            whole = channels if m.channels_last else m.shape[0]
            box, scores, objectness = (Place(i, whole, first + n, anchor) for n in (0, 5, 4))
            sets.append(
                AnchorSet(
                    cells, box, scores, objectness, m.grid.columns, m.grid.stride, size, reach
                )
            )
    return tuple(sets)
