"""Where a YOLOX may end: in the maps of its head."""

from __future__ import annotations

import numpy as np

from yolox_trt_ros.core.head import CutMap, HeadCut
from yolox_trt_ros.detect.graph.dequantise import NotFollowedError
from yolox_trt_ros.detect.graph.model_graph import ModelGraph
from yolox_trt_ros.detect.heads.family import NotThisHeadError
from yolox_trt_ros.detect.heads.yolox.match import (
    Match,
    match_concatenated,
    match_maps,
    random_maps,
)

PARTS = ('reg', 'obj', 'cls')


def yolox_cut(graph: ModelGraph) -> HeadCut:
    """Return the maps of a YOLOX's head, finest level first.

    What the cut takes away is run on random maps: outputs have to be YOLOX's own concatenation,
    with or without sigmoid and decoding, for that is what the detector does with the maps. Levels
    may be outputs of their own, and rows be columns.

    Raises:
        NotThisHeadError: they are not.
    """
    try:
        match = _match(graph)
    except NotFollowedError as error:
        raise NotThisHeadError(f'not a YOLOX that can be cut: {error}') from error
    made = {name for node in graph.model.graph.node for name in node.output}
    if not match.maps or not made.issuperset(m.name for m in match.maps):
        raise NotThisHeadError(
            'not a YOLOX that can be cut: expected per stride three convolutions with 4, 1 and one '
            'channel per class'
        )
    maps = sorted(match.maps, key=lambda m: -m.shape[2])  # stable: finest level first
    named = zip(PARTS * len(match.cells), maps, strict=True)
    cut = [(part, m, graph.input.height // m.shape[2]) for part, m in named]
    strides = list(dict.fromkeys(stride for *_, stride in cut))
    return HeadCut(
        tuple(CutMap(f'{part}_{stride}', m.name) for part, m, stride in cut),
        match.classes,
        {'strides': strides, 'scores': 'logit', 'boxes': 'grid'},
        max(strides),
        f'the original ends in {match.scores} scores and {match.boxes} boxes, the new one in '
        'logits and grid boxes',
    )


def _match(graph: ModelGraph) -> Match:
    names = list(graph.given.get('outputs', graph.outputs()))
    size = graph.input.height, graph.input.width
    end = graph.end(names)
    values = random_maps(end.maps)
    got = end.run(values)
    if len(got) == 1 and got[0].ndim == 3:
        rows, columns = got[0], got[0].transpose(0, 2, 1)
        try:
            return match_concatenated(end, names[0], rows, values, size)
        except NotFollowedError as error:
            try:
                return match_concatenated(end, names[0], columns, values, size)
            except NotFollowedError:
                raise error from None
    if 3 * len(got) == len(end.maps) and all(level.ndim == 4 for level in got):
        flat = [level.reshape(*level.shape[:2], -1).transpose(0, 2, 1) for level in got]
        return match_concatenated(end, names[0], np.concatenate(flat, axis=1), values, size)
    return match_maps(end, names, got, values, size, 'outputs' in graph.given)
