"""Weights of an exported ONNX file, back in PyTorch, whichever tool wrote it.

Batch norms were folded into the convolutions for the export. Here they come back: each output
channel of a convolution gets the length of a fresh one, and the batch norm behind it what is left.
The function stays the same, and training goes on as it was.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from yolox_trt_ros.core.errors import ModelError
from yolox_trt_ros.core.printing import one_line
from yolox_trt_ros.engine.graph import Graph
from yolox_trt_ros.engine.half import widen_weights
from yolox_trt_ros.engine.onnx_file import read_onnx
from yolox_trt_ros.training.networks.build import DESIGNS, NetworkSpec
from yolox_trt_ros.training.networks.layers import Conv

LENGTH = 1 / math.sqrt(3)
"""Of a channel's weights when PyTorch makes them: each uniform in ±1/√n, n of them."""
_ANY_SIZE = (64, 64)
Weights = list[tuple[Tensor, Tensor | None]]


def convolution_weights(path: Path) -> Weights:
    """Return weight and bias of each convolution of an ONNX file, in the order of its nodes.

    Raises:
        ModelError: it is no ONNX model, or a convolution's weights are computed.
    """
    model = read_onnx(path)
    widen_weights(model)
    # PyTorch's export keeps equal biases once, and names them again by Identity nodes.
    same = {n.output[0]: n.input[0] for n in model.graph.node if n.op_type == 'Identity'}
    graph, found = Graph(model), []
    for node in model.graph.node:
        if node.op_type != 'Conv':
            continue
        values = [graph.constant(same.get(name, name)) for name in node.input[1:]]
        if not values or any(value is None for value in values):
            raise ModelError(
                f'{one_line(path)}: convolution {one_line(node.name)}: expected constant weights; '
                'give the model from before quantization'
            )
        tensors = [torch.tensor(value) for value in values]
        found.append((tensors[0], tensors[1] if len(tensors) > 1 else None))
    return found


def classes_of(model: onnx.ModelProto, path: Path) -> int:
    """Return how many classes an export with one output [batch, anchors, 5 + classes] has.

    Raises:
        ModelError: it has other outputs.
    """
    shapes = [[d.dim_value for d in o.type.tensor_type.shape.dim] for o in model.graph.output]
    if len(shapes) != 1 or len(shapes[0]) != 3 or shapes[0][2] < 6:
        raise ModelError(
            f'{one_line(path)}: expected one output [batch, anchors, 5 + classes] as YOLOX exports '
            f'it, got {shapes}: give the model from before `optimize` cut its head'
        )
    return int(shapes[0][2]) - 5


def design_of(weights: Weights, spec: NetworkSpec) -> NetworkSpec | None:
    """Return the spec with the first design whose convolutions have the shapes of weights."""
    for name in (spec.design, *DESIGNS):
        tried = NetworkSpec(name, spec.classes, spec.size, {})
        network = tried.shapes()
        if sum(isinstance(m, nn.Conv2d) for m in network.modules()) != len(weights):
            continue
        shapes = [c.weight.shape for c in convolutions(network)]
        if shapes == [weight.shape for weight, _ in weights]:
            return tried
    return None


@torch.no_grad()
def convolutions(network: nn.Module) -> list[nn.Conv2d]:
    """Return the convolutions of a network in the order in which they run."""
    seen: list[Any] = []
    hooks = [
        m.register_forward_hook(lambda module, *_: seen.append(module))
        for m in network.modules()
        if isinstance(m, nn.Conv2d)
    ]
    was, device = network.training, next(network.parameters()).device
    network.eval()(torch.zeros(1, 3, *_ANY_SIZE, device=device))
    network.train(was)
    for hook in hooks:
        hook.remove()
    return seen


@torch.no_grad()
def put_into(network: nn.Module, weights: Weights) -> None:
    """Give a network the weights of a file; its batch norms get no effect of their own.

    Raises:
        ModelError: the file has other weights than the network.
    """
    owners = {m.conv: m for m in network.modules() if isinstance(m, Conv)}
    there = convolutions(network)
    if len(there) != len(weights):
        raise ModelError(f'the file has {len(weights)} convolutions, the design {len(there)}')
    for number, (conv, (weight, bias)) in enumerate(zip(there, weights, strict=True)):
        if conv.weight.shape != weight.shape:
            raise ModelError(
                f'convolution {number}: the file has weights {list(weight.shape)}, the design '
                f'{list(conv.weight.shape)}'
            )
        if bias is None:
            bias = torch.zeros(len(weight))
        if conv in owners:
            _unfold(owners[conv], weight, bias)
        else:
            conv.weight.copy_(weight)
            conv.bias.copy_(bias)


def _unfold(module: Conv, weight: Tensor, bias: Tensor) -> None:
    length = weight.flatten(1).norm(dim=1) / LENGTH
    length[length == 0] = 1
    module.conv.weight.copy_(weight / length[:, None, None, None])
    bn = module.bn
    bn.running_mean.zero_()
    bn.running_var.fill_(1 - bn.eps)
    bn.weight.copy_(length)
    bn.bias.copy_(bias)
