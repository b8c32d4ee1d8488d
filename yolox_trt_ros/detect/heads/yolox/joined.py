"""YOLOX's maps where exporters joined some of a level: two outputs for each, or one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from yolox_trt_ros.detect.graph.model_graph import ModelGraph
from yolox_trt_ros.detect.heads.dense.family import maps_of
from yolox_trt_ros.detect.heads.dense.from_maps import map_head
from yolox_trt_ros.detect.heads.dense.head import Boxes, DenseHead
from yolox_trt_ros.detect.heads.dense.maps import LevelPieces, Piece
from yolox_trt_ros.detect.heads.family import NotThisHeadError


@dataclass(frozen=True, slots=True)
class JoinedYoloxHead(DenseHead):
    """Per level [batch, 5 + classes, h, w], or that in two outputs, in any order."""

    family: ClassVar[str] = 'yolox'


def joined_head(graph: ModelGraph) -> JoinedYoloxHead:
    """Return what the outputs mean.

    Raises:
        NotThisHeadError: they are no maps of 4, of 1 and of ``classes`` channels, joined.
    """
    levels = maps_of(graph)
    parts = [_parts(level) for level in levels]
    kinds = {(b.made, o.made, c.made, c.channels) for b, o, c in parts}
    if len(kinds) != 1:
        raise NotThisHeadError('its levels differ in what they hold')
    ((box, objectness, classes, _),) = kinds
    if box != 'logit' or objectness != classes:
        raise NotThisHeadError(
            f'its boxes are {box}, its objectness {objectness}, classes {classes}'
        )
    pairs = [(b, c) for b, _, c in parts]
    return map_head(JoinedYoloxHead, graph, levels, pairs, Boxes('grid'), [o for _, o, _ in parts])


def _parts(level: LevelPieces) -> tuple[Piece, Piece, Piece]:
    """Return boxes, objectness and classes of a level."""
    pieces: Sequence[Piece] = level.pieces
    boxes = [p for p in pieces if p.channels == 4]
    ones = [p for p in pieces if p.channels == 1]
    if len(pieces) != 3 or len(boxes) != 1 or not ones:
        raise NotThisHeadError('expected maps of 4, of 1 and of one channel per class')
    (classes,) = (p for p in pieces if p is not boxes[0] and p is not ones[0])
    return boxes[0], ones[0], classes
