"""Run a model as its INT8 version computes, with any choice of layers in higher precision.

The numbers are those of the Q/DQ model of :mod:`engine.qdq`. Weights are rounded once and stay
floats, so that a version is ready in a tenth of a second and many can be tried.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from yolox_trt_ros.core.errors import MissingDependencyError, ModelError
from yolox_trt_ros.engine.graph import Graph

try:
    import onnx
    import onnxruntime as ort
    from onnx import helper, numpy_helper
except ImportError as error:
    raise MissingDependencyError(
        'running a model here needs ONNX Runtime: pip install onnx onnxruntime'
    ) from error

if TYPE_CHECKING:
    from onnx import ModelProto

STEPS = 127
"""Positive steps of an INT8 number."""


class Int8Simulation:
    """Makes INT8 versions of one model.

    Args:
        model: see :func:`engine.qdq.prepared`.
        ranges: tensor → largest magnitude.
        biases: of the convolutions in INT8, by their outputs, in place of the model's own.
        outputs: names of what versions return; None: all outputs of the model.

    Attributes:
        layers: the convolutions that can be INT8, by their outputs, in the order of the graph.
        inputs: the tensor that each of them reads.
        image: the model's input.

    Raises:
        ModelError: a convolution's weights are not constant.
    """

    def __init__(
        self,
        model: ModelProto,
        ranges: Mapping[str, float],
        biases: Mapping[str, np.ndarray] | None = None,
        outputs: Sequence[str] | None = None,
    ) -> None:
        self._outputs = None if outputs is None else list(outputs)
        self._model, self._ranges = model, ranges
        self._biases = {
            layer: numpy_helper.from_array(values, f'{layer}/int8_bias')
            for layer, values in (biases or {}).items()
        }
        graph = Graph(model)
        nodes = list(graph.convolutions())
        self.image = graph.image
        self.layers = [node.output[0] for node in nodes]
        self.inputs = {node.output[0]: node.input[0] for node in nodes}
        self._weights: dict[str, onnx.TensorProto] = {}
        for node in nodes:
            values = graph.constant(node.input[1])
            if values is None:
                raise ModelError(f'convolution {node.name}: its weights are computed')
            name = f'{node.output[0]}/int8_weight'
            self._weights[node.output[0]] = numpy_helper.from_array(rounded(values), name)

    def version(self, kept: Collection[str]) -> Callable[[np.ndarray], Sequence[np.ndarray]]:
        """Return what runs the version in which these layers stay in floating point.

        It takes float32 (1, 3, height, width) and returns the outputs. It computes on one thread,
        so that several versions can be tried at a time.
        """
        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        graph, chosen = model.graph, set(self.layers) - set(kept)
        read = {self.inputs[layer] for layer in chosen}
        nodes = self._pair(self.image, graph) if self.image in read else []
        for node in graph.node:
            if node.op_type == 'Conv' and node.output[0] in chosen:
                tensor = node.input[0]
                weight = self._weights[node.output[0]]
                graph.initializer.append(weight)
                bias = self._biases.get(node.output[0])
                inputs = [f'{tensor}/int8', weight.name, *node.input[2:]]
                if bias is not None:
                    graph.initializer.append(bias)
                    inputs[2:] = [bias.name]
                del node.input[:]
                node.input.extend(inputs)
            elif node.op_type != 'Conv':  # as ONNX Runtime writes it: all others read it rounded
                for i, name in enumerate(node.input):
                    if name in read:
                        node.input[i] = f'{name}/int8'
            nodes.append(node)
            for name in node.output:
                nodes += self._pair(name, graph) if name in read else []
        ordered = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
        del graph.node[:]
        graph.node.extend(ordered)
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = 1
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        # Otherwise it rounds the floats between two pairs once more, with one scale for a tensor.
        options.add_session_config_entry('session.disable_quant_qdq', '1')
        session = ort.InferenceSession(
            model.SerializeToString(), options, providers=['CPUExecutionProvider']
        )
        (image,) = session.get_inputs()
        return lambda picture: session.run(self._outputs, {image.name: picture})

    def _pair(self, tensor: str, graph: onnx.GraphProto) -> list[onnx.NodeProto]:
        scale = np.array(self._ranges[tensor] / STEPS, np.float32)
        graph.initializer.append(numpy_helper.from_array(scale, f'{tensor}/step'))
        zero = np.array(0, np.int8)
        graph.initializer.append(numpy_helper.from_array(zero, f'{tensor}/zero'))
        with_scale = [f'{tensor}/step', f'{tensor}/zero']
        return [
            helper.make_node('QuantizeLinear', [tensor, *with_scale], [f'{tensor}/q']),
            helper.make_node('DequantizeLinear', [f'{tensor}/q', *with_scale], [f'{tensor}/int8']),
        ]


def rounded(weights: np.ndarray) -> np.ndarray:
    """Return weights (out, in, …) as INT8 holds them, one symmetric scale an output channel."""
    across = tuple(range(1, weights.ndim))
    step = np.abs(weights).max(axis=across, keepdims=True).astype(np.float32) / STEPS
    step[step == 0] = 1
    kept: np.ndarray = (np.clip(np.rint(weights / step), -STEPS, STEPS) * step).astype(np.float32)
    return kept


def multiply_adds(model: ModelProto) -> dict[str, int]:
    """Return the multiply-adds of each convolution for one image, by its output.

    Raises:
        ModelError: shapes cannot be inferred.
    """
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    weights = {w.name: tuple(w.dims) for w in inferred.initializer}
    shapes = {
        v.name: [d.dim_value for d in v.type.tensor_type.shape.dim]
        for v in (*inferred.value_info, *inferred.output)
    }
    found = {}
    for node in inferred.node:
        if node.op_type == 'Conv':
            shape = shapes.get(node.output[0], [])[1:]
            if not shape or 0 in shape or node.input[1] not in weights:
                raise ModelError(f'the shape of {node.output[0]} cannot be inferred')
            found[node.output[0]] = math.prod(shape) * math.prod(weights[node.input[1]][1:])
    return found
