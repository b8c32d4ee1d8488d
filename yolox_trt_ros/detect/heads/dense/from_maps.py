"""A dense head whose outputs are maps."""

from __future__ import annotations

from collections.abc import Sequence

from yolox_trt_ros.detect.graph.model_graph import ModelGraph
from yolox_trt_ros.detect.heads.dense.family import AnyHead, map_names
from yolox_trt_ros.detect.heads.dense.head import AnchorSet, Boxes, OutputLayout, Place
from yolox_trt_ros.detect.heads.dense.maps import LevelPieces, Piece


def map_head(
    kind: type[AnyHead],
    graph: ModelGraph,
    levels: Sequence[LevelPieces],
    pairs: Sequence[tuple[Piece, Piece]],
    boxes: Boxes,
    objectness: Sequence[Piece] = (),
) -> AnyHead:
    """Return the head of a box and a class map for each level.

    Args:
        kind: its class.
        graph: the model.
        levels: finest first.
        pairs: box and class map of each.
        boxes: what the boxes' numbers mean.
        objectness: of each level, if there is any.
    """
    names = map_names(graph)
    rated: Sequence[Piece | None] = objectness or [None] * len(pairs)
    pieces = [*(piece for pair in pairs for piece in pair), *objectness]
    used = sorted({piece.output for piece in pieces})
    shapes = {piece.output: piece.shape for piece in pieces}

    def place(piece: Piece) -> Place:
        return Place(used.index(piece.output), piece.shape[0], piece.channel)

    return kind(
        tuple(names[i] for i in used),
        pairs[0][1].channels,
        tuple(OutputLayout(shapes[i], channels_last=False) for i in used),
        tuple(
            AnchorSet(
                level.grid.cells,
                place(box),
                place(classes),
                place(sure) if sure else None,
                columns=level.grid.columns,
                stride=level.grid.stride,
            )
            for level, (box, classes), sure in zip(levels, pairs, rated, strict=True)
        ),
        boxes,
        'logit' if pairs[0][1].made == 'logit' else 'probability',
        maps=tuple((box.map.name, classes.map.name) for box, classes in pairs),
    )
