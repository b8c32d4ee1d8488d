"""An ONNX model as a PyTorch module: the layers of a cut YOLOX, for comparison."""

from __future__ import annotations

from typing import Any

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn import functional

from yolox_trt_ros.core.errors import ModelError


class OnnxModule(nn.Module):
    """Runs the nodes of a graph in their order.

    Args:
        model: whose layers are convolutions, elementwise ones, max pools, concatenations and
            nearest-neighbour upsampling by whole factors.

    Raises:
        ModelError: it has another layer.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        super().__init__()
        graph = model.graph
        self._given = {w.name: torch.from_numpy(numpy_helper.to_array(w).copy())
                       for w in graph.initializer}  # fmt: skip
        (self._image,) = [i.name for i in graph.input if i.name not in self._given]
        self._outputs = [output.name for output in graph.output]
        self._nodes: list[tuple[str, list[str], str, dict[str, Any]]] = []
        self.layers = nn.ModuleDict()
        for number, node in enumerate(graph.node):
            attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            if node.op_type not in {**_LAYERS, 'Conv': None}:
                raise ModelError(f'no layer of PyTorch is known here for {node.op_type}')
            key = str(number)
            if node.op_type == 'Conv':
                self.layers[key] = self._convolution(list(node.input), attributes)
            attributes |= self._settings(node.op_type, list(node.input), attributes)
            self._nodes.append((node.op_type, list(node.input), node.output[0], attributes))

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the outputs, in the graph's order."""
        values: dict[str, Any] = {self._image: image}
        for number, (kind, inputs, output, attributes) in enumerate(self._nodes):
            if kind == 'Conv':
                values[output] = self.layers[str(number)](values[inputs[0]])
                continue
            given = [values.get(name, self._given.get(name)) for name in inputs]
            values[output] = _LAYERS[kind](given, attributes)
        return [values[name] for name in self._outputs]

    def _settings(self, kind: str, inputs: list[str], attributes: dict[str, Any]) -> dict[str, Any]:
        """Return inputs that are constants as numbers: a compiler stops where it reads tensors."""
        given = [self._given.get(name) for name in inputs]
        if kind == 'Resize':
            return {'scales': given[2].tolist()[2:] if given[2] is not None else None}
        if kind != 'Clip':
            return {}
        names = ('min', 'max')
        bounds = [given[i] if len(given) > i else None for i in (1, 2)]
        return {
            name: attributes.get(name) if bound is None else float(bound)
            for name, bound in zip(names, bounds, strict=True)
        }

    def _convolution(self, inputs: list[str], attributes: dict[str, Any]) -> nn.Conv2d:
        weight = self._given[inputs[1]]
        pads = attributes.get('pads', [0] * 4)
        if pads[:2] != pads[2:]:
            raise ModelError(f'expected the same padding on both sides, got {pads}')
        group = attributes.get('group', 1)
        layer = nn.Conv2d(
            weight.shape[1] * group, weight.shape[0], tuple(weight.shape[2:]),
            tuple(attributes.get('strides', (1, 1))), tuple(pads[:2]),
            tuple(attributes.get('dilations', (1, 1))), group, bias=len(inputs) > 2,
        )  # fmt: skip
        layer.weight.data = weight.float()
        if len(inputs) > 2:
            assert layer.bias is not None
            layer.bias.data = self._given[inputs[2]].float()
        return layer


def _clip(given: list[Any], attributes: dict[str, Any]) -> Tensor:
    clipped: Tensor = torch.clamp(given[0], attributes['min'], attributes['max'])
    return clipped


def _max_pool(given: list[Any], attributes: dict[str, Any]) -> Tensor:
    return functional.max_pool2d(
        given[0], attributes['kernel_shape'], attributes.get('strides', 1),
        attributes.get('pads', [0] * 4)[:2],
    )  # fmt: skip


def _resize(given: list[Any], attributes: dict[str, Any]) -> Tensor:
    return functional.interpolate(given[0], scale_factor=attributes['scales'], mode='nearest')


_LAYERS: dict[str, Any] = {
    'Add': lambda given, _: given[0] + given[1],
    'Clip': _clip,
    'Concat': lambda given, attributes: torch.cat(given, attributes['axis']),
    'MaxPool': _max_pool,
    'Mul': lambda given, _: given[0] * given[1],
    'Relu': lambda given, _: torch.relu(given[0]),
    'Resize': _resize,
    'Sigmoid': lambda given, _: torch.sigmoid(given[0]),
}
