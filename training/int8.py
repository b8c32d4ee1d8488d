"""Train with the roundings of INT8: straight-through, with the ranges that the engine will have."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from training.from_onnx import ROOT
from yolox_trt_ros.engine.simulated_int8 import STEPS
from yolox_trt_ros.training.networks.edge import EdgeYolox


class Int8Conv2d(nn.Conv2d):
    """A convolution that reads INT8 and has INT8 weights, one scale an output channel.

    A batch norm behind it only changes that scale, so weights round as they do once it is folded.

    Attributes:
        step: between two numbers of the input.
    """

    step: float

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolution of the rounded input and weights."""
        with torch.no_grad():
            step = self.weight.abs().amax((1, 2, 3), keepdim=True) / STEPS
            step = torch.where(step > 0, step, 1.0)
        weight = _straight_through(self.weight, step)
        low, high = -(STEPS + 1) * self.step, STEPS * self.step
        return self._conv_forward(
            _straight_through(x.clamp(low, high), self.step), weight, self.bias
        )


def _straight_through(x: Tensor, step: Tensor | float) -> Tensor:
    """Return x in whole steps; gradients pass as if it were x."""
    return x + ((x / step).round() * step - x).detach()


def round_as_int8(
    network: EdgeYolox, model: onnx.ModelProto, ranges: Mapping[str, float], kept: list[str]
) -> int:
    """Make convolutions of a network compute as their INT8 versions; return how many.

    Args:
        network: of the model, see :func:`training.from_onnx.read_network`.
        model: the exported file.
        ranges: tensor → largest magnitude, of :class:`engine.ranges.RangeTable`.
        kept: outputs of the convolutions that stay in floating point.
    """
    modules = dict(network.named_modules())
    count = 0
    for node in model.graph.node:
        if node.op_type != 'Conv' or node.output[0] in kept:
            continue
        name = node.input[1].removeprefix(ROOT).removesuffix('.weight')
        module = modules[name]
        assert isinstance(module, nn.Conv2d), name
        module.__class__ = Int8Conv2d
        module.step = ranges[node.input[0]] / STEPS
        count += 1
    return count


def write_int8(
    model: onnx.ModelProto, ranges: Mapping[str, float], kept: list[str], path: Path
) -> None:
    """Write a model with Q/DQ pairs of the ranges that it was trained with."""
    from yolox_trt_ros.engine.onnx_file import write_onnx
    from yolox_trt_ros.engine.qdq import insert_qdq, prepared

    int8 = insert_qdq(prepared(model), ranges, kept)
    del int8.metadata_props[:]
    int8.metadata_props.extend(model.metadata_props)
    write_onnx(int8, path)
