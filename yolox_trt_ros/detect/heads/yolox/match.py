"""Tell what an output holds by running the graph's end on random maps.

Each function compares what came out with what YOLOX's head would give for the same maps: raw or
after a sigmoid, boxes in cells or decoded to pixels (``decode_outputs`` of its head). Only an exact
match counts; near misses that are known by name are named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from yolox_trt_ros.detect.graph.dequantise import EXPORT, NotFollowedError, OtherEndError
from yolox_trt_ros.detect.graph.end import GraphEnd, HeadMap
from yolox_trt_ros.detect.heads.yolox.head import Boxes, Scores
from yolox_trt_ros.detect.heads.yolox.levels import (
    HeadLevel,
    decoded_boxes,
    head_levels,
    map_rows,
    possible_parts,
    stride_of,
)
from yolox_trt_ros.detect.heads.yolox.roles import box_objectness_class

TOLERANCE = 5e-3
"""Float16 keeps three digits; what is distinguished differs in the first."""

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
        maps: box, objectness and class map of each level in turn; () if one convolution gives all.
    """

    outputs: tuple[str, ...]
    cells: tuple[tuple[int, int], ...]
    classes: int
    scores: Scores
    boxes: Boxes
    maps: tuple[HeadMap, ...] = ()


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
        NotFollowedError: it holds something else; says what, as far as that can be determined.
    """
    if got.dtype.kind != 'f':
        raise OtherEndError(f'its output {output} holds {got.dtype}, expected float: {EXPORT}')
    levels = head_levels(end.maps, values, size)
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
        NotFollowedError: they hold something else, or nothing distinguishes boxes from classes.
    """
    found = [
        _one_map(name, array, end.maps, values, size)
        for name, array in zip(outputs, got, strict=True)
    ]
    by_cells: dict[tuple[int, ...], list[_Output]] = {}
    for one in found:
        by_cells.setdefault(one.map.shape[2:], []).append(one)
    names: list[str] = []
    maps: list[HeadMap] = []
    kinds: set[tuple[str, str, str]] = set()
    classes: set[int] = set()
    for cells in sorted(by_cells, reverse=True):
        box, objectness, scores = _roles(by_cells[cells], ordered)
        names += [box.name, objectness.name, scores.name]
        maps += [box.map, objectness.map, scores.map]
        kinds.add((box.kind, objectness.kind, scores.kind))
        classes.add(scores.map.shape[1])
    if len(kinds) != 1 or len(classes) != 1:
        raise NotFollowedError('its levels differ in what they hold')
    ((box_kind, objectness_kind, class_kind),) = kinds
    cells_of = tuple((c[0], c[1]) for c in sorted(by_cells, reverse=True))
    boxes = _boxes(box_kind)
    kind = _scores(objectness_kind, class_kind)
    return Match(tuple(names), cells_of, classes.pop(), kind, boxes, tuple(maps))


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
        rows = map_rows(values[m.name])
        level = HeadLevel(m.shape[2:], stride_of(m, size), (m,), (rows,))  # type: ignore[arg-type]
        kinds = {'logit': rows, 'probability': _sigmoid(rows)}
        if m.shape[1] == 4:
            kinds |= decoded_boxes(rows, level)
        for kind, expected in kinds.items():
            if _same(map_rows(got), expected):
                return _Output(name, kind, m)
    raise NotFollowedError(f'its output {name} {list(got.shape)} is none of its head’s maps')


def _roles(found: Sequence[_Output], ordered: bool) -> list[_Output]:
    listed = ', '.join(f'{one.name} {list(one.map.shape)}' for one in found)
    channels = [one.map.shape[1] for one in found]
    if len(found) != 3 or 4 not in channels or 1 not in channels:
        raise NotFollowedError(
            f'expected maps of 4, of 1 and of one channel per class, got {listed}'
        )
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
        raise OtherEndError(
            f'nothing shows which of {listed} holds boxes and which scores: name all outputs in '
            '"outputs" of the YAML beside the model, box, objectness and class of each level'
        )
    return [found[i] for i in places]


def _in_order(output: str, got: np.ndarray, levels: list[HeadLevel], classes: int) -> Match:
    """Match an output's rows level by level, in whatever order the levels are."""
    first, cells = 0, []
    maps: list[HeadMap] = []
    kinds: set[tuple[str, str, str]] = set()
    waiting = list(levels)
    while waiting:
        for level in waiting:
            count = level.cells[0] * level.cells[1]
            found = _level_kind(got[:, first : first + count], level)
            if found:
                break
        else:
            raise NotFollowedError(
                f'from row {first} on, its output {output} is not what YOLOX makes of its head'
            )
        waiting.remove(level)
        first += count
        cells.append(level.cells)
        kinds.add(found[0])
        maps += found[1]
    if len(kinds) != 1:
        raise NotFollowedError('its levels differ in what they hold')
    ((box, objectness, scores),) = kinds
    kind = _scores(objectness, scores)
    return Match((output,), tuple(cells), classes, kind, _boxes(box), tuple(maps))


def _level_kind(
    block: np.ndarray, level: HeadLevel
) -> tuple[tuple[str, str, str], Sequence[HeadMap]] | None:
    """Return how boxes, objectness and classes of one level stand in these rows; and its maps."""
    for (box, objectness, scores), maps in possible_parts(level):
        kinds = (
            _kind(block[:, :, :4], {'logit': box, **decoded_boxes(box, level)}),
            _kind(block[:, :, 4:5], {'logit': objectness, 'probability': _sigmoid(objectness)}),
            _kind(block[:, :, 5:], {'logit': scores, 'probability': _sigmoid(scores)}),
        )
        if kinds[0] and kinds[1] and kinds[2]:
            return kinds, maps
    return None


def _kind(block: np.ndarray, kinds: Mapping[str, np.ndarray]) -> str:
    if block.shape[2] == 0:
        return ''
    return next((kind for kind, expected in kinds.items() if _same(block, expected)), '')


def _boxes(kind: str) -> Boxes:
    if kind in _OTHER_BOXES or kind == 'probability':
        message = _OTHER_BOXES.get(kind, 'its boxes went through a sigmoid')
        raise OtherEndError(f'{message}: {EXPORT}')
    return 'pixel' if kind == 'pixel' else 'grid'


def _scores(objectness: str, classes: str) -> Scores:
    if objectness != classes or objectness not in ('probability', 'logit'):
        raise OtherEndError(
            f'its objectness is a {objectness} and its classes are a {classes}, expected both '
            f'alike: {EXPORT}'
        )
    return 'probability' if objectness == 'probability' else 'logit'


def _sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-values))


def _same(got: np.ndarray, expected: np.ndarray) -> bool:
    return got.shape == expected.shape and np.allclose(got, expected, TOLERANCE, TOLERANCE)
