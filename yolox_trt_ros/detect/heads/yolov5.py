"""YOLOv5 and YOLOv7: three anchor boxes a cell, boxes by squares of sigmoids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from yolox_trt_ros.core.errors import ModelError
from yolox_trt_ros.detect.description import sidecar_of
from yolox_trt_ros.detect.graph.model_graph import ModelGraph
from yolox_trt_ros.detect.heads.dense.anchor_heads import (
    anchored_head,
    flat_or_maps,
    map_head,
    sizes_of,
)
from yolox_trt_ros.detect.heads.dense.anchored import AnchoredFlat, AnchorMap
from yolox_trt_ros.detect.heads.dense.head import Boxes, DenseHead
from yolox_trt_ros.detect.heads.family import Family, NotThisHeadError
from yolox_trt_ros.detect.heads.yolov8 import ULTRALYTICS

REACH = 2.0


@dataclass(frozen=True, slots=True)
class Yolov5Head(DenseHead):
    """One output [batch, anchors, 5 + classes], or a map of all anchors per level."""

    family: ClassVar[str] = 'yolov5'
    fed: ClassVar[Mapping[str, Any]] = ULTRALYTICS


class Yolov5(Family):
    """Recognises these heads."""

    def match(self, graph: ModelGraph) -> Yolov5Head:
        """Return what the outputs mean."""
        return flat_or_maps(
            graph,
            self._flat,
            self._maps,
            'not a YOLOv5: expected one output [batch, anchors, 5 + classes] of three anchor boxes '
            'a cell, or a map of them for each stride',
        )

    def _flat(self, graph: ModelGraph, flat: AnchoredFlat) -> Yolov5Head:
        if flat.kind.exponential or abs(flat.reach - REACH) > 0.02 or flat.kind.product:
            raise NotThisHeadError(f'its boxes come out of anchor boxes otherwise: {flat.kind}')
        return anchored_head(Yolov5Head, graph, flat)

    def _maps(self, graph: ModelGraph, maps: Sequence[AnchorMap]) -> Yolov5Head:
        given = graph.given.get('anchors')
        if given is None:
            raise ModelError(
                f'{graph.path}: {", ".join(f"{m.output} {list(m.shape)}" for m in maps)} may be '
                'maps of anchor boxes, whose sizes the graph does not hold: give "anchors" in '
                f'{sidecar_of(graph.path).name} beside it, width and height of each in input '
                'pixels, finest stride first, and "head": yolov5 for YOLOv5 and YOLOv7, or of '
                'darknet "darknet_cfg" with the name of its .cfg; or export decoded boxes'
            )
        if graph.given.get('head') != 'yolov5':
            raise NotThisHeadError('its maps may be of several families: "head" has to say yolov5')
        sizes = sizes_of(graph, given, len(maps))
        squashed = {m.squashed for m in maps}
        if len(squashed) != 1:
            raise NotThisHeadError('its levels differ in what they hold')
        return map_head(
            Yolov5Head,
            maps,
            sizes,
            [REACH] * len(maps),
            Boxes('anchors', squashed=squashed.pop()),
        )


FAMILIES: dict[str, Family] = {'yolov5': Yolov5()}
