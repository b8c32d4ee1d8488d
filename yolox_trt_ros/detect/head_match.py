"""Tell what an output holds by running the graph's end on random maps.

Each function compares what came out with what YOLOX's head would give for the same maps: raw or
after a sigmoid, boxes in cells or decoded to pixels (``decode_outputs`` of its head). Only an exact
match counts; near misses that are known by name are named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np

from yolox_trt_ros.core.head_maps import box_objectness_class
from yolox_trt_ros.detect.dequantise import EXPORT, NotFollowedError, OtherEndError
from yolox_trt_ros.detect.graph_end import GraphEnd, HeadMap
from yolox_trt_ros.detect.heads.yolox.head import Boxes, Scores

TOLERANCE = 5e-3
"""Float16 keeps three digits; what is told apart differs in the first."""

_OTHER_BOXES = {
    'corners': 'its boxes are corners in pixels, expected centre and size',
    'fractions': 'its boxes are fractions of the image, expected pixels or cells',
    'cells': 'its boxes are decoded but not multiplied by the strides',
}


@dataclass(frozen=True, slots=True)
class Match:
    """What outputs hold.

    Attributes:
        outputs: names, in the order of ``HeadSpec.outputs``.
        cells: (rows, columns) of each level, in the output's order.
        classes: how many.
        scores, boxes: see ``YoloxHead``.
    """

    outputs: tuple[str, ...]
    cells: tuple[tuple[int, int], ...]
    classes: int
    scores: Scores
    boxes: Boxes


@dataclass(frozen=True, slots=True)
class _Level:
    """One level's values: each map as rows (batch, cells, channels)."""

    cells: tuple[int, int]
    stride: tuple[float, float]
    maps: tuple[HeadMap, ...]
    rows: tuple[np.ndarray, ...]

    @property
    def classes(self) -> int:
        return sum(part.shape[2] for part in self.rows) - 5


def random_maps(maps: Sequence[HeadMap]) -> dict[str, np.ndarray]:
    """Return values for a head's maps: small, so that no exponential leaves float16."""
    rng = np.random.default_rng(0)
    return {m.name: rng.uniform(-2, 2, m.shape).astype(m.dtype) for m in maps}


def match_concatenated(
    end: GraphEnd,
    output: str,
    got: np.ndarray,
    values: Mapping[str, np.ndarray],
    size: tuple[int, int],
) -> Match:
    """Return what one output [batch, anchors, 5 + classes] holds.

    Args:
        end: of the graph, for this output alone.
        output: its name.
        got: what came out.
        values: what went in.
        size: (height, width) of the model's input.

    Raises:
        NotFollowedError: it holds something else; says what, as far as that can be told.
    """
    if got.dtype.kind != 'f':
        raise OtherEndError(f'its output {output} holds {got.dtype}, expected float: {EXPORT}')
    levels = _levels(end.maps, values, size)
    classes = levels[0].classes
    anchors = sum(rows * columns for rows, columns in (level.cells for level in levels))
    wanted = (anchors, 5 + classes)
    if got.shape[1:] == wanted[::-1] != wanted:
        match_concatenated(end, output, got.transpose(0, 2, 1), values, size)
        raise OtherEndError(
            f'its output {output} {list(got.shape)} is transposed, expected [batch, anchors, 5 + '
            'classes] (`python -m yolox_trt_ros optimize` makes a model that ends in its maps)'
        )
    if got.shape[1:] != wanted:
        fused = 4 + classes in got.shape[1:]
        why = ', whose objectness and classes are one already' if fused else ''
        raise OtherEndError(
            f'its output {output} {list(got.shape)}{why} does not fit its head, which has '
            f'{anchors} anchors and {classes} classes: expected {[got.shape[0], *wanted]}, {EXPORT}'
        )
    return _in_order(output, got.astype(np.float64), levels, classes)


