"""Take an exported network back into PyTorch, and its weights back into the file.

Batch norms were folded into the convolutions for the export. Here they come back: each output
channel of a convolution gets the length of a fresh one, and the batch norm behind it what is left.
The function stays the same, and training goes on as it was.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from training.export import fused
from training.network import Conv, Design, EdgeYolox
from yolox_trt_ros.engine.graph import Graph
from yolox_trt_ros.engine.half import widen_weights
from yolox_trt_ros.engine.onnx_file import read_onnx
from yolox_trt_ros.sim.world.bodies import CLASSES

ROOT = 'network.'
"""What the export puts before each weight's name."""
LENGTH = 1 / math.sqrt(3)
"""Of a channel's weights when PyTorch makes them: each uniform in ±1/√n, n of them."""


def read_network(path: Path, design: Design) -> EdgeYolox:
    """Return the network of an exported file, its batch norms without effect, on the CPU.

    Raises:
        ValueError: the file has other weights than the design.
    """
    graph = _graph(read_onnx(path))
    network = EdgeYolox(design, len(CLASSES)).eval()
    with torch.no_grad():
        for name, module in network.named_modules():
            if isinstance(module, Conv):
                weight, bias = (_read(graph, f'{name}.conv.{x}') for x in ('weight', 'bias'))
                _unfold(module, _checked(name, weight, module.conv.weight), bias)
            elif isinstance(module, nn.Conv2d) and module.bias is not None:
                for own in ('weight', 'bias'):
                    there = getattr(module, own)
                    there.copy_(_checked(name, _read(graph, f'{name}.{own}'), there))
    return network


def _graph(model: onnx.ModelProto) -> Graph:
    widen_weights(model)
    return Graph(model)


def _read(graph: Graph, name: str) -> Tensor:
    values = graph.constant(ROOT + name)
    if values is None:
        raise ValueError(
            f'expected a model that `python -m training.train` exported, with a weight '
            f'{ROOT + name}; there is none'
        )
    return torch.tensor(values)


def _checked(name: str, found: Tensor, expected: Tensor) -> Tensor:
    if found.shape != expected.shape:
        raise ValueError(
            f'{name}: the file has weights {list(found.shape)}, the design {list(expected.shape)}'
        )
    return found


def _unfold(module: Conv, weight: Tensor, bias: Tensor) -> None:
    length = weight.flatten(1).norm(dim=1) / LENGTH
    length[length == 0] = 1
    module.conv.weight.copy_(weight / length[:, None, None, None])
    bn = module.bn
    bn.running_mean.zero_()
    bn.running_var.fill_(1 - bn.eps)
    bn.weight.copy_(length)
    bn.bias.copy_(bias)


@torch.no_grad()
def settle(network: EdgeYolox, pictures: Iterable[Tensor]) -> None:
    """Give the batch norms the means and variances of pictures; what they compute stays.

    Args:
        network: of :func:`read_network`, on the pictures' device.
        pictures: float32 (b, 3, h, w).
    """
    sums: dict[Conv, list[Tensor]] = {}

    def note(module: Conv, _: object, output: Tensor) -> None:
        x = output.double()
        found = [x.mean((0, 2, 3)), (x * x).mean((0, 2, 3)), torch.ones((), device=x.device)]
        known = sums.get(module)
        sums[module] = (
            found if known is None else [a + b for a, b in zip(known, found, strict=True)]
        )

    convs = [m for m in network.modules() if isinstance(m, Conv)]
    hooks = [
        m.conv.register_forward_hook(lambda conv, inputs, output, m=m: note(m, inputs, output))
        for m in convs
    ]
    network.eval()
    for batch in pictures:
        network(batch)
    for hook in hooks:
        hook.remove()
    for module, (mean, square, count) in sums.items():
        bn = module.bn
        scale = bn.weight / (bn.running_var + bn.eps).sqrt()
        shift = bn.bias - bn.running_mean * scale
        mean = (mean / count).float()
        variance = (square / count).float() - mean**2
        bn.running_mean.copy_(mean)
        bn.running_var.copy_(variance.clamp(min=0))
        bn.weight.copy_(scale * (bn.running_var + bn.eps).sqrt())
        bn.bias.copy_(shift + mean * scale)


def with_weights_of(path: Path, network: EdgeYolox) -> onnx.ModelProto:
    """Return an exported model with the weights of a network, stored in the types of the file."""
    model = read_onnx(path)
    stored = {n.output[0]: n.input[0] for n in model.graph.node if n.op_type == 'Cast'}
    graph = Graph(model)
    for name, value in fused(network).named_parameters():
        full = ROOT + name
        graph.set_constant(stored.get(full, full), value.detach().numpy())
    return model
