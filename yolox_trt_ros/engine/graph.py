"""Tensors of a graph and the nodes that read them, for calibration and comparison."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from yolox_trt_ros.core.errors import MissingDependencyError, ModelError

try:
    import onnx
    from onnx import numpy_helper, shape_inference
except ImportError as error:
    raise MissingDependencyError(
        'work on a model needs the package "onnx": pip install onnx'
    ) from error

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)

SAME_RANGE = ('Concat', 'MaxPool', 'Resize', 'Upsample', 'Identity', 'Slice')
"""Operators that only move or choose values: what goes in and what comes out share one range."""


class Graph:
    """A checked graph whose weights are constants.

    Attributes:
        nodes: that depend on the image, in order.
        image: name of the input.
        outputs: names.
        tensors: float tensors that depend on the image, the image first.
        producer: tensor → the node that makes it.
        consumers: tensor → the nodes that read it.
    """

    def __init__(self, model: ModelProto) -> None:
        graph = model.graph
        self._values = {w.name: w for w in graph.initializer}
        images = [i.name for i in graph.input if i.name not in self._values]
        if len(images) != 1:
            raise ModelError(f'expected one input, got {", ".join(images) or "none"}')
        self.image = images[0]
        self.outputs = [o.name for o in graph.output]
        types = element_types(model)
        self.nodes: list[NodeProto] = []
        self.tensors = [self.image]
        self.producer: dict[str, NodeProto] = {}
        self.consumers: dict[str, list[NodeProto]] = {}
        moving = {self.image}
        for node in graph.node:
            if node.op_type == 'Constant' and node.attribute[0].name == 'value':
                self._values[node.output[0]] = node.attribute[0].t
            if not moving & set(node.input) or node.op_type in ('Shape', 'Size'):
                continue
            self.nodes.append(node)
            moving.update(node.output)
            for name in node.output:
                self.producer[name] = node
                if types.get(name, onnx.TensorProto.FLOAT) in FLOATS:
                    self.tensors.append(name)
            for name in set(node.input):
                self.consumers.setdefault(name, []).append(node)

    def constant(self, name: str) -> np.ndarray | None:
        """Return a constant's value, or None if it is computed."""
        tensor = self._values.get(name)
        return None if tensor is None else numpy_helper.to_array(tensor)

    def set_constant(self, name: str, values: np.ndarray) -> None:
        """Change a constant of the model, in place; its type stays."""
        tensor = self._values[name]
        kept = values.astype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type))
        tensor.CopyFrom(numpy_helper.from_array(kept, tensor.name))

    def bounds(self, node: NodeProto) -> tuple[float, float] | None:
        """Return what a Clip cuts off at, if that is constant."""
        if node.op_type != 'Clip':
            return None
        given: dict[str, Any] = {
            a.name: np.array(onnx.helper.get_attribute_value(a)) for a in node.attribute
        }
        names = [*node.input[1:], '', ''][:2]
        low, high = (
            given.get(key, self.constant(name))
            for key, name in zip(('min', 'max'), names, strict=True)
        )
        return None if low is None or high is None else (low.item(), high.item())

    def ancestors(self, tensor: str) -> set[str]:
        """Return the outputs of the convolutions that a tensor depends on, its own included."""
        found: set[str] = set()
        seen: set[str] = set()
        waiting = [tensor]
        while waiting:
            name = waiting.pop()
            node = self.producer.get(name)
            if node is None or name in seen:
                continue
            seen.add(name)
            if node.op_type == 'Conv':
                found.add(name)
            waiting += node.input
        return found

    def convolutions(self) -> Iterator[NodeProto]:
        """Yield the convolutions with constant weights."""
        for node in self.nodes:
            if node.op_type == 'Conv':
                yield node


def element_types(model: ModelProto) -> dict[str, int]:
    """Return the ONNX number of each tensor's type, as far as it can be inferred."""
    inferred = shape_inference.infer_shapes(model).graph
    return {v.name: v.type.tensor_type.elem_type for v in [*inferred.value_info, *inferred.output]}
