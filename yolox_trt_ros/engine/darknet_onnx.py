"""Write a darknet network as ONNX, which ends in the maps that its ``[yolo]`` layers read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from yolox_trt_ros.core.darknet_cfg import DarknetCfg, Layer, padding, pool_padding
from yolox_trt_ros.core.darknet_sections import Section
from yolox_trt_ros.core.errors import ModelError
from yolox_trt_ros.core.printing import shown
from yolox_trt_ros.engine.darknet_weights import Convolution

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, ValueInfoProto

OPSET, IR_VERSION = 13, 8
IMAGE = 'images'
_LEAKY, _MISH, _SWISH = 'leaky', 'mish', 'swish'
_SIMPLE = {'logistic': 'Sigmoid', 'relu': 'Relu', 'tanh': 'Tanh'}
ACTIVATIONS = ('linear', _LEAKY, _MISH, _SWISH, 'relu6', *_SIMPLE)


def darknet_onnx(cfg: DarknetCfg, convolutions: dict[int, Convolution]) -> ModelProto:
    """Return the network, for any batch of images in the cfg's size.

    Args:
        cfg: its layers.
        convolutions: its numbers, see :func:`engine.darknet_weights.read_weights`.

    Raises:
        ModelError: a layer has an activation that is not known.
    """
    writer = _Writer(cfg, convolutions)
    for i, layer in enumerate(cfg.layers):
        writer.names.append(writer.layer(i, layer))
    outputs: list[ValueInfoProto] = []
    for yolo in cfg.yolo:
        name = f'yolo_{yolo.stride}'
        writer.node('Identity', [writer.names[yolo.map]], name)
        shape: list[str | int | None] = ['batch', *cfg.layers[yolo.map].shape]
        outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    image = helper.make_tensor_value_info(IMAGE, TensorProto.FLOAT, ['batch', *cfg.input])
    graph = helper.make_graph(writer.nodes, 'darknet', [image], outputs, writer.constants)
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid('', OPSET)], ir_version=IR_VERSION
    )


class _Writer:
    """Collects nodes and constants."""

    def __init__(self, cfg: DarknetCfg, convolutions: dict[int, Convolution]) -> None:
        self._cfg, self._convolutions = cfg, convolutions
        self.names: list[str] = []
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []

    def layer(self, i: int, layer: Layer) -> str:
        """Add a layer; return the name of what it gives."""
        kind, section = layer.section.kind, layer.section
        inputs = [self.names[n] if n >= 0 else IMAGE for n in layer.inputs]
        name = f'layer_{i}'
        if kind == 'convolutional':
            return self._convolved(i, inputs[0], section)
        if kind == 'maxpool':
            return self._pooled(name, inputs[0], section)
        if kind == 'upsample':
            scale = float(section.count('stride', 2))
            scales = self.constant(f'{name}_scales', np.array([1, 1, scale, scale], np.float32))
            return self.node(
                'Resize', [inputs[0], '', scales], name, mode='nearest',
                coordinate_transformation_mode='asymmetric', nearest_mode='floor',
            )  # fmt: skip
        if kind == 'shortcut':
            total = inputs[0]
            for n, other in enumerate(inputs[1:]):
                total = self.node('Add', [total, other], f'{name}_sum_{n}')
            return self._activated(name, total, section, 'linear')
        if kind == 'route':
            return self._routed(name, layer, inputs)
        return inputs[0]  # dropout, and [yolo], which nothing reads

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Add a node; return its output's name."""
        self.nodes.append(helper.make_node(kind, inputs, [output], output, **attributes))
        return output

    def constant(self, name: str, value: np.ndarray) -> str:
        """Add a constant; return its name."""
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def _convolved(self, i: int, source: str, section: Section) -> str:
        name, own = f'layer_{i}', self._convolutions[i]
        weight = self.constant(f'{name}_weight', own.weight)
        bias = self.constant(f'{name}_bias', own.bias)
        convolved = self.node(
            'Conv', [source, weight, bias], f'{name}_conv',
            kernel_shape=list(own.weight.shape[2:]), pads=[padding(section)] * 4,
            strides=[section.count('stride', 1)] * 2, group=section.count('groups', 1),
            dilations=[section.count('dilation', 1)] * 2,
        )  # fmt: skip
        return self._activated(name, convolved, section, 'logistic')

    def _pooled(self, name: str, source: str, section: Section) -> str:
        stride, whole = section.count('stride', 1), pool_padding(section)
        first, last = whole // 2, whole - whole // 2
        size = section.count('size', stride)
        return self.node(
            'MaxPool', [source], name, kernel_shape=[size, size], strides=[stride, stride],
            pads=[first, first, last, last],
        )  # fmt: skip

    def _routed(self, name: str, layer: Layer, inputs: list[str]) -> str:
        groups = layer.section.count('groups', 1)
        group = layer.section.count('group_id', 0, least=0)
        parts = []
        for n, (source, own) in enumerate(zip(layer.inputs, inputs, strict=True)):
            channels = self._cfg.layers[source].shape[0] // groups
            bounds = (group * channels, (group + 1) * channels, 1)
            if groups > 1:
                where = [
                    self.constant(f'{name}_{what}_{n}', np.array([value], np.int64))
                    for what, value in zip(('first', 'last', 'axis'), bounds, strict=True)
                ]
                own = self.node('Slice', [own, *where], f'{name}_part_{n}')
            parts.append(own)
        return parts[0] if len(parts) == 1 else self.node('Concat', parts, name, axis=1)

    def _activated(self, name: str, source: str, section: Section, default: str) -> str:
        kind = section.text('activation', default)
        if kind == 'linear':
            return source
        if kind == _LEAKY:
            return self.node('LeakyRelu', [source], name, alpha=0.1)
        if kind in _SIMPLE:
            return self.node(_SIMPLE[kind], [source], name)
        if kind == _SWISH:
            return self.node('Mul', [source, self.node('Sigmoid', [source], f'{name}_gate')], name)
        if kind == _MISH:  # the operator of that name is younger than many runtimes
            soft = self.node('Softplus', [source], f'{name}_softplus')
            return self.node('Mul', [source, self.node('Tanh', [soft], f'{name}_gate')], name)
        if kind == 'relu6':
            bounds = [
                self.constant(f'{name}_{what}', np.float32(value))
                for what, value in (('least', 0), ('most', 6))
            ]
            return self.node('Clip', [source, *bounds], name)
        raise ModelError(
            f'{section.where}: activation: expected one of {", ".join(ACTIVATIONS)}, got '
            f'{shown(kind)}'
        )
