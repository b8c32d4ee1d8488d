"""YOLOv5 and YOLOv7: three anchor boxes a cell, boxes by squares of sigmoids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from yolox_trt_ros.core.errors import ModelError
from yolox_trt_ros.detect.description import sidecar_of
from yolox_trt_ros.detect.graph.model_graph import ModelGraph
from yolox_trt_ros.detect.heads.dense.anchored import (
    AnchoredFlat,
    AnchorMap,
    anchor_maps_of,
    anchor_sets,
    anchored_flat_of,
)
from yolox_trt_ros.detect.heads.dense.head import Boxes, DenseHead, OutputLayout
from yolox_trt_ros.detect.heads.family import Family, NotThisHeadError
from yolox_trt_ros.detect.heads.yolov8 import ULTRALYTICS

REACH = 2.0
Spec = TypeVar('Spec', bound=DenseHead)


@dataclass(frozen=True, slots=True)
class Yolov5Head(DenseHead):
    """One output [batch, anchors, 5 + classes], or a map of all anchors per level."""

    family: ClassVar[str] = 'yolov5'
    fed: ClassVar[Mapping[str, Any]] = ULTRALYTICS


class Yolov5(Family):
    """Recognises these heads."""

    def match(self, graph: ModelGraph) -> Yolov5Head:
        """Return what the outputs mean."""
        try:
            return self._flat(graph, anchored_flat_of(graph))
        except NotThisHeadError as error:
            try:
                return self._maps(graph, anchor_maps_of(graph))
            except NotThisHeadError as other:
                raise NotThisHeadError(
                    'not a YOLOv5: expected one output [batch, anchors, 5 + classes] of three '
                    f'anchor boxes a cell, or a map of them for each stride ({error}; {other})'
                ) from None

    def _flat(self, graph: ModelGraph, flat: AnchoredFlat) -> Yolov5Head:
        if flat.kind.exponential or abs(flat.reach - REACH) > 0.02 or flat.kind.product:
            raise NotThisHeadError(f'its boxes come out of anchor boxes otherwise: {flat.kind}')
        return Yolov5Head(
            flat.outputs,
            flat.classes,
            flat.layouts,
            flat.sets(),
            flat.boxes((graph.input.height, graph.input.width)),
            'probability',
            flat.unbatched,
            (),
            flat.further,
        )

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


def sizes_of(
    graph: ModelGraph, given: Sequence[float], levels: int
) -> list[list[tuple[float, float]]]:
    """Return the anchor boxes of each level.

    Raises:
        ModelError: there is not the same number for each.
    """
    if not given or len(given) % (2 * levels) or min(given) <= 0:
        raise ModelError(
            f'{graph.path}: anchors: expected widths and heights, as many for each of {levels} '
            f'strides, got {len(given)} numbers'
        )
    pairs = list(zip(map(float, given[::2]), map(float, given[1::2]), strict=True))
    each = len(pairs) // levels
    return [pairs[i : i + each] for i in range(0, len(pairs), each)]


def map_head(
    kind: type[Spec],
    maps: Sequence[AnchorMap],
    sizes: Sequence[Sequence[tuple[float, float]]],
    reaches: Sequence[float],
    boxes: Boxes,
) -> Spec:
    """Return the head of a map of all anchors per level."""
    sets = anchor_sets(maps, sizes, reaches)
    last = maps[0].channels_last
    channels = maps[0].shape[3] if last else maps[0].shape[0] // len(sizes[0])
    return kind(
        tuple(m.output for m in maps),
        channels - 5,
        tuple(OutputLayout(m.shape, m.channels_last) for m in maps),
        sets,
        boxes,
        'logit' if boxes.squashed else 'probability',
    )
