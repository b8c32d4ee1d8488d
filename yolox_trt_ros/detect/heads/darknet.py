"""Darknet's YOLOv3 and YOLOv4: anchor boxes, sizes by exponentials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
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


@dataclass(frozen=True, slots=True)
class DarknetHead(DenseHead):
    """A map of all anchors per level, or flat outputs of decoded boxes."""

    family: ClassVar[str] = 'darknet'
    fed: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {'pad': 128, 'colour': 'rgb', 'scale': 1 / 255}
    )
    asked: ClassVar[tuple[str, ...]] = ('letterbox',)

    def about(self) -> dict[str, Any]:
        """Return what the YAML beside the model would say of its head."""
        about = super(DarknetHead, self).about()  # slots make the class anew
        if self.boxes.coding == 'anchors':
            shapes = len(self.levels) // len(self.outputs)
            about['scale_x_y'] = [level.reach for level in self.levels[::shapes]]
            about['new_coords'] = not self.boxes.exponential
        return about


class Darknet(Family):
    """Recognises these heads."""

    def match(self, graph: ModelGraph) -> DarknetHead:
        """Return what the outputs mean."""
        return flat_or_maps(
            graph,
            self._flat,
            self._maps,
            'not a YOLOv3 or v4 of darknet: expected a map of all anchor boxes for each stride, or '
            'boxes whose sizes are exponentials',
        )

    def _flat(self, graph: ModelGraph, flat: AnchoredFlat) -> DarknetHead:
        if not flat.kind.exponential:
            raise NotThisHeadError(f'its boxes come out of anchor boxes otherwise: {flat.kind}')
        return anchored_head(DarknetHead, graph, flat)

    def _maps(self, graph: ModelGraph, maps: Sequence[AnchorMap]) -> DarknetHead:
        given = graph.given
        if given.get('head') != 'darknet':
            raise NotThisHeadError(
                'its maps may be of several families: "darknet_cfg" or "head" has to say darknet'
            )
        if 'anchors' not in given:
            raise ModelError(
                f'{graph.path}: the sizes of its anchor boxes are not known: give "darknet_cfg" '
                f'with the name of its .cfg in {sidecar_of(graph.path).name} beside it, or '
                '"anchors", and "scale_x_y" of YOLOv4'
            )
        strides = [round(m.grid.stride[1]) for m in maps]
        if 'strides' in given and list(given['strides']) != strides:
            raise ModelError(
                f'{graph.path}: its maps have strides {strides}, expected {given["strides"]} as '
                'its cfg or YAML says'
            )
        scales = [float(n) for n in given.get('scale_x_y', [1.0] * len(maps))]
        if len(scales) != len(maps):
            raise ModelError(
                f'{graph.path}: scale_x_y: expected a number for each of {len(maps)} strides, got '
                f'{len(scales)}'
            )
        squashed = {m.squashed for m in maps}
        squares = bool(given.get('new_coords', False))
        if len(squashed) != 1 or (squashed == {False} and not squares):
            raise NotThisHeadError(
                'its maps went through a sigmoid, which they do only where new_coords is 1'
            )
        boxes = Boxes('anchors', exponential=not squares, squashed=squashed.pop())
        sizes = sizes_of(graph, given['anchors'], len(maps))
        return map_head(DarknetHead, maps, sizes, scales, boxes)


FAMILIES: dict[str, Family] = {'darknet': Darknet()}
