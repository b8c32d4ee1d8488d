"""What heads with anchor boxes have in common: flat outputs, or a map of all anchors per level."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from yolox_trt_ros.core.errors import ModelError
from yolox_trt_ros.detect.graph.model_graph import ModelGraph
from yolox_trt_ros.detect.heads.dense.anchored import (
    AnchoredFlat,
    AnchorMap,
    anchor_maps_of,
    anchor_sets,
    anchored_flat_of,
)
from yolox_trt_ros.detect.heads.dense.head import Boxes, DenseHead, OutputLayout
from yolox_trt_ros.detect.heads.family import NotThisHeadError

Spec = TypeVar('Spec', bound=DenseHead)


def flat_or_maps(
    graph: ModelGraph,
    flat: Callable[[ModelGraph, AnchoredFlat], Spec],
    maps: Callable[[ModelGraph, Sequence[AnchorMap]], Spec],
    expected: str,
) -> Spec:
    """Return the head of a graph whose outputs are one or the other.

    Raises:
        NotThisHeadError: neither; the message says what was expected, and why it is not that.
    """
    try:
        return flat(graph, anchored_flat_of(graph))
    except NotThisHeadError as error:
        try:
            return maps(graph, anchor_maps_of(graph))
        except NotThisHeadError as other:
            raise NotThisHeadError(f'{expected} ({error}; {other})') from None


def anchored_head(kind: type[Spec], graph: ModelGraph, flat: AnchoredFlat) -> Spec:
    """Return the head of flat outputs with decoded boxes."""
    return kind(
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
