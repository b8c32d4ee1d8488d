"""Tell where a graph's final boxes come from, by running its end on random maps.

Rows that come out have to be boxes that the maps stand for by the formula of a known head: then it
is known where corners, score and class stand, in which unit, and whose models are fed how.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from yolox_trt_ros.core.errors import ModelError
from yolox_trt_ros.core.model_limits import SUPPRESSING, all_nodes
from yolox_trt_ros.detect.graph.dequantise import NotFollowedError
from yolox_trt_ros.detect.graph.model_graph import ModelGraph
from yolox_trt_ros.detect.heads.dense.flat import map_levels
from yolox_trt_ros.detect.heads.dense.match import named_outputs, random_maps
from yolox_trt_ros.detect.heads.family import Family, NotThisHeadError
from yolox_trt_ros.detect.heads.final.columns import (
    Columns,
    possible_columns,
    rows_of,
    widths_of,
)
from yolox_trt_ros.detect.heads.final.head import FinalHead
from yolox_trt_ros.detect.heads.final.plugin import plugin_of, plugin_rows
from yolox_trt_ros.detect.heads.final.readings import Line, Reading, explains, readings
from yolox_trt_ros.detect.heads.yolov8 import ULTRALYTICS

FEWEST = 3
"""Boxes that have to come out to tell anything."""
TRIALS = 4
LISTS = 4
"""Most outputs of final boxes: count, boxes, scores, classes."""


@dataclass(frozen=True, slots=True)
class UnknownFinalHead(FinalHead):
    """Final boxes of a head that several kinds of models have."""

    asked: ClassVar[tuple[str, ...]] = ('letterbox', 'colour', 'scale')


@dataclass(frozen=True, slots=True)
class UltralyticsFinalHead(FinalHead):
    """Final boxes of YOLOv10, or of YOLOv5 and its successors with suppression inside."""

    fed: ClassVar[Mapping[str, Any]] = ULTRALYTICS


@dataclass(frozen=True, slots=True)
class YoloxFinalHead(FinalHead):
    """Final boxes of a YOLOX with suppression inside."""


_HEADS: Mapping[Line, type[FinalHead]] = MappingProxyType(
    {'': UnknownFinalHead, 'ultralytics': UltralyticsFinalHead, 'yolox': YoloxFinalHead}
)


def suppressing(graph: ModelGraph) -> str:
    """Return the operator that suppresses boxes inside a graph; empty: there is none."""
    found = (n.op_type for n in all_nodes(graph.path, graph.model) if n.op_type in SUPPRESSING)
    return next(found, '')


class Final(Family):
    """Recognises final boxes."""

    def match(self, graph: ModelGraph) -> FinalHead:
        """Return what the outputs mean."""
        try:
            return plugin_head(graph) if plugin_of(graph) else _head(graph)
        except NotFollowedError as error:
            inside = suppressing(graph)
            where = f', suppressed by {inside},' if inside else ''
            raise NotThisHeadError(
                f'not a detector with final boxes{where} that are known: expected corners, score '
                f'and class of each that its maps stand for ({error})'
            ) from None


def _head(graph: ModelGraph) -> FinalHead:
    names = named_outputs(graph)
    if not 1 <= len(names) <= LISTS:
        raise NotFollowedError(f'it has {len(names)} outputs, expected 1 to {LISTS}')
    end = graph.end(names)
    size = graph.input.height, graph.input.width
    seen, batch = '', graph.input.batch or 1
    for trial in range(TRIALS):
        # Higher scores each time: what is suppressed or below a threshold shows nothing.
        values = _raised(random_maps(end.maps), trial)
        outputs = end.run(values)
        possible = list(possible_columns(outputs))
        if not possible:
            listed = ', '.join(
                f'{n} {list(o.shape)} of {o.dtype}' for n, o in zip(names, outputs, strict=True)
            )
            raise NotFollowedError(f'{listed} are no final boxes')
        known = list(readings(map_levels(end.maps, values, size)))
        found = [
            (columns, unit, reading)
            for columns in possible
            for rows in (rows_of(outputs, columns, batch),)
            if len(rows) >= FEWEST
            for unit, pixels in units_of(rows, size)
            for reading in known
            if explains(reading, pixels)
        ]
        if found:
            nothing = end.run({n: np.full_like(v, -20) for n, v in values.items()})
            is_open = [o.shape for o in outputs] != [o.shape for o in nothing]
            return _made(names, outputs, found, is_open)
        seen = (
            f'{len(rows_of(outputs, possible[0], batch))} boxes came out that no known head makes'
        )
    raise NotFollowedError(seen)


def _raised(values: dict[str, np.ndarray], trial: int) -> dict[str, np.ndarray]:
    return {name: (v + v.dtype.type(0.7 * trial)) for name, v in values.items()}


def units_of(
    rows: np.ndarray, size: tuple[int, int]
) -> list[tuple[tuple[float, float], np.ndarray]]:
    """Return the rows with boxes in pixels, if they are in pixels or fractions of the input."""
    both = np.array([size[1], size[0], size[1], size[0], 1, 1], np.float64)
    return [((1.0, 1.0), rows), ((float(size[1]), float(size[0])), rows * both)]


def _made(
    names: Sequence[str],
    outputs: Sequence[np.ndarray],
    found: Sequence[tuple[Columns, tuple[float, float], Reading]],
    is_open: bool,
) -> FinalHead:
    lines = {reading.line for *_, reading in found}
    places = {(columns, unit) for columns, unit, _ in found}
    if len(lines) != 1 or len(places) != 1:
        raise NotFollowedError('its boxes may be read in more than one manner')
    columns, unit, reading = found[0]
    kind = _HEADS[reading.line]
    return final_head(names, outputs, columns, unit, reading.scores.shape[1], kind, is_open)


def final_head(
    names: Sequence[str],
    outputs: Sequence[np.ndarray],
    columns: Columns,
    unit: tuple[float, float],
    classes: int,
    kind: type[FinalHead],
    is_open: bool = False,
) -> FinalHead:
    """Return the head of outputs whose columns are known."""
    box = outputs[columns.box.output]
    listed = columns.joined or columns.image is not None
    rows = -1 if is_open or listed else box.shape[1]
    types = tuple(str(o.dtype) if o.dtype.kind == 'i' else '' for o in outputs)
    if set(types) - {'', 'int32', 'int64'}:
        raise NotFollowedError(f'its outputs hold {", ".join(t or "float" for t in types)}')
    widths = tuple(o.shape[1] if o.ndim == 2 else 0 for o in outputs)
    if not listed:
        widths = widths_of(outputs, box.shape[1])
    squeezed = tuple(o.ndim == (1 if i == columns.count else 2) for i, o in enumerate(outputs))
    return kind(
        tuple(names),
        classes,
        rows,
        widths,
        columns.box,
        columns.score,
        columns.class_id,
        columns.count,
        columns.image,
        unit,
        types,
        () if listed else squeezed,
        columns.joined,
    )


def plugin_head(graph: ModelGraph) -> FinalHead:
    """Return the head of a TensorRT plug-in's outputs, whose meaning the plug-in defines.

    Raises:
        NotFollowedError: what it reads is no known head's.
        ModelError: the model's outputs are not the plug-in's.
    """
    names, outputs, columns, rows = plugin_rows(graph)
    size = graph.input.height, graph.input.width
    found: list[tuple[tuple[float, float], Reading]] = []
    for unit, pixels in units_of(rows.values, size):
        found += [(unit, r) for r in readings(rows.levels) if explains(r, pixels)]
    lines = {reading.line for _, reading in found}
    if len(lines) != 1 or len({unit for unit, _ in found}) != 1:
        raise NotFollowedError('what its plug-in reads are no boxes and scores of a known head')
    unit, reading = found[0]
    if set(named_outputs(graph)) != set(names):
        raise ModelError(
            f'{graph.path}: expected the outputs of its {plugin_of(graph).op_type} as they are, '
            f'{", ".join(names)}, got {", ".join(graph.outputs())}'
        )
    kind = _HEADS[reading.line]
    return final_head(names, outputs, columns, unit, reading.scores.shape[1], kind)