def match_maps(
    end: GraphEnd,
    outputs: Sequence[str],
    got: Sequence[np.ndarray],
    values: Mapping[str, np.ndarray],
    size: tuple[int, int],
    ordered: bool,
) -> Match:
    """Return what three outputs per level hold, finest level first.

    Args:
        end: of the graph, for these outputs.
        outputs: names.
        got: what came out.
        values: what went in.
        size: (height, width) of the model's input.
        ordered: whether the outputs are known to be box, objectness and class of each level.

    Raises:
        NotFollowedError: they hold something else, or nothing tells boxes from classes.
    """
    found = [
        _one_map(name, array, end.maps, values, size)
        for name, array in zip(outputs, got, strict=True)
    ]
    by_cells: dict[tuple[int, ...], list[_Output]] = {}
    for one in found:
        by_cells.setdefault(one.map.shape[2:], []).append(one)
    names: list[str] = []
    kinds: set[tuple[str, str, str]] = set()
    classes: set[int] = set()
    for cells in sorted(by_cells, reverse=True):
        box, objectness, scores = _roles(by_cells[cells], ordered)
        names += [box.name, objectness.name, scores.name]
        kinds.add((box.kind, objectness.kind, scores.kind))
        classes.add(scores.map.shape[1])
    if len(kinds) != 1 or len(classes) != 1:
        raise NotFollowedError('its levels differ in what they hold')
    ((box_kind, objectness_kind, class_kind),) = kinds
    cells_of = tuple((c[0], c[1]) for c in sorted(by_cells, reverse=True))
    boxes = _boxes(box_kind)
    return Match(tuple(names), cells_of, classes.pop(), _scores(objectness_kind, class_kind), boxes)


@dataclass(frozen=True, slots=True)
class _Output:
    """An output that is one map: ``kind`` is logit, probability, or how boxes are decoded."""

    name: str
    kind: str
    map: HeadMap


def _one_map(
    name: str,
    got: np.ndarray,
    maps: Sequence[HeadMap],
    values: Mapping[str, np.ndarray],
    size: tuple[int, int],
) -> _Output:
    for m in maps:
        if m.shape != got.shape:
            continue
        rows = _rows(values[m.name])
        level = _Level(m.shape[2:], _stride(m, size), (m,), (rows,))  # type: ignore[arg-type]
        kinds = {'logit': rows, 'probability': _sigmoid(rows)}
        if m.shape[1] == 4:
            kinds |= _box_kinds(rows, level)
        for kind, expected in kinds.items():
            if _same(_rows(got), expected):
                return _Output(name, kind, m)
    raise NotFollowedError(f'its output {name} {list(got.shape)} is none of its head’s maps')


def _roles(found: Sequence[_Output], ordered: bool) -> list[_Output]:
    if ordered:
        return list(found)
    facts = [
        replace(
            one.map.facts,
            squashed=one.kind == 'probability',
            names=(one.name, *one.map.facts.names),
        )
        for one in found
    ]
    places = box_objectness_class(facts)
    if places is None:
        listed = ', '.join(f'{one.name} {list(one.map.shape)}' for one in found)
        raise OtherEndError(
            f'nothing tells which of {listed} holds boxes and which scores: name all outputs in '
            '"outputs" of the YAML beside the model, box, objectness and class of each level'
        )
    return [found[i] for i in places]


def _levels(
    maps: Sequence[HeadMap], values: Mapping[str, np.ndarray], size: tuple[int, int]
) -> list[_Level]:
    """Return a head's levels, finest first."""
    by_cells: dict[tuple[int, int], list[HeadMap]] = {}
    for m in maps:
        if len(m.shape) != 4:
            raise NotFollowedError(f'{m.name} {list(m.shape)} comes before it, which is no map')
        by_cells.setdefault((m.shape[2], m.shape[3]), []).append(m)
    levels = [
        _Level(
            cells,
            _stride(by_cells[cells][0], size),
            tuple(by_cells[cells]),
            tuple(_rows(values[m.name]) for m in by_cells[cells]),
        )
        for cells in sorted(by_cells, reverse=True)
    ]
    good = levels and all(
        len(level.maps) == 1 or sorted(_places(level)) == [0, 1, 2] for level in levels
    )
    if not good or len({level.classes for level in levels}) != 1 or levels[0].classes < 1:
        listed = ', '.join(f'{m.name} {list(m.shape)}' for m in maps)
        raise NotFollowedError(
            'no YOLOX head comes before it: expected per stride three convolutions with 4, 1 and '
            f'one channel per class, got {listed or "none"}'
        )
    return levels


