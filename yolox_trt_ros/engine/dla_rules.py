"""Decide statically, without TensorRT, which layers of an ONNX model a DLA runs.

The rules are those of NVIDIA's "DLA Supported Layers and Restrictions" for Orin with TensorRT 8.5
to 10.7; where that page is silent, a layer counts as the GPU's. Whether DLA compiles a whole graph
into few loadables is known only after a build.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from yolox_trt_ros.core.errors import MissingDependencyError, ModelError

try:
    import onnx
    from onnx import numpy_helper, shape_inference
except ImportError as error:
    raise MissingDependencyError(
        'the verdict on a model needs the package "onnx": pip install onnx'
    ) from error

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

MAX_BATCH, MAX_SIDE = 4096, 8192
MAX_SOFTMAX = 1024


@dataclass(frozen=True, slots=True)
class LayerVerdict:
    """Where one layer runs.

    Attributes:
        name: of the ONNX node, or of its first output where it has none.
        op: operator type.
        output: name of the first output tensor.
        shape: of that tensor; 0 where unknown.
        device: ``dla``; ``gpu``: forces the GPU; ``none``: constants that are folded at build time
            and operators that are no layer.
        reason: what rules the DLA out, or what there is to know.
    """

    name: str
    op: str
    output: str
    shape: tuple[int, ...]
    device: Literal['dla', 'gpu', 'none']
    reason: str


def judge(model: ModelProto) -> list[LayerVerdict]:
    """Return the verdict on every layer, in the graph's order.

    Raises:
        ModelError: the shapes in the model contradict each other.
    """
    try:
        inferred = shape_inference.infer_shapes(model, strict_mode=False, data_prop=True)
    except Exception as error:
        raise ModelError(f'the shapes of the model cannot be inferred: {error}') from error
    facts = _Facts(inferred)
    return [_verdict(node, facts) for node in inferred.graph.node]


def forces_gpu(verdicts: Sequence[LayerVerdict]) -> list[LayerVerdict]:
    """Return the layers that cannot run on a DLA."""
    return [v for v in verdicts if v.device == 'gpu']


class _Facts:
    """Shapes and constants of a graph."""

    def __init__(self, model: ModelProto) -> None:
        graph = model.graph
        self.shapes: dict[str, tuple[int, ...]] = {}
        for value in [*graph.input, *graph.output, *graph.value_info]:
            if value.type.HasField('tensor_type') and value.type.tensor_type.HasField('shape'):
                dims = value.type.tensor_type.shape.dim
                self.shapes[value.name] = tuple(d.dim_value for d in dims)
        self.values: dict[str, Any] = {w.name: w for w in graph.initializer}
        self.shapes |= {w.name: tuple(w.dims) for w in graph.initializer}
        self.constant = set(self.values)
        for node in graph.node:
            self._add(node)

    def _add(self, node: NodeProto) -> None:
        if node.op_type == 'Constant' and node.attribute[0].name == 'value':
            self.values[node.output[0]] = node.attribute[0].t
        static = node.op_type in ('Shape', 'Size') and all(self.shapes.get(node.input[0], (0,)))
        if static or all(name in self.constant for name in node.input if name):
            self.constant.update(node.output)

    def value(self, name: str) -> list[Any] | None:
        """Return a constant's numbers, or None if they are computed or too many to matter."""
        tensor = self.values.get(name)
        if tensor is None:
            return None
        return [v.item() for v in numpy_helper.to_array(tensor).reshape(-1)[:64]]


@dataclass(frozen=True, slots=True)
class _Layer:
    node: NodeProto
    facts: _Facts
    attributes: dict[str, Any]
    shape: tuple[int, ...]

    def input_shape(self, index: int) -> tuple[int, ...]:
        return self.facts.shapes.get(self.node.input[index], ())

    def given(self, index: int) -> bool:
        return index < len(self.node.input) and bool(self.node.input[index])

    def value(self, index: int) -> list[Any] | None:
        return self.facts.value(self.node.input[index]) if self.given(index) else None

    def is_constant(self, index: int) -> bool:
        return self.node.input[index] in self.facts.constant

    def window(self, name: str, default: int, count: int = 2) -> list[int]:
        return list(self.attributes.get(name) or [default] * count)


