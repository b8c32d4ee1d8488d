"""Count the multiply-adds of a network."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from yolox_trt_ros.core.errors import ModelError
from yolox_trt_ros.engine.onnx_file import read_onnx

_COUNTED = ('Conv', 'ConvTranspose', 'Gemm', 'MatMul')


def gflops(path: Path) -> float:
    """Return 10⁹ floating-point operations of one image, a multiply-add counted as two.

    Convolutions and matrix products only, as is usual: all else is a few per cent of a YOLOX.

    Raises:
        ModelError: not an ONNX file, or the shapes in it cannot be inferred.
    """
    import onnx

    model = read_onnx(path)
    weights = {weight.name for weight in model.graph.initializer}
    for value in model.graph.input:
        if value.name not in weights:
            value.type.tensor_type.shape.dim[0].dim_value = 1
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = {w.name: tuple(w.dims) for w in graph.initializer}
    for value in (*graph.value_info, *graph.input, *graph.output):
        shapes.setdefault(value.name, tuple(d.dim_value for d in value.type.tensor_type.shape.dim))
    return sum(_operations(path, n, shapes) for n in graph.node if n.op_type in _COUNTED) / 1e9


def _operations(path: Path, node: Any, shapes: dict[str, tuple[int, ...]]) -> int:
    inputs = [shapes.get(name, ()) for name in node.input[:2]]
    output = shapes.get(node.output[0], ())
    if not all((*inputs, output)) or 0 in (*inputs[0], *inputs[1], *output):
        raise ModelError(f'{path}: the shape of {node.output[0]} cannot be inferred')
    if node.op_type == 'Conv':  # each output value sums over a kernel and its channels
        return 2 * math.prod(output) * math.prod(inputs[1][1:])
    if node.op_type == 'ConvTranspose':  # each input value is spread over a kernel
        return 2 * math.prod(inputs[0]) * math.prod(inputs[1][1:])
    across = 0 if any(a.name == 'transA' and a.i for a in node.attribute) else -1
    return 2 * math.prod(output) * inputs[0][across]
