"""DETR and what came of it: a box and class scores for each query, final without suppression."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from yolox_trt_ros.core.head import HeadSpec
from yolox_trt_ros.detect.graph.dequantise import NotFollowedError
from yolox_trt_ros.detect.graph.model_graph import ModelGraph
from yolox_trt_ros.detect.heads.dense.head import (
    AnchorSet,
    Boxes,
    DenseHead,
    OutputLayout,
    Place,
    in_fractions,
)
from yolox_trt_ros.detect.heads.dense.match import named_outputs, random_maps
from yolox_trt_ros.detect.heads.family import Family, NotThisHeadError
from yolox_trt_ros.detect.heads.final.head import FinalHead
from yolox_trt_ros.detect.heads.final.match import final_head
from yolox_trt_ros.detect.heads.ranked import Ranked, ranked_queries

_STRETCHED: Mapping[str, Any] = MappingProxyType(
    {'letterbox': 'stretch', 'colour': 'rgb', 'scale': 1 / 255}
)
IMAGENET: Mapping[str, Any] = MappingProxyType(
    {**_STRETCHED, 'mean': (0.485, 0.456, 0.406), 'std': (0.229, 0.224, 0.225)}
)


@dataclass(frozen=True, slots=True)
class QueryHead(DenseHead):
    """Boxes [batch, queries, 4], centre and size as fractions; logits [batch, queries, classes]."""

    suppressed: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class DetrHead(QueryHead):
    """Its last logit is "nothing"; a query has one class."""

    family: ClassVar[str] = 'detr'
    fed: ClassVar[Mapping[str, Any]] = IMAGENET


@dataclass(frozen=True, slots=True)
class RtDetrHead(QueryHead):
    """A query may have several classes."""

    family: ClassVar[str] = 'rt_detr'
    fed: ClassVar[Mapping[str, Any]] = _STRETCHED


@dataclass(frozen=True, slots=True)
class DFineHead(QueryHead):
    """Likewise."""

    family: ClassVar[str] = 'd_fine'
    fed: ClassVar[Mapping[str, Any]] = _STRETCHED


@dataclass(frozen=True, slots=True)
class RankedRtDetrHead(FinalHead):
    """Its best queries: labels, corners and scores."""

    family: ClassVar[str] = 'rt_detr'
    fed: ClassVar[Mapping[str, Any]] = _STRETCHED


@dataclass(frozen=True, slots=True)
class RankedDFineHead(FinalHead):
    """Likewise."""

    family: ClassVar[str] = 'd_fine'
    fed: ClassVar[Mapping[str, Any]] = _STRETCHED


@dataclass(frozen=True, slots=True)
class RfDetrHead(QueryHead):
    """Likewise."""

    family: ClassVar[str] = 'rf_detr'
    fed: ClassVar[Mapping[str, Any]] = IMAGENET


class Queries(Family):
    """Recognises the heads of one of these families, whose graphs end alike.

    Args:
        kind: the head.
        softmax: whether the last logit is "nothing".
        reach: the largest number of a box that the end makes of any map: 1 behind a sigmoid; more
            where distances from a reference move the sides.
        bounded: whether there is one; else ``reach`` holds for maps near 0, as where exponentials
            make sizes.
        ranked: the head of exports whose end picks the best queries.
    """

    def __init__(
        self,
        kind: type[QueryHead],
        softmax: bool = False,
        reach: float = 1.0,
        bounded: bool = True,
        ranked: type[FinalHead] | None = None,
    ) -> None:
        self._kind, self._softmax, self._ranked = kind, softmax, ranked
        self._reach, self._bounded = reach, bounded

    def match(self, graph: ModelGraph) -> HeadSpec:
        """Return what the outputs mean."""
        found = _asked_once(graph, 'queries', _queries)
        if not isinstance(found, str):
            return self._of_all(graph, *found)
        best = _asked_once(graph, 'ranked', _ranked) if self._ranked else ''
        if self._ranked and isinstance(best, Ranked):
            self._check_reach(best.names[best.columns.box.output], best.most)
            return final_head(
                best.names, best.outputs, best.columns, best.unit, best.classes, self._ranked
            )
        raise NotThisHeadError(
            f'not a {self._kind.family}: expected boxes [batch, queries, 4] as fractions and '
            f'logits [batch, queries, classes] ({found})'
            + (f', or labels, boxes and scores of its best queries ({best})' if best else '')
        )

    def _check_reach(self, boxes: str, most: float) -> None:
        if most > self._reach:
            raise NotThisHeadError(
                f'not a {self._kind.family}: {boxes} reaches {most:.3g}, expected {self._reach:g}'
            )

    def _of_all(
        self,
        graph: ModelGraph,
        boxes: str,
        logits: str,
        queries: int,
        numbers: int,
        most: tuple[float, float],
    ) -> QueryHead:
        self._check_reach(boxes, most[0 if self._bounded else 1])
        classes = numbers - self._softmax
        if classes < 1:
            raise NotThisHeadError(f'not a {self._kind.family}: one logit leaves no class')
        return self._kind(
            (boxes, logits),
            classes,
            (OutputLayout((queries, 4), True), OutputLayout((queries, numbers), True)),
            (AnchorSet(queries, Place(0, 4), Place(1, numbers)),),
            in_fractions(Boxes('centre'), graph.input),
            'softmax' if self._softmax else 'logit',
        )


def _asked_once(graph: ModelGraph, what: str, ask: Callable[[ModelGraph], Any]) -> Any:
    if what not in graph.memo:
        graph.memo[what] = ask(graph)
    return graph.memo[what]


def _ranked(graph: ModelGraph) -> Ranked | str:
    try:
        return ranked_queries(graph)
    except NotFollowedError as error:
        return str(error)


def _queries(graph: ModelGraph) -> tuple[str, str, int, int, tuple[float, float]] | str:
    """Return boxes, logits, their numbers of queries and logits, and how far boxes reach.

    That is for any maps, and for maps near 0. Or why there are none.
    """
    shapes = graph.outputs()
    named = [n for n in named_outputs(graph) if len(shapes[n]) == 3]
    boxes = [n for n in named if shapes[n][2] == 4]
    if len(boxes) == 2 == len(named) and 'outputs' not in graph.given:
        return f'nothing shows which of {", ".join(boxes)} holds boxes: name both in "outputs"'
    rest = [n for n in named if n not in boxes[:1]]
    pairs = [(b, n) for b in boxes[:1] for n in rest if shapes[n][1] == shapes[b][1]]
    if len(pairs) != 1:
        listed = ', '.join(f'{n} {list(shape)}' for n, shape in shapes.items())
        return f'its outputs are {listed}'
    box, logits = pairs[0]
    try:
        end = graph.end((box, logits))
        wild, calm = (
            {n: v * v.dtype.type(factor) for n, v in random_maps(end.maps).items()}
            for factor in (3, 0.05)
        )
        found, near = end.run(wild), end.run(calm)
    except NotFollowedError as error:
        return str(error)
    why = _refuted(*found)
    most = float(np.abs(found[0]).max()), float(np.abs(near[0]).max())
    return why or (box, logits, shapes[box][1], shapes[logits][2], most)


def _refuted(boxes: np.ndarray, logits: np.ndarray) -> str:
    """Return why two outputs are no centres and sizes, and no logits; empty: they may be."""
    if boxes.dtype.kind != 'f' or logits.dtype.kind != 'f':
        return f'they hold {boxes.dtype} and {logits.dtype}'
    if not np.isfinite(boxes).all() or float(np.ptp(boxes)) < 0.1:
        return 'the boxes do not depend on what comes before'
    if float(logits.min()) > -0.5:
        return 'the scores hold no negative numbers, as logits do'
    # Of corners one half would be larger than the other for every map.
    if bool((boxes[..., 2:] >= boxes[..., :2]).all()):
        return 'the boxes are corners, expected centre and size'
    return ''


FAMILIES: dict[str, Family] = {
    'detr': Queries(DetrHead, softmax=True),
    'rt_detr': Queries(RtDetrHead, ranked=RankedRtDetrHead),
    'd_fine': Queries(DFineHead, reach=8.0, ranked=RankedDFineHead),
    'rf_detr': Queries(RfDetrHead, reach=2.0, bounded=False),
}