def _verdict(node: NodeProto, facts: _Facts) -> LayerVerdict:
    output = node.output[0] if node.output else ''
    shape = facts.shapes.get(output, ())

    def judged(device: Literal['dla', 'gpu', 'none'], reason: str) -> LayerVerdict:
        return LayerVerdict(node.name or output, node.op_type, output, shape, device, reason)

    if node.output and node.output[0] in facts.constant:
        return judged('none', 'folded into a constant when the engine is built')
    if node.op_type in ('Identity', 'Dropout'):
        return judged('none', 'no layer at run time')
    rule = _RULES.get(node.op_type) if node.domain in ('', 'ai.onnx') else None
    if rule is None:
        return judged('gpu', _NEVER.get(node.op_type, 'no layer that a DLA has'))
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    layer = _Layer(node, facts, attributes, shape)
    against = _shape_rules(layer) or rule(layer)
    return judged('gpu', against) if against else judged('dla', _NOTES.get(node.op_type, ''))


def _shape_rules(layer: _Layer) -> str:
    moving = [i for i in range(len(layer.node.input)) if layer.given(i)]
    data = [layer.input_shape(i) for i in moving if not layer.is_constant(i)]
    for shape in [*data, layer.shape]:
        if len(shape) != 4:
            return f'needs maps of four dimensions, has {list(shape) or "an unknown shape"}'
        if not all(shape):
            return f'needs a static shape, has {list(shape)} (0: unknown)'
        if shape[0] > MAX_BATCH or max(shape[1:]) > MAX_SIDE:
            return f'batch up to {MAX_BATCH} and sides up to {MAX_SIDE} fit, not {list(shape)}'
    return ''


def _outside(what: str, values: Sequence[int], low: int, high: int) -> str:
    if all(low <= v <= high for v in values):
        return ''
    shown = 'x'.join(map(str, values))
    return f'{what} {shown}: expected {low} to {high}'


def _conv(layer: _Layer) -> str:
    if not layer.is_constant(1):
        return 'weights are computed at run time'
    kernel = list(layer.input_shape(1)[2:])
    pads = layer.window('pads', 0, 4)
    group = int(layer.attributes.get('group', 1))
    if any(p >= k for p, k in zip(pads, kernel * 2, strict=True)):
        return f'padding {pads} is not smaller than the kernel {kernel}'
    return (
        _outside('kernel', kernel, 1, 32)
        or _outside('padding', pads, 0, 31)
        or _outside('stride', layer.window('strides', 1), 1, 8)
        or _outside('dilation', layer.window('dilations', 1), 1, 32)
        or _outside('output channels', [layer.shape[1]], 1, 8192)
        or _outside('groups', [group], 1, 8192)
    )


def _deconv(layer: _Layer) -> str:
    if not layer.is_constant(1):
        return 'weights are computed at run time'
    return (
        _outside('kernel', layer.input_shape(1)[2:], 1, 32)
        or _outside('padding', layer.window('pads', 0, 4), 0, 0)
        or _outside('dilation', layer.window('dilations', 1), 1, 1)
        or _outside('groups', [int(layer.attributes.get('group', 1))], 1, 1)
        or _outside('output channels', [layer.shape[1]], 1, 8192)
    )


def _pool(layer: _Layer) -> str:
    if len(layer.node.output) > 1:
        return 'the positions of the maxima are asked for'
    return (
        _outside('window', layer.window('kernel_shape', 1), 1, 8)
        or _outside('padding', layer.window('pads', 0, 4), 0, 7)
        or _outside('stride', layer.window('strides', 1), 1, 16)
        or _outside('dilation', layer.window('dilations', 1), 1, 1)
    )


def _global_pool(layer: _Layer) -> str:
    return _outside('window', layer.input_shape(0)[2:], 1, 8)


def _slice(layer: _Layer) -> str:
    if any(layer.value(i) is None for i in range(1, len(layer.node.input)) if layer.given(i)):
        return 'its bounds are computed at run time'
    starts = layer.value(1) or []
    axes = layer.value(3) or list(range(len(starts)))
    steps = layer.value(4) or [1] * len(starts)
    if any(step != 1 for step in steps):
        return f'stride {"x".join(map(str, steps))}: expected 1'
    return 'slices the batch' if any(a in (0, -4) for a in axes) else ''


def _split(layer: _Layer) -> str:
    return 'splits the batch' if layer.attributes.get('axis', 0) in (0, -4) else ''


