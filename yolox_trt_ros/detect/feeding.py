"""How a model is fed, by its description, its graph and the family of its head."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from yolox_trt_ros.core.errors import ModelError
from yolox_trt_ros.core.head import HeadSpec
from yolox_trt_ros.core.model import InputSpec
from yolox_trt_ros.detect.description import sidecar_of
from yolox_trt_ros.detect.graph.model_graph import ModelGraph
from yolox_trt_ros.detect.graph.tensors import read_by
from yolox_trt_ros.detect.graph.wiring import Wiring

SMALL = 0.05
"""A graph that multiplies pixels by less than this wants them as they are, 0 to 255."""
_NUMBERS = ('scale', 'mean', 'std')
_ARITHMETIC = ('Add', 'Sub', 'Mul', 'Div')
_PASSED = ('Cast', 'Identity')


def fed(graph: ModelGraph, head: HeadSpec) -> InputSpec:
    """Return how a model is fed: as described, else as its family is.

    Where the graph itself turns pixels into small numbers, it gets them as they are.

    Raises:
        ModelError: models of the family differ, and the description does not say what is asked.
    """
    missing = [key for key in head.asked if key not in graph.given]
    if missing:
        raise ModelError(
            f'{graph.path}: its outputs are of a {head.family} head, whose models are not all fed '
            f'alike: give {", ".join(missing)} in {sidecar_of(graph.path).name} beside it'
        )
    own = graph.input.dtype == 'uint8' or normalises(graph)
    left = {
        key: value
        for key, value in head.fed.items()
        if key not in graph.given and not (own and key in _NUMBERS)
    }
    return replace(graph.input, **left)


def normalises(graph: ModelGraph) -> bool:
    """Return whether the graph begins by making pixels of 0 to 255 small numbers."""
    wiring = Wiring(graph.model.graph, graph.tensors.shapes)
    name, factor = graph.input.name, 1.0
    for _ in range(8):
        readers = [node for node in graph.model.graph.node if name in read_by(node)]
        if len(readers) != 1 or readers[0].op_type not in (*_ARITHMETIC, *_PASSED):
            break
        node = readers[0]
        if node.op_type in _ARITHMETIC:
            constant = _constant(wiring, node, name)
            if constant is None:
                break
            if node.op_type == 'Mul':
                factor *= constant
            elif node.op_type == 'Div' and node.input[0] == name:
                factor /= constant
        name = node.output[0]
    return factor < SMALL


def _constant(wiring: Wiring, node: Any, name: str) -> float | None:
    """Return the largest number of the constant that a node computes with."""
    others = [i for i in node.input if i != name]
    value = wiring.value(others[0]) if len(others) == 1 else None
    if value is None or value.size not in (1, 3) or not (np.abs(value) > 0).any():
        return None
    return float(np.abs(value).max())
