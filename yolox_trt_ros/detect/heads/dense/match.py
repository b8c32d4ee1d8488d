"""Tell what flat outputs hold by running the graph's end on random maps.

What came out is compared with what the known formulas make of the same maps; only an exact match
counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Literal

import numpy as np

from yolox_trt_ros.core.errors import ModelError
from yolox_trt_ros.detect.graph.dequantise import EXPORT, NotFollowedError, OtherEndError
from yolox_trt_ros.detect.graph.end import HeadMap
from yolox_trt_ros.detect.graph.model_graph import ModelGraph
from yolox_trt_ros.detect.heads.dense.flat import MapLevel, Rows, as_rows, map_levels
from yolox_trt_ros.detect.heads.dense.formulas import (
    Distances,
    Unit,
    codings,
    corners_by_distances,
    distance_kinds,
)
from yolox_trt_ros.detect.heads.dense.head import AnchorSet, Boxes, Coding, OutputLayout, Place

TOLERANCE = 5e-3
"""Float16 keeps three digits; what is distinguished differs in the first."""

Objectness = Literal['none', 'ones', 'probability', 'logit']


@dataclass(frozen=True, slots=True)
class Part:
    """A reading of one level's maps as rows.

    Attributes:
        box, objectness, classes: rows of each.
        maps: of boxes and classes, where they are maps of their own.
        further: numbers that follow the classes.
    """

    box: np.ndarray
    classes: np.ndarray
    objectness: np.ndarray | None = None
    maps: tuple[HeadMap, HeadMap] | None = None
    further: int = 0


@dataclass(frozen=True, slots=True)
class Kind:
    """What the rows of one level hold; ``further`` numbers follow the classes."""

    coding: Coding
    unit: Unit
    formula: Distances
    scores: Literal['probability', 'logit']
    objectness: Objectness
    further: int = 0


@dataclass(frozen=True, slots=True)
class Flat:
    """What flat outputs hold.

    Attributes:
        outputs: names, in the order of ``layouts``.
        layouts: how they lie in memory.
        kind: what they hold.
        level: where boxes and scores stand.
        classes: how many.
        unbatched: see ``DenseHead``.
        maps: box and class map of each level, where a convolution of its own makes each.
        further: numbers behind an anchor's classes that are no detection's, such as a mask's.
    """

    outputs: tuple[str, ...]
    layouts: tuple[OutputLayout, ...]
    kind: Kind
    level: AnchorSet
    classes: int
    unbatched: bool
    maps: tuple[tuple[HeadMap, HeadMap], ...]
    further: int = 0

    def boxes(self, size: tuple[int, int]) -> Boxes:
        """Return what the numbers of a box mean, for an input of (height, width)."""
        unit = (1.0, 1.0) if self.kind.unit == 'pixel' else (float(size[1]), float(size[0]))
        return Boxes(self.kind.coding, unit)


def random_maps(maps: Sequence[HeadMap]) -> dict[str, np.ndarray]:
    """Return values for a head's maps: small, so that no exponential leaves float16."""
    rng = np.random.default_rng(0)
    return {m.name: rng.uniform(-2, 2, m.shape).astype(m.dtype) for m in maps}


def flat_outputs(graph: ModelGraph, names: Sequence[str]) -> Flat:
    """Return what one output of boxes and scores holds, or one of each.

    Args:
        graph: the model.
        names: one output, or two.

    Raises:
        NotFollowedError: they hold something else.
    """
    end = graph.end(names)
    values = random_maps(end.maps)
    size = graph.input.height, graph.input.width
    levels = map_levels(end.maps, values, size)
    cells = sum(level.grid.cells for level in levels)
    batch = end.maps[0].shape[0]
    outputs = end.run(values)
    rows = [as_rows(n, got, cells, batch) for n, got in zip(names, outputs, strict=True)]
    if any(r.unbatched for r in rows) and graph.input.batch != 1:
        raise NotFollowedError(
            'its outputs have no axis for the batch, which its input leaves open'
        )
    if {r.values.shape[1] for r in rows} != {cells}:
        raise NotFollowedError(f'it has other than one box for each of {cells} cells')
    tried: list[str] = []
    for boxes, scores in _roles(rows):
        try:
            return _matched(boxes, scores, levels, size)
        except OtherEndError:
            raise
        except NotFollowedError as error:
            tried.append(str(error))
    listed = ', '.join(f'{r.name} {list(r.layout.shape)}' for r in rows)
    raise NotFollowedError(tried[0] if tried else f'{listed} are no boxes and scores')


def _roles(rows: Sequence[Rows]) -> Iterator[tuple[Rows, Rows]]:
    if len(rows) == 1 and rows[0].channels > 4:
        yield rows[0], rows[0]
    if len(rows) == 2:
        yield from ((a, b) for a, b in (rows, rows[::-1]) if a.channels == 4)