def _concat(layer: _Layer) -> str:
    axis = layer.attributes.get('axis')
    return '' if axis in (1, -3) else f'joins along axis {axis}: expected channels (1)'


def _resize(layer: _Layer) -> str:
    scales = layer.value(1 if layer.node.op_type == 'Upsample' else 2)
    if not scales:
        return 'expected constant scales, its output size is given or computed'
    mode = bytes(layer.attributes.get('mode', b'nearest')).decode()
    how = bytes(layer.attributes.get('coordinate_transformation_mode', b'half_pixel')).decode()
    rounding = bytes(layer.attributes.get('nearest_mode', b'round_prefer_floor')).decode()
    highest = {'nearest': 32, 'linear': 4}.get(mode, 0)
    if not highest:
        return f'{mode} interpolation: expected nearest or linear'
    if scales[:2] != [1, 1] or any(s != int(s) or not 1 <= s <= highest for s in scales[2:]):
        return f'scales {scales}: expected 1, 1 and two whole factors up to {highest}'
    if layer.node.op_type == 'Upsample' or mode == 'linear' or (how, rounding) == _FLOOR:
        return ''
    return f'{how} and {rounding}: expected asymmetric and floor'


_FLOOR = ('asymmetric', 'floor')


def _clip(layer: _Layer) -> str:
    low = layer.attributes.get('min', (layer.value(1) or [None])[0])
    high = layer.attributes.get('max', (layer.value(2) or [None])[0])
    if low == 0 and high is not None and 1 <= high <= 127:
        return ''
    return f'bounds {low} and {high}: expected 0 and a constant from 1 to 127'


def _prelu(layer: _Layer) -> str:
    return '' if layer.is_constant(1) else 'its slope is computed at run time'


def _elementwise(layer: _Layer) -> str:
    shapes = [layer.input_shape(i) for i in range(len(layer.node.input))]
    moving = {s for i, s in enumerate(shapes) if not layer.is_constant(i)}
    if moving != {layer.shape}:
        return f'operands of different shapes {", ".join(str(list(s)) for s in shapes)}'
    fixed = [s for i, s in enumerate(shapes) if layer.is_constant(i)]
    for shape in fixed:
        # A constant becomes a scale layer: one number, or one for each channel.
        padded = (1,) * (4 - len(shape)) + shape
        if padded[0] != 1 or padded[2:] != (1, 1):
            return f'constant of shape {list(shape)}: expected one number, or one for each channel'
    return ''


def _softmax(layer: _Layer) -> str:
    axis = int(layer.attributes.get('axis', -1))
    return _outside('axis of length', [layer.shape[axis]], 1, MAX_SOFTMAX)


def _fits(_: _Layer) -> str:
    return ''


_RULES: dict[str, Callable[[_Layer], str]] = {
    'Conv': _conv,
    'ConvTranspose': _deconv,
    'MaxPool': _pool,
    'AveragePool': _pool,
    'GlobalAveragePool': _global_pool,
    'GlobalMaxPool': _global_pool,
    'Slice': _slice,
    'Split': _split,
    'Concat': _concat,
    'Resize': _resize,
    'Upsample': _resize,
    'Clip': _clip,
    'PRelu': _prelu,
    'Softmax': _softmax,
    **dict.fromkeys(('Add', 'Sub', 'Mul', 'Max', 'Min', 'Sum'), _elementwise),
    **dict.fromkeys(('Relu', 'LeakyRelu', 'Sigmoid', 'Tanh', 'BatchNormalization'), _fits),
}
_QDQ = 'a DLA takes ranges, not Q/DQ (through TensorRT 10): build it from the range table'
_MOVES = 'moves values between dimensions'
_NEVER = {
    'QuantizeLinear': _QDQ,
    'DequantizeLinear': _QDQ,
    'Cast': 'converts types between layers',
    **dict.fromkeys(('Reshape', 'Transpose', 'Flatten', 'Squeeze', 'Unsqueeze'), _MOVES),
    'SpaceToDepth': _MOVES,
    'DepthToSpace': _MOVES,
}
_NOTES = {
    'Sigmoid': 'INT8: computed in FP16',
    'Tanh': 'INT8: computed in FP16',
    'Concat': 'INT8: all inputs and the output share one range',
    'MaxPool': 'INT8: input and output share one range',
    'AveragePool': 'INT8: input and output share one range',
}
