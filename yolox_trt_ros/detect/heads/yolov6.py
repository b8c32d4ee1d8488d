"""YOLOv6 and RTMDet: distances of the sides, a score for each class, no objectness."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

from yolox_trt_ros.core.errors import ModelError
from yolox_trt_ros.core.head import HeadCut
from yolox_trt_ros.detect.graph.model_graph import ModelGraph
from yolox_trt_ros.detect.heads.dense.family import (
    AnyHead,
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
from yolox_trt_ros.detect.heads.yolov8 import ULTRALYTICS

BINS = 17
"""Of YOLOv6 where it is trained with distributions."""


@dataclass(frozen=True, slots=True)
class Yolov6Head(DenseHead):
    """One output [batch, anchors, 5 + classes] whose objectness is 1, or two maps per level."""

    family: ClassVar[str] = 'yolov6'
    fed: ClassVar[Mapping[str, Any]] = ULTRALYTICS


@dataclass(frozen=True, slots=True)
class RtmdetHead(DenseHead):
    """Corners and scores of each class, or two maps per level."""

    family: ClassVar[str] = 'rtmdet'
    fed: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {'colour': 'bgr', 'mean': (103.53, 116.28, 123.675), 'std': (57.375, 57.12, 58.395)}
    )
    asked: ClassVar[tuple[str, ...]] = ('letterbox',)


class Yolov6(Family):
    """Recognises YOLOv6's heads."""

    def match(self, graph: ModelGraph) -> Yolov6Head:
        """Return what the outputs mean."""
        return _match(graph, Yolov6Head, 0.5, 'a YOLOv6', _is_yolov6)

    def cut(self, graph: ModelGraph) -> HeadCut:
        """Return box and class map of each level."""
        return _cut(graph, 'yolov6', _is_yolov6)


class Rtmdet(Family):
    """Recognises RTMDet's heads."""

    def match(self, graph: ModelGraph) -> RtmdetHead:
        """Return what the outputs mean."""
        return _match(graph, RtmdetHead, 0.0, 'an RTMDet', _is_rtmdet)

    def cut(self, graph: ModelGraph) -> HeadCut:
        """Return box and class map of each level."""
        return _cut(graph, 'rtmdet', _is_rtmdet)


def _is_yolov6(flat: Flat) -> bool:
    kind = flat.kind
    one = len(flat.outputs) == 1 and kind.objectness == 'ones'
    known = kind.formula in (Distances(1, False, 0.5), Distances(BINS, False, 0.5))
    return one and known and (kind.coding, kind.unit) == ('centre', 'pixel')


def _is_rtmdet(flat: Flat) -> bool:
    kind = flat.kind
    plain = kind.formula.bins == 1 and kind.formula.offset == 0
    return len(flat.outputs) == 2 and kind.objectness == 'none' and plain


def _cut(graph: ModelGraph, family: str, is_flat: Any) -> HeadCut:
    flat = flat_of(graph)
    if not is_flat(flat):
        raise NotThisHeadError(f'not a {family} that can be cut: {seen(flat)}')
    return cut_at_maps(graph, flat, family)


def _match(
    graph: ModelGraph, kind: type[AnyHead], offset: float, called: str, is_flat: Any
) -> AnyHead:
    try:
        flat = flat_of(graph)
        if not is_flat(flat):
            raise NotThisHeadError(seen(flat))
        return flat_head(kind, graph, flat)
    except NotThisHeadError as error:
        try:
            return _maps(graph, kind, offset, maps_of(graph))
        except NotThisHeadError as other:
            raise NotThisHeadError(f'not {called} ({error}; {other})') from None


def _maps(
    graph: ModelGraph, kind: type[AnyHead], offset: float, levels: Sequence[LevelPieces]
) -> AnyHead:
    pairs = [_pair(graph, level) for level in levels]
    made = {(box.made, box.channels, scores.made, scores.channels) for box, scores in pairs}
    if len(made) != 1:
        raise NotThisHeadError('its levels differ in what they hold')
    ((box, channels, _, _),) = made
    boxes = Boxes('distances', bins=channels // 4, offset=offset, pixels=box != 'logit')
    return map_head(kind, graph, levels, pairs, boxes)


def _pair(graph: ModelGraph, level: LevelPieces) -> tuple[Piece, Piece]:
    """Return box and class map of a level."""
    sizes = (4, 4 * BINS)
    boxes = [p for p in level.pieces if p.channels in sizes and p.made != 'probability']
    if not boxes or len(level.pieces) != 2:
        raise NotThisHeadError('expected two maps per stride: 4 distances, and classes')
    first, second = level.pieces
    if len(boxes) == 1:
        return boxes[0], second if boxes[0] is first else first
    if 'outputs' in graph.given:
        return first, second
    raise ModelError(
        f'{graph.path}: nothing shows which of its maps {first.map.name}, {second.map.name} holds '
        'boxes and which scores: name box and class map of each stride in "outputs" of the YAML '
        'beside it'
    )


FAMILIES: dict[str, Family] = {'yolov6': Yolov6(), 'rtmdet': Rtmdet()}