def _matched(boxes: Rows, scores: Rows, levels: Sequence[MapLevel], size: tuple[int, int]) -> Flat:
    """Match rows level by level, in whatever order the levels are."""
    one = boxes is scores
    rest = scores.values[..., 4:] if one else scores.values
    first, kinds = 0, set[Kind]()
    maps: list[tuple[HeadMap, HeadMap]] = []
    waiting = list(levels)
    while waiting:
        for level in waiting:
            block = slice(first, first + level.grid.cells)
            found = level_kinds(boxes.values[:, block, :4], rest[:, block], level, size)
            if found:
                break
        else:
            raise NotFollowedError(
                f'from anchor {first} on, {boxes.name} is not what any known head makes of its '
                f'maps {_listed(waiting[0])}'
            )
        waiting.remove(level)
        first += level.grid.cells
        kinds = kinds & found.keys() if kinds else set(found)
        maps += [pair for pair in found.values() if pair][:1]
    kind = _only(kinds)
    classes = rest.shape[2] - (kind.objectness != 'none') - kind.further
    output, channels = 0 if one else 1, scores.channels
    begin = (4 if one else 0) + (kind.objectness != 'none')
    objectness = Place(output, channels, begin - 1)
    read = kind.objectness not in ('none', 'ones')
    anchors = AnchorSet(
        first,
        Place(0, boxes.channels),
        Place(output, channels, begin),
        objectness if read else None,
    )
    outputs = (boxes,) if one else (boxes, scores)
    if len({r.unbatched for r in outputs}) != 1:
        raise NotFollowedError('one of its outputs has an axis for the batch, the other has none')
    return Flat(
        tuple(r.name for r in outputs),
        tuple(r.layout for r in outputs),
        kind,
        anchors,
        classes,
        boxes.unbatched,
        tuple(maps) if len(maps) == len(levels) else (),
        kind.further,
    )


def _only(kinds: set[Kind]) -> Kind:
    """Return the one kind that all levels are of.

    Raises:
        NotFollowedError: they are of none, or it is one that is not read.
    """
    if len(kinds) != 1:
        raise NotFollowedError('its levels differ in what they hold')
    (kind,) = kinds
    if kind.unit == 'cell':
        raise OtherEndError(f'its boxes are decoded but not multiplied by the strides: {EXPORT}')
    if kind.objectness in ('probability', 'logit') and kind.objectness != kind.scores:
        raise OtherEndError(
            f'its objectness is a {kind.objectness} and its classes are a {kind.scores}, expected '
            f'both alike: {EXPORT}'
        )
    return kind


def level_kinds(
    boxes: np.ndarray, rest: np.ndarray, level: MapLevel, size: tuple[int, int]
) -> dict[Kind, tuple[HeadMap, HeadMap] | None]:
    """Return what the rows of a level may hold, and the maps of boxes and classes.

    Args:
        boxes: (batch, cells, 4).
        rest: (batch, cells, classes), perhaps with objectness first.
        level: the maps that they were made of.
        size: (height, width) of the input.
    """
    found: dict[Kind, tuple[HeadMap, HeadMap] | None] = {}
    for part in _parts(level, rest.shape[2]):
        end = rest.shape[2] - part.further
        begin = end - part.classes.shape[2]
        scores = _score_kind(rest[..., begin:end], part.classes)
        objectness = _objectness_kind(rest[..., :begin], part.objectness)
        if not scores or not objectness:
            continue
        for formula in distance_kinds(part.box.shape[2]):
            corners = corners_by_distances(part.box, formula, level.grid)
            for (coding, unit), expected in codings(corners, size, level.grid).items():
                if same(boxes, expected):
                    kind = Kind(coding, unit, formula, scores, objectness, part.further)
                    found.setdefault(kind, part.maps)
    return found


def _parts(level: MapLevel, rest: int) -> Iterator[Part]:
    """Yield the readings of a level's maps whose channels fit ``rest`` numbers behind the box."""
    rows = level.rows
    if len(rows) == 1:
        yield from _parts_of_one(rows[0], rest)
    for b, c, *others in permutations(range(len(rows))) if 2 <= len(rows) <= 3 else ():
        if rows[b].shape[2] % 4:
            continue
        before = rest - rows[c].shape[2]  # what is no class
        maps = level.maps[b], level.maps[c]
        if not others and before in (0, 1):
            yield Part(rows[b], rows[c], None, maps)
        elif others and rows[others[0]].shape[2] == before:
            if before == 1:
                yield Part(rows[b], rows[c], rows[others[0]], maps)
            yield Part(rows[b], rows[c], None, maps, before)


def _parts_of_one(fused: np.ndarray, rest: int) -> Iterator[Part]:
    """Yield the readings of a map that one convolution makes: boxes, objectness, classes."""
    for classes in (rest, rest - 1):
        before = fused.shape[2] - classes
        end = before - before % 4
        if classes < 1 or before < 4 or before % 4 > 1:
            continue
        objectness = fused[..., end:before] if before % 4 else None
        yield Part(fused[..., :end], fused[..., before:], objectness)


def _objectness_kind(block: np.ndarray, objectness: np.ndarray | None) -> Objectness | None:
    if block.shape[2] == 0:
        return 'none' if objectness is None else None
    if objectness is None:
        return 'ones' if (block == 1).all() else None
    return _score_kind(block, objectness)


def _score_kind(block: np.ndarray, maps: np.ndarray) -> Literal['probability', 'logit'] | None:
    if same(block, maps):
        return 'logit'
    return 'probability' if same(block, sigmoid(maps)) else None


def sigmoid(values: np.ndarray) -> np.ndarray:
    """Return the probabilities of logits."""
    probabilities: np.ndarray = 1 / (1 + np.exp(-values))
    return probabilities


def same(got: np.ndarray, expected: np.ndarray) -> bool:
    """Return whether two arrays hold the same, as far as float16 shows it."""
    return got.shape == expected.shape and np.allclose(got, expected, TOLERANCE, TOLERANCE)


def _listed(level: MapLevel) -> str:
    return ', '.join(f'{m.name} {list(m.shape)}' for m in level.maps)


def named_outputs(graph: ModelGraph) -> list[str]:
    """Return the outputs to look at: all, or those that the description names.

    Raises:
        ModelError: it names one that is not there.
    """
    there = list(graph.outputs())
    named = list(graph.given.get('outputs', there))
    for name in named:
        if name not in there:
            raise ModelError(f'{graph.path}: outputs: "{name}" is none of its outputs {there}')
    return named
