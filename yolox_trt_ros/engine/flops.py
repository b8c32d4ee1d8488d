"""Count what each layer of a network computes and holds, from the ONNX file alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from yolox_trt_ros.core.errors import ModelError
from yolox_trt_ros.engine.onnx_file import read_onnx

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

GRID = 32
"""Channels that INT8 kernels of GPUs and DLAs take at once (TensorRT's CHW32) …"""
IMAGE_GRID = 4
"""… and those of a layer on an image of up to four channels (TensorRT's CHW4, DLA_HWC4)."""
COUNTED = ('Conv', 'ConvTranspose', 'Gemm', 'MatMul')
"""Operators that are counted as layers."""
_PASSED = ('QuantizeLinear', 'DequantizeLinear', 'Identity', 'Cast', 'BatchNormalization')
_ACTIVATIONS = ('Relu', 'Clip', 'LeakyRelu', 'PRelu', 'HardSwish', 'Sigmoid', 'Tanh')
_TRAINED = (*COUNTED, 'BatchNormalization', 'PRelu')


@dataclass(frozen=True, slots=True)
class LayerWork:
    """One convolution or matrix product, for one image.

    Attributes:
        name: of the ONNX node, or of its first output where it has none.
        op: operator type.
        kernel: height and width; empty for a matrix product.
        inputs, outputs: channels; 0 for a matrix product.
        groups: of channels that do not see each other.
        shape: of the output.
        flops: floating-point operations, a multiply-add counted as two.
        grid_flops: the same with channels rounded up to what INT8 kernels take at once.
        parameters: weights and biases.
        activation: what follows: silu, relu, clip, …; empty: nothing that is known.
        place: ``first``: reads the image, ``last``: no further layer follows, or ``inner``.
    """

    name: str
    op: str
    kernel: tuple[int, ...]
    inputs: int
    outputs: int
    groups: int
    shape: tuple[int, ...]
    flops: int
    grid_flops: int
    parameters: int
    activation: str
    place: Literal['first', 'inner', 'last']

    @property
    def off_grid(self) -> bool:
        """Whether its channels are no multiples of the grid though its designer could choose."""
        chosen = [] if self.op not in ('Conv', 'ConvTranspose') else [self.inputs, self.outputs]
        return self.place == 'inner' and any(c % GRID for c in chosen)


@dataclass(frozen=True, slots=True)
class ModelWork:
    """What a network computes and holds, for one image.

    Attributes:
        layers: its convolutions and matrix products, in the graph's order.
        parameters: trained numbers.
        values: sum of the elements of all maps, an activation counted with its convolution.
        peak_values: the most elements that are needed at one time, in the graph's order.
    """

    layers: Sequence[LayerWork]
    parameters: int
    values: int
    peak_values: int

    @property
    def gflops(self) -> float:
        """10⁹ floating-point operations."""
        return sum(layer.flops for layer in self.layers) / 1e9

    @property
    def grid_gflops(self) -> float:
        """10⁹ operations with channels rounded up to what INT8 kernels take at once."""
        return sum(layer.grid_flops for layer in self.layers) / 1e9

    def share(self, layers: Sequence[LayerWork]) -> float:
        """Return the part of all operations that some layers do."""
        return sum(layer.flops for layer in layers) / 1e9 / self.gflops


def gflops(path: Path) -> float:
    """Return 10⁹ floating-point operations of one image, a multiply-add counted as two.

    Convolutions and matrix products only, as is usual: all else is a few per cent of a YOLOX.

    Raises:
        ModelError: not an ONNX file, or the shapes in it cannot be inferred.
    """
    graph = _inferred(read_onnx(path))
    shapes = _shapes(graph)
    return sum(_operations(path, n, shapes) for n in graph.node if n.op_type in COUNTED) / 1e9


def model_work(path: Path, size: tuple[int, int] | None = None) -> tuple[ModelWork, ModelProto]:
    """Return what a network computes and holds, and its graph for a batch of one.

    Args:
        path: an ONNX file.
        size: height and width of the input; None: as the file says.

    Raises:
        ModelError: not an ONNX file, without layers, or the shapes in it cannot be inferred.
    """
    model = read_onnx(path)
    graph = _inferred(model, size)
    shapes = _shapes(graph)
    facts = _Surroundings(graph)
    try:
        layers = [_layer(path, n, shapes, facts) for n in graph.node if n.op_type in COUNTED]
    except ModelError as error:
        asked = f'does it take {size[1]}x{size[0]}?' if size else 'its input has no fixed size?'
        raise ModelError(f'{error}: {asked}') from error
    if not layers:
        raise ModelError(f'{path}: expected layers ({", ".join(COUNTED)}), got none')
    parameters = sum(_parameters(n, shapes, facts) for n in graph.node if n.op_type in _TRAINED)
    values, peak = facts.memory(shapes)
    return ModelWork(layers, parameters, values, peak), model


def _inferred(model: ModelProto, size: tuple[int, int] | None = None) -> Any:
    """Fix batch and size of the inputs; return the graph with the shapes that follow."""
    import onnx

    weights = {weight.name for weight in model.graph.initializer}
    for value in model.graph.input:
        dims = value.type.tensor_type.shape.dim
        if value.name in weights or not dims:
            continue
        dims[0].dim_value = 1
        if size and len(dims) == 4:
            dims[2].dim_value, dims[3].dim_value = size
    if size:  # shapes that stand in the file are those of its own size
        del model.graph.value_info[:]
        for value in model.graph.output:
            value.type.tensor_type.ClearField('shape')
    try:
        return onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    except Exception as error:
        raise ModelError(f'the shapes of the model cannot be inferred: {error}') from error


def _shapes(graph: Any) -> dict[str, tuple[int, ...]]:
    shapes = {w.name: tuple(w.dims) for w in graph.initializer}
    for value in (*graph.value_info, *graph.input, *graph.output):
        shapes.setdefault(value.name, tuple(d.dim_value for d in value.type.tensor_type.shape.dim))
    return shapes


class _Surroundings:
    """What precedes and follows the layers of a graph."""

    def __init__(self, graph: Any) -> None:
        self.graph = graph
        self.constant = {w.name for w in graph.initializer}
        self.image = {i.name for i in graph.input} - self.constant
        self.activation: dict[str, str] = {}
        self._root: dict[str, str] = {}
        self._gate: dict[str, str] = {}
        for node in graph.node:
            self._follow(node)
        self.read: set[str] = set()
        """Tensors from which a further layer is computed."""
        for node in reversed(graph.node):
            if node.op_type in COUNTED or self.read.intersection(node.output):
                self.read.update(node.input)

    def root(self, name: str) -> str:
        """Return the tensor whose place in memory an activation behind it takes."""
        return self._root.get(name, name)

    def _follow(self, node: NodeProto) -> None:
        if all(name in self.constant for name in node.input if name):
            self.constant.update(node.output)
            return
        moving = [name for name in node.input if name and name not in self.constant]
        if node.op_type not in COUNTED and self.image.issuperset(moving):
            self.image.update(node.output)
        first, output, kind = self.root(moving[0]), node.output[0], node.op_type
        if kind in _PASSED:
            self._root[output] = first
            if moving[0] in self._gate:
                self._gate[output] = self._gate[moving[0]]
        elif kind in _ACTIVATIONS:
            self._root[output] = first
            self.activation.setdefault(first, kind.lower())
            if kind == 'Sigmoid':
                self._gate[output] = first
        elif kind == 'Mul' and any(
            self._gate.get(gate) == self.root(x) and gate != x
            for gate, x in (moving[:2], moving[1::-1])
            if len(moving) == 2
        ):
            self._root[output] = first
            self.activation[first] = 'silu'

    def memory(self, shapes: dict[str, tuple[int, ...]]) -> tuple[int, int]:
        """Return the elements of all maps, and the most that are needed at one time."""
        last: dict[str, int] = {}
        for index, node in enumerate(self.graph.node):
            last |= {self.root(name): index for name in node.input}
        last |= {self.root(value.name): len(self.graph.node) for value in self.graph.output}
        live: dict[str, int] = {i: math.prod(shapes.get(i, ())) for i in self.image if i in shapes}
        live = {name: n for name, n in live.items() if name in {i.name for i in self.graph.input}}
        total, peak = 0, sum(live.values())
        for index, node in enumerate(self.graph.node):
            for name in {self.root(o) for o in node.output if o and o not in self.constant}:
                if name not in live:
                    live[name] = math.prod(shapes.get(name, (0,)))
                    total += live[name]
            peak = max(peak, sum(live.values()))
            live = {name: n for name, n in live.items() if last.get(name, -1) > index}
        return total, peak


def _layer(
    path: Path, node: NodeProto, shapes: dict[str, tuple[int, ...]], facts: _Surroundings
) -> LayerWork:
    flops = _operations(path, node, shapes)
    weight, output = shapes[node.input[1]], node.output[0]
    convolution = node.op_type in ('Conv', 'ConvTranspose')
    groups = next((a.i for a in node.attribute if a.name == 'group'), 1)
    inputs, outputs = (shapes[node.input[0]][1], shapes[output][1]) if convolution else (0, 0)
    first, last = node.input[0] in facts.image, output not in facts.read
    return LayerWork(
        node.name or output,
        node.op_type,
        weight[2:] if convolution else (),
        inputs,
        outputs,
        groups,
        shapes[output],
        flops,
        _on_grid(flops, inputs, outputs, groups) if convolution else flops,
        _parameters(node, shapes, facts),
        facts.activation.get(output, ''),
        'first' if first else 'last' if last else 'inner',
    )


def _on_grid(flops: int, inputs: int, outputs: int, groups: int) -> int:
    def up(channels: int) -> int:
        return math.ceil(channels / GRID) * GRID

    rounded = up(outputs) / outputs
    if groups == 1:
        rounded *= (IMAGE_GRID if inputs <= IMAGE_GRID else up(inputs)) / inputs
    return round(flops * rounded)


def _parameters(node: NodeProto, shapes: dict[str, tuple[int, ...]], facts: _Surroundings) -> int:
    names = [name for name in node.input if name and name in facts.constant]
    return sum(math.prod(shapes.get(name, (0,))) for name in names)


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