def _places(level: _Level) -> list[int]:
    channels = [rows.shape[2] for rows in level.rows]
    if len(channels) != 3 or 4 not in channels or 1 not in channels:
        return []
    return [0, 1, 2]


def _in_order(output: str, got: np.ndarray, levels: list[_Level], classes: int) -> Match:
    """Match an output's rows level by level, in whatever order the levels are."""
    first, cells = 0, []
    kinds: set[tuple[str, str, str]] = set()
    waiting = list(levels)
    while waiting:
        for level in waiting:
            count = level.cells[0] * level.cells[1]
            kind = _level_kind(got[:, first : first + count], level)
            if kind:
                break
        else:
            raise NotFollowedError(
                f'from row {first} on, its output {output} is not what YOLOX makes of its head'
            )
        waiting.remove(level)
        first += count
        cells.append(level.cells)
        kinds.add(kind)
    if len(kinds) != 1:
        raise NotFollowedError('its levels differ in what they hold')
    ((box, objectness, scores),) = kinds
    return Match((output,), tuple(cells), classes, _scores(objectness, scores), _boxes(box))


def _level_kind(block: np.ndarray, level: _Level) -> tuple[str, str, str] | None:
    """Return how boxes, objectness and classes of one level stand in these rows."""
    for box, objectness, scores in _splits(level):
        kinds = (
            _kind(block[:, :, :4], {'logit': box, **_box_kinds(box, level)}),
            _kind(block[:, :, 4:5], {'logit': objectness, 'probability': _sigmoid(objectness)}),
            _kind(block[:, :, 5:], {'logit': scores, 'probability': _sigmoid(scores)}),
        )
        if kinds[0] and kinds[1] and kinds[2]:
            return kinds[0], kinds[1], kinds[2]
    return None


def _splits(level: _Level) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Return the ways to read a level's maps as boxes, objectness and classes."""
    if len(level.rows) == 1:
        (rows,) = level.rows
        return [(rows[:, :, :4], rows[:, :, 4:5], rows[:, :, 5:])]
    known = box_objectness_class([replace(m.facts, squashed=None) for m in level.maps])
    orders = [known] if known else list(permutations(range(3)))
    return [
        (level.rows[b], level.rows[o], level.rows[c])
        for b, o, c in orders
        if level.rows[b].shape[2] == 4 and level.rows[o].shape[2] == 1
    ]


def _kind(block: np.ndarray, kinds: Mapping[str, np.ndarray]) -> str:
    if block.shape[2] == 0:
        return ''
    return next((kind for kind, expected in kinds.items() if _same(block, expected)), '')


def _box_kinds(rows: np.ndarray, level: _Level) -> dict[str, np.ndarray]:
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


def _boxes(kind: str) -> Boxes:
    if kind in _OTHER_BOXES or kind == 'probability':
        told = _OTHER_BOXES.get(kind, 'its boxes went through a sigmoid')
        raise OtherEndError(f'{told}: {EXPORT}')
    return 'pixel' if kind == 'pixel' else 'grid'


def _scores(objectness: str, classes: str) -> Scores:
    if objectness != classes or objectness not in ('probability', 'logit'):
        raise OtherEndError(
            f'its objectness is a {objectness} and its classes are a {classes}, expected both '
            f'alike: {EXPORT}'
        )
    return 'probability' if objectness == 'probability' else 'logit'


def _stride(m: HeadMap, size: tuple[int, int]) -> tuple[float, float]:
    return size[0] / m.shape[2], size[1] / m.shape[3]


def _rows(values: np.ndarray) -> np.ndarray:
    """Return a map (batch, channels, height, width) as float64 (batch, cells, channels)."""
    flat = values.reshape(*values.shape[:2], -1)
    return flat.transpose(0, 2, 1).astype(np.float64)


def _sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-values))


def _same(got: np.ndarray, expected: np.ndarray) -> bool:
    return got.shape == expected.shape and np.allclose(got, expected, TOLERANCE, TOLERANCE)
