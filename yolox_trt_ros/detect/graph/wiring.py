"""Who makes and who reads the tensors of an ONNX graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from yolox_trt_ros.detect.graph.tensors import read_by

CONVOLUTIONS = ('Conv', 'QLinearConv', 'ConvInteger', 'FusedConv', 'Gemm', 'MatMul')
LOOKED_THROUGH = (
    'QuantizeLinear',
    'DequantizeLinear',
    'DynamicQuantizeLinear',
    'Identity',
    'Cast',
)
"""Operators that hand on the values of what they read, quantised or cast or as they are."""


class Wiring:
    """Who makes and who reads each tensor of a graph."""

    def __init__(self, graph: Any, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self._shapes = shapes
        self.producer = {name: node for node in graph.node for name in node.output if name}
        self._weights = {w.name: w for w in graph.initializer}

    def value(self, name: str) -> np.ndarray | None:
        """Return a constant's value, or None if it is computed or lies elsewhere."""
        from onnx import numpy_helper

        tensor = self._weights.get(name)
        node = self.producer.get(name)
        if tensor is None and node is not None and node.op_type == 'Constant':
            tensor = next((a.t for a in node.attribute if a.name == 'value'), None)
        if tensor is None or tensor.external_data:
            return None
        value: np.ndarray = numpy_helper.to_array(tensor)
        return value

    def weight_type(self, node: Any) -> int:
        """Return the ``TensorProto.DataType`` of a convolution's weights; 0: not known."""
        weight = self._weights.get(node.input[1])
        return weight.data_type if weight is not None else 0

    def convolution(self, name: str) -> Any:
        """Return the convolution that a tensor is the result of, or None.

        A bias that is added after it belongs to it, and so does what turns integers of a dynamic
        quantisation into real numbers.
        """
        node = self.producer.get(name)
        if node is None:
            return None
        if node.op_type in CONVOLUTIONS:
            return None if self.constant(name) or self._is_expectation(node) else node
        if node.op_type == 'ReorderOutput':  # of ONNX Runtime's own memory layout
            return self.convolution(node.input[0])
        for one, other in (node.input, reversed(node.input)) if len(node.input) == 2 else ():
            if node.op_type == 'Add' and self._is_bias(other):
                return self.convolution(one)
            cast = self.producer.get(one)
            if node.op_type == 'Mul' and cast is not None and cast.op_type == 'Cast':
                integer = self.producer.get(cast.input[0])
                if integer is not None and integer.op_type == 'ConvInteger':
                    return integer
        return None

    def _is_expectation(self, node: Any) -> bool:
        """Return whether a convolution only takes the mean of 0, 1, 2, … by its input's numbers.

        Heads end in it whose boxes are distributions over distances (DFL); it is no layer.
        """
        weight = self._weights.get(node.input[1])
        if weight is None or max(weight.dims, default=0) != np.prod(weight.dims, dtype=int):
            return False
        value = self.value(node.input[1])
        return value is not None and value.size > 1 and _counts(value.ravel())

    def _is_bias(self, name: str) -> bool:
        weight = self._weights.get(name)
        shape = tuple(weight.dims) if weight is not None else self._shapes.get(name, ())
        made = weight is not None or name in self.producer
        return made and len(shape) >= 3 and shape[-2:] == (1, 1) and self.constant(name)

    def constant(self, name: str) -> bool:
        """Return whether nothing but weights goes into a tensor: a folded convolution."""
        waiting, seen = [name], {name}
        while waiting:
            node = self.producer.get(waiting.pop())
            if node is None:
                continue
            for other in read_by(node):
                if other in self._weights or other in seen:
                    continue
                if other not in self.producer or len(seen) > 64:
                    return False
                seen.add(other)
                waiting.append(other)
        return True

    def origin(self, name: str) -> str:
        """Return the tensor whose values another one holds, quantised or cast or not at all."""
        for _ in range(16):
            node = self.producer.get(name)
            if node is None or node.op_type not in LOOKED_THROUGH:
                break
            name = node.input[0]
        return name


def _counts(values: np.ndarray) -> bool:
    return bool((values == np.arange(len(values))).all())
