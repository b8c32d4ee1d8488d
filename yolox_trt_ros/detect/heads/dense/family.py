"""What families of dense heads have in common: which outputs are tried, what they become."""

from __future__ import annotations

from itertools import combinations
from typing import TypeVar

from yolox_trt_ros.core.errors import ModelError
from yolox_trt_ros.core.head import CutMap, HeadCut
from yolox_trt_ros.detect.graph.dequantise import NotFollowedError, OtherEndError
from yolox_trt_ros.detect.graph.model_graph import ModelGraph
from yolox_trt_ros.detect.heads.dense.head import DenseHead
from yolox_trt_ros.detect.heads.dense.maps import LevelPieces, map_outputs
from yolox_trt_ros.detect.heads.dense.match import Flat, flat_outputs, named_outputs
from yolox_trt_ros.detect.heads.family import NotThisHeadError

AnyHead = TypeVar('AnyHead', bound=DenseHead)


def flat_of(graph: ModelGraph) -> Flat:
    """Return what an output of boxes and scores holds, or one of each; found out once.

    Raises:
        NotThisHeadError: no output holds them.
        ModelError: several do.
    """
    if 'flat' not in graph.memo:
        graph.memo['flat'] = _flat_of(graph)
    found, why = graph.memo['flat']
    if len(found) > 1:
        listed = ' or '.join(', '.join(f.outputs) for f in found)
        raise ModelError(
            f'{graph.path}: detections may come from {listed}: name one in "outputs" of the YAML '
            'beside it'
        )
    if not found:
        raise NotThisHeadError('; '.join(why) or 'no list of boxes and scores among its outputs')
    flat: Flat = found[0]
    return flat


def _flat_of(graph: ModelGraph) -> tuple[list[Flat], list[str]]:
    shapes = graph.outputs()
    names = [n for n in named_outputs(graph) if len(shapes[n]) in (0, 2, 3, 4)]
    found: list[Flat] = []
    why: list[str] = []
    for count in (1, 2):
        for some in combinations(names, count) if not found else ():
            try:
                found.append(flat_outputs(graph, some))
            except NotFollowedError as error:
                if isinstance(error, OtherEndError) or count == 1 or not why:
                    why.append(str(error))
    return found, list(dict.fromkeys(why))


def maps_of(graph: ModelGraph) -> list[LevelPieces]:
    """Return the maps that the outputs are; found out once.

    Raises:
        NotThisHeadError: they are none.
    """
    if 'maps' not in graph.memo:
        shapes = graph.outputs()
        names = [n for n in named_outputs(graph) if len(shapes[n]) == 4]
        try:
            graph.memo['maps'] = map_outputs(graph, names), names
        except NotFollowedError as error:
            graph.memo['maps'] = str(error), names
    found, names = graph.memo['maps']
    if isinstance(found, str):
        raise NotThisHeadError(found)
    levels: list[LevelPieces] = found
    return levels


def map_names(graph: ModelGraph) -> list[str]:
    """Return the outputs that :func:`maps_of` looked at, in the order of its numbers."""
    maps_of(graph)
    names: list[str] = graph.memo['maps'][1]
    return names


def flat_head(kind: type[AnyHead], graph: ModelGraph, flat: Flat) -> AnyHead:
    """Return the head of flat outputs."""
    return kind(
        flat.outputs,
        flat.classes,
        flat.layouts,
        (flat.level,),
        flat.boxes((graph.input.height, graph.input.width)),
        flat.kind.scores,
        flat.unbatched,
        tuple((box.name, classes.name) for box, classes in flat.maps),
        flat.further,
    )


def cut_at_maps(graph: ModelGraph, flat: Flat, family: str) -> HeadCut:
    """Return box and class map of each level as a graph's new end.

    Raises:
        NotThisHeadError: boxes and classes have no convolutions of their own.
    """
    if not flat.maps:
        raise NotThisHeadError(f'not a {family} that can be cut: one convolution makes all')
    named = [
        CutMap(f'{part}_{graph.input.height // m.shape[2]}', m.name)
        for pair in sorted(flat.maps, key=lambda pair: -pair[0].shape[2])
        for part, m in zip(('reg', 'cls'), pair, strict=True)
    ]
    return HeadCut(
        tuple(named),
        flat.classes,
        {'head': family},
        max(graph.input.height // pair[0].shape[2] for pair in flat.maps),
        'the original ends in decoded boxes, the new one in distances and logits',
    )


def seen(flat: Flat) -> str:
    """Return what was found out of flat outputs, for a message."""
    kind = flat.kind
    listed = ', '.join(
        f'{name} {list(layout.shape)}'
        for name, layout in zip(flat.outputs, flat.layouts, strict=True)
    )
    return (
        f'{listed} hold {kind.coding} boxes in {kind.unit}s and a {kind.scores} of each of '
        f'{flat.classes} classes, by {kind.formula}'
    )
