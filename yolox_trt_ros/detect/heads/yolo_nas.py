"""YOLO-NAS and PP-YOLOE: corners in one output, a score for each class in the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

from yolox_trt_ros.detect.graph.model_graph import ModelGraph
from yolox_trt_ros.detect.heads.dense.family import AnyHead, flat_head, flat_of, seen
from yolox_trt_ros.detect.heads.dense.formulas import Distances
from yolox_trt_ros.detect.heads.dense.head import DenseHead
from yolox_trt_ros.detect.heads.family import Family, NotThisHeadError

BINS = 17


@dataclass(frozen=True, slots=True)
class YoloNasHead(DenseHead):
    """[batch, anchors, 4] and [batch, anchors, classes]."""

    family: ClassVar[str] = 'yolo_nas'
    fed: ClassVar[Mapping[str, Any]] = MappingProxyType({'colour': 'rgb', 'scale': 1 / 255})
    asked: ClassVar[tuple[str, ...]] = ('letterbox',)


@dataclass(frozen=True, slots=True)
class PpYoloeHead(DenseHead):
    """[batch, anchors, 4] and [batch, classes, anchors]."""

    family: ClassVar[str] = 'pp_yoloe'
    fed: ClassVar[Mapping[str, Any]] = MappingProxyType({'colour': 'rgb', 'scale': 1 / 255})
    asked: ClassVar[tuple[str, ...]] = ('letterbox', 'mean', 'std')


class YoloNas(Family):
    """Recognises YOLO-NAS's heads."""

    def match(self, graph: ModelGraph) -> YoloNasHead:
        """Return what the outputs mean."""
        return _match(graph, YoloNasHead, 'a YOLO-NAS')


class PpYoloe(Family):
    """Recognises PP-YOLOE's heads."""

    def match(self, graph: ModelGraph) -> PpYoloeHead:
        """Return what the outputs mean."""
        return _match(graph, PpYoloeHead, 'a PP-YOLOE')


def _match(graph: ModelGraph, kind: type[AnyHead], called: str) -> AnyHead:
    try:
        flat = flat_of(graph)
    except NotThisHeadError as error:
        raise NotThisHeadError(f'not {called} ({error})') from None
    seen_kind = flat.kind
    two = len(flat.outputs) == 2 and seen_kind.objectness == 'none'
    known = seen_kind.formula == Distances(BINS, False, 0.5)
    if not (two and known and seen_kind.coding == 'corners'):
        raise NotThisHeadError(f'not {called} ({seen(flat)})')
    return flat_head(kind, graph, flat)


FAMILIES: dict[str, Family] = {'yolo_nas': YoloNas(), 'pp_yoloe': PpYoloe()}
