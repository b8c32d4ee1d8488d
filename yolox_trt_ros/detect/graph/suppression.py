"""How many boxes a NonMaxSuppression leaves at most, so that what follows it has a shape."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from yolox_trt_ros.detect.graph.shape_values import short_constants

COLUMNS = 3
"""Of its output: image, class, box."""


def bound_suppressed(
    model: Any, shapes: Mapping[str, tuple[int, ...]], most_bytes: int
) -> dict[str, tuple[int, ...]]:
    """Turn what ONNX's NonMaxSuppression gives into an input of the graph, as long as it can get.

    A picture decides how many boxes are left, the graph how many can be.

    Args:
        model: ``onnx.ModelProto``; its nodes are replaced in place.
        shapes: of tensors, as far as they are known.
        most_bytes: what a list of boxes may take; a longer one is left as it is.

    Returns:
        The shapes of what was bounded; empty: there was nothing that could be.
    """
    from onnx import TensorProto, helper

    graph, known = model.graph, short_constants(model)
    bounded: dict[str, tuple[int, ...]] = {}
    for node in list(graph.node):
        if node.op_type != 'NonMaxSuppression' or node.domain:
            continue
        boxes, scores = (shapes.get(name, ()) for name in node.input[:2])
        name = node.input[2] if len(node.input) > 2 else ''
        if len(boxes) != 3 or len(scores) != 3 or (name and name not in known):
            continue
        most = int(known[name].max(initial=0)) if name else 0  # none is ONNX's own default
        rows = scores[0] * scores[1] * min(boxes[1], max(0, most))
        shape = (rows, COLUMNS)
        if 8 * math.prod(shape) > most_bytes:
            continue
        graph.node.remove(node)
        graph.input.append(helper.make_tensor_value_info(node.output[0], TensorProto.INT64, shape))
        bounded[node.output[0]] = shape
    return bounded
