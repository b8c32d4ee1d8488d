"""Families of detector heads: which there are, and which one a model ends in."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from yolox_trt_ros.core.errors import ModelError, did_you_mean
from yolox_trt_ros.core.head import HeadCut, HeadSpec
from yolox_trt_ros.detect.graph.model_graph import ModelGraph
from yolox_trt_ros.detect.heads.family import Family, NotThisHeadError
from yolox_trt_ros.detect.heads.yolov8 import Yolov8
from yolox_trt_ros.detect.heads.yolox import Yolox

FAMILIES: dict[str, Family] = {
    'yolox': Yolox(),
    'yolov8': Yolov8(),
}
"""By the name that the key ``head`` of a model's YAML knows."""

Found = TypeVar('Found')


def head_of(graph: ModelGraph) -> HeadSpec:
    """Return what the outputs of a model mean.

    Raises:
        ModelError: no family knows them, or more than one does and the YAML does not say which.
    """
    return _asked(graph, lambda family: family.match(graph))


def cut_of(graph: ModelGraph) -> HeadCut:
    """Return where a graph may end so that a DLA runs all of it.

    Raises:
        ModelError: no family knows its end, or more than one does and the YAML does not say which.
    """
    return _asked(graph, lambda family: family.cut(graph))


def _asked(graph: ModelGraph, ask: Callable[[Family], Found]) -> Found:
    found: dict[str, Found] = {}
    refused: list[str] = []
    wrong: list[ModelError] = []
    named = graph.given.get('head')
    if named is not None and named not in FAMILIES:
        raise ModelError(
            f'{graph.path}: head: "{named}" is no family of heads{did_you_mean(named, FAMILIES)}'
        )
    for name, family in FAMILIES.items():
        if named not in (None, name):
            continue
        try:
            found[name] = ask(family)
        except NotThisHeadError as error:
            refused.append(str(error))
        except ModelError as error:
            wrong.append(error)
    if len(found) > 1:
        raise ModelError(
            f'{graph.path}: its outputs may be of {" or ".join(found)}: say which under "head" in '
            'the YAML beside it'
        )
    if found:
        return next(iter(found.values()))
    raise wrong[0] if wrong else ModelError(f'{graph.path} is {"; ".join(refused)}')
