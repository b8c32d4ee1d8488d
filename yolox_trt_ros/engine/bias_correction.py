"""Take back by the biases what rounding the weights to INT8 moves the mean of a convolution by."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import numpy as np

from yolox_trt_ros.engine.graph import Graph
from yolox_trt_ros.engine.simulated_int8 import rounded

if TYPE_CHECKING:
    from onnx import ModelProto


def bias_corrections(model: ModelProto, means: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the bias that each convolution should have with weights in INT8, by its output.

    A rounded weight w' moves an output channel's mean by Σ (w' - w) · mean(input channel), borders
    left aside (Nagel et al., Data-Free Quantization, ICCV 2019, section 4.2).

    Args:
        model: see :func:`engine.qdq.prepared`.
        means: tensor → float (channels,), on pictures. Convolutions of others are left out.
    """
    graph, found = Graph(model), {}
    for node in graph.convolutions():
        weights, mean = graph.constant(node.input[1]), means.get(node.input[0])
        given = graph.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else None
        computed = given is None and len(node.input) > 2 and bool(node.input[2])
        if weights is None or mean is None or computed:
            continue
        outputs, inputs = weights.shape[:2]
        moved = (rounded(weights) - weights).reshape(outputs, inputs, -1).sum(axis=2)
        groups = len(mean) // inputs
        of_group = np.repeat(mean.reshape(groups, inputs), outputs // groups, axis=0)
        bias = np.zeros(outputs, np.float32) if given is None else given
        found[node.output[0]] = (bias - (moved * of_group).sum(axis=1)).astype(np.float32)
    return found


def correct_biases(
    model: ModelProto, biases: Mapping[str, np.ndarray], kept: Collection[str]
) -> None:
    """Give the convolutions that are to be INT8 other biases, in place.

    Args:
        model: changed.
        biases: by the convolution's output.
        kept: outputs of convolutions that stay in higher precision, and keep theirs.
    """
    from onnx import numpy_helper

    for node in model.graph.node:
        if node.op_type == 'Conv' and node.output[0] in biases and node.output[0] not in kept:
            name = f'{node.output[0]}/corrected_bias'
            model.graph.initializer.append(numpy_helper.from_array(biases[node.output[0]], name))
            del node.input[2:]
            node.input.append(name)
