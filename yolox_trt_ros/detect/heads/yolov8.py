"""YOLOv8, YOLO11, YOLOv12: distances of the sides as distributions over 16 bins, no objectness."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

from yolox_trt_ros.core.errors import ModelError
from yolox_trt_ros.core.head import HeadCut
from yolox_trt_ros.detect.graph.model_graph import ModelGraph
from yolox_trt_ros.detect.heads.dense.family import (
    cut_at_maps,
    flat_head,
    flat_of,
    maps_of,
    seen,
)
from yolox_trt_ros.detect.heads.dense.formulas import Distances
from yolox_trt_ros.detect.heads.dense.from_maps import map_head
from yolox_trt_ros.detect.heads.dense.head import Boxes, DenseHead
from yolox_trt_ros.detect.heads.dense.maps import LevelPieces, Piece
from yolox_trt_ros.detect.heads.dense.match import Flat
from yolox_trt_ros.detect.heads.family import Family, NotThisHeadError

BINS = 16
ULTRALYTICS: Mapping[str, Any] = MappingProxyType(
    {'letterbox': 'centre', 'pad': 114, 'colour': 'rgb', 'scale': 1 / 255}
)
"""How YOLOv5 and its successors are fed."""


@dataclass(frozen=True, slots=True)
class Yolov8Head(DenseHead):
    """One output [batch, 4 + classes, anchors], or maps of 64 and of ``classes`` channels."""

    family: ClassVar[str] = 'yolov8'
    fed: ClassVar[Mapping[str, Any]] = ULTRALYTICS


class Yolov8(Family):
    """Recognises these heads."""

    def match(self, graph: ModelGraph) -> Yolov8Head:
        """Return what the outputs mean."""
        try:
            return flat_head(Yolov8Head, graph, self._flat(graph))
        except NotThisHeadError as error:
            try:
                return self._maps(graph, maps_of(graph))
            except NotThisHeadError as other:
                raise NotThisHeadError(
                    'not a YOLOv8: expected one output [batch, 4 + classes, anchors], or maps of '
                    f'{4 * BINS} and of one channel per class for each stride ({error}; {other})'
                ) from None

    def cut(self, graph: ModelGraph) -> HeadCut:
        """Return box and class map of each level."""
        try:
            flat = self._flat(graph)
        except NotThisHeadError as error:
            raise NotThisHeadError(f'not a YOLOv8 that can be cut: {error}') from None
        return cut_at_maps(graph, flat, 'yolov8')

    def _flat(self, graph: ModelGraph) -> Flat:
        flat = flat_of(graph)
        kind = flat.kind
        known = {Distances(BINS, False, 0.5)}
        if graph.given.get('head') == 'yolov8':  # then also of YOLO26, whose distances are numbers
            known.add(Distances(1, False, 0.5))
        if kind.objectness != 'none' or kind.formula not in known:
            raise NotThisHeadError(seen(flat))
        return flat

    def _maps(self, graph: ModelGraph, levels: Sequence[LevelPieces]) -> Yolov8Head:
        pairs = [_pair(graph, level) for level in levels]
        if len({classes.channels for _, classes in pairs}) != 1:
            raise NotThisHeadError('its levels have different numbers of classes')
        kinds = {classes.made for _, classes in pairs}
        if len(kinds) != 1 or not kinds <= {'logit', 'probability'}:
            raise NotThisHeadError('its levels differ in what they hold')
        return map_head(Yolov8Head, graph, levels, pairs, Boxes('distances', bins=BINS))


def _pair(graph: ModelGraph, level: LevelPieces) -> tuple[Piece, Piece]:
    """Return box and class map of a level."""
    boxes = [p for p in level.pieces if p.channels == 4 * BINS and p.made == 'logit']
    if not boxes or len(level.pieces) < 2:
        raise NotThisHeadError(f'no map of {4 * BINS} channels is raw')
    if len(level.pieces) == 2 and 'outputs' in graph.given and level.pieces[0] is boxes[0]:
        return level.pieces[0], level.pieces[1]
    if len(boxes) > 1 or len(level.pieces) > 2:
        raise ModelError(
            f'{graph.path}: nothing shows which of its maps '
            f'{", ".join(p.map.name for p in level.pieces)} holds boxes and which scores: name '
            'box and class map of each stride in "outputs" of the YAML beside it'
        )
    return boxes[0], next(p for p in level.pieces if p is not boxes[0])


FAMILIES: dict[str, Family] = {'yolov8': Yolov8()}
