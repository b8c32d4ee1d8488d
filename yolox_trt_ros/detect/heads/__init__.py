"""Families of detector heads: which there are, and which one a model ends in."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import TypeVar

from yolox_trt_ros.core.errors import ModelError, did_you_mean
from yolox_trt_ros.core.head import HeadCut, HeadSpec
from yolox_trt_ros.detect.graph.model_graph import ModelGraph
from yolox_trt_ros.detect.graph.tensors import described
from yolox_trt_ros.detect.heads.family import Family, NotThisHeadError
from yolox_trt_ros.detect.heads.final.match import suppressing


def discovered(folders: Iterable[str]) -> dict[str, Family]:
    """Return the families that modules of this package name in ``FAMILIES``.

    YOLOX, which most models are, is the first, also in messages.
    """
    names = {module.name for module in pkgutil.iter_modules(folders)}
    found: dict[str, Family] = {}
    for name in sorted(names, key=lambda name: (name != 'yolox', name)):
        found |= getattr(import_module(f'{__name__}.{name}'), 'FAMILIES', {})
    return found


FAMILIES = discovered(__path__)
"""By the name that the key ``head`` of a model's YAML knows."""

Found = TypeVar('Found')


def head_of(graph: ModelGraph) -> HeadSpec:
    """Return what the outputs of a model mean.

    Raises:
        ModelError: no family knows them, or more than one does and the YAML does not say which.
    """
    head = _head_of(graph)
    if graph.given.get('classes', head.classes) != head.classes:
        raise ModelError(
            f'{graph.path}: has {head.classes} classes, expected {graph.given["classes"]} as its '
            'YAML, or the cfg that this names, says'
        )
    return head


def _head_of(graph: ModelGraph) -> HeadSpec:
    inside = suppressing(graph)
    if not inside or graph.given.get('head', 'final') not in FAMILIES:
        return _asked(graph, lambda family: family.match(graph))
    try:
        if (named := graph.given.get('head', 'final')) != 'final':
            raise NotThisHeadError(
                f'not {named}, which gives boxes that are still to be suppressed'
            )
        return FAMILIES['final'].match(graph)
    except NotThisHeadError as error:
        raise ModelError(
            f'{graph.path}: suppresses boxes inside its graph ({inside}; outputs '
            f'{described(graph.model.graph.output)}), and is {error}: export the model without '
            'NMS, for this program suppresses itself'
        ) from None


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
    if not wrong:
        raise ModelError(f'{graph.path} is {"; ".join(refused)}')
    others = f'; otherwise it is {"; ".join(refused)}' if refused else ''
    raise ModelError('; or '.join(str(error) for error in wrong) + others) from wrong[0]
