"""Rewrites of single layers, exact by construction: stem, pools, upsampling; and one that is not.

Each is a rule of onnxscript's rewriter: ``pattern`` names the layers, ``check`` refuses those that
differ from what the rewrite holds for, ``rewrite`` gives the layers that take their place.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from yolox_trt_ros.core.errors import MissingDependencyError

try:
    from onnxscript import ir
    from onnxscript.rewriter import MatchResult, RewriteRuleClassBase
except ImportError as error:
    raise MissingDependencyError(
        'rewriting a model needs the package "onnxscript": pip install onnxscript'
    ) from error

MAX_POOL_WINDOW = 8
"""Widest pooling window of a DLA."""


class FocusToConv(RewriteRuleClassBase):
    """Four slices of stride 2, joined, and a convolution → one convolution of twice the stride.

    Patch p of YOLOX's Focus holds the pixels at (row, column) offset o(p) of each 2x2 square, in
    the order top left, bottom left, top right, bottom right. The kernel for patch p therefore goes
    to the rows and columns 2·i + o(p) of a kernel of twice the size. The offsets are read from the
    slices, so any order is right.
    """

    def pattern(self, op: Any, a: Any, b: Any, c: Any, d: Any, weight: Any) -> Any:
        """Match a convolution of four joined maps."""
        patches = op.Concat(a, b, c, d, _allow_other_attributes=True, _outputs=['patches'])
        others = {'_allow_other_inputs': True, '_allow_other_attributes': True}
        return op.Conv(patches, weight, **others, _outputs=['conv'])

    def check(self, op: Any, *args: Any, **values: Any) -> MatchResult:
        """Accept four slices that together hold each pixel of one image once."""
        node, patches, weight = _producer(values['conv']), values['patches'], values['weight']
        result = MatchResult()
        found = [_patch_offset(values[name]) for name in 'abcd']
        self._source, self._offsets = found[0][0], [offset for _, offset in found]
        same = all(source is self._source for source, _ in found)
        if not same or {*self._offsets} != {(0, 0), (0, 1), (1, 0), (1, 1)}:
            return result.fail('the four maps are not the pixels of 2x2 squares')
        if _producer(patches).attributes.get_int('axis', 1) not in (1, -3):
            return result.fail('they are not joined along the channels')
        if ir.convenience.get_const_tensor(weight) is None or not _is_plain(node):
            return result.fail('the convolution has groups, dilation or computed weights')
        return result

    def rewrite(self, op: Any, *args: Any, **values: Any) -> Any:
        """Return the convolution of the image."""
        node, weight = _producer(values['conv']), values['weight']
        tensor = ir.convenience.get_const_tensor(weight)
        assert tensor is not None
        small = tensor.numpy()
        outputs, channels, height, width = small.shape
        channels //= 4
        large = np.zeros((outputs, channels, 2 * height, 2 * width), small.dtype)
        for p, (row, column) in enumerate(self._offsets):
            part = small[:, p * channels : (p + 1) * channels]
            large[:, :, row::2, column::2] = part
        return op.Conv(
            self._source,
            op.initializer(ir.tensor(large), name=f'{weight.name}_focus'),
            *node.inputs[2:],
            kernel_shape=[2 * height, 2 * width],
            strides=[2 * s for s in node.attributes.get_ints('strides', [1, 1])],
            pads=[2 * p for p in node.attributes.get_ints('pads', [0, 0, 0, 0])],
        )


class WidePoolToChain(RewriteRuleClassBase):
    """A max pool too wide for a DLA → a chain of narrow ones; 9 = two of 5, 13 = three.

    Exact: the maximum over a window is the maximum over the maxima of windows that cover it, and
    padding is minus infinity. Equal beginnings of several chains are merged afterwards.
    """

    def pattern(self, op: Any, x: Any) -> Any:
        """Match any max pool."""
        return op.MaxPool(x, _allow_other_attributes=True, _outputs=['pool'])

    def check(self, op: Any, *args: Any, **values: Any) -> MatchResult:
        """Accept centred square windows of odd size and stride 1."""
        attributes = _producer(values['pool']).attributes
        height, width = attributes.get_ints('kernel_shape', [0, 0])
        plain = (
            set(attributes.get_ints('strides', [1])) == {1}
            and set(attributes.get_ints('dilations', [1])) == {1}
            and set(attributes.get_ints('pads', [0])) == {height // 2}
            and not attributes.get_int('ceil_mode', 0)
        )
        if height != width or height % 2 == 0 or height <= MAX_POOL_WINDOW or not plain:
            return MatchResult().fail('not a wide, square, centred window of stride 1')
        return MatchResult()

    def rewrite(self, op: Any, x: ir.Value, pool: ir.Value) -> Any:
        """Return the chain."""
        same = _producer(pool).attributes
        left = same.get_ints('kernel_shape', [])[0] - 1
        while left:
            window = min(5, left + 1)
            narrow = {'kernel_shape': [window] * 2, 'pads': [window // 2] * 4}
            x = op.MaxPool(x, **{**same, **narrow})
            left -= window - 1
        return x


class UpsampleByWholeFactors(RewriteRuleClassBase):
    """A nearest-neighbour resize to a whole multiple → constant scales, asymmetric and floor."""

    def pattern(self, op: Any, x: Any) -> Any:
        """Match any resize."""
        return op.Resize(
            x, _allow_other_inputs=True, _allow_other_attributes=True, _outputs=['resized']
        )

    def check(self, op: Any, *args: Any, **values: Any) -> MatchResult:
        """Accept those that take the same source pixels."""
        node = _producer(values['resized'])
        before, after = _static(values['x']), _static(values['resized'])
        result = MatchResult()
        if not before or not after or _text(node, 'mode', 'nearest') != 'nearest':
            return result.fail('no static shapes, or no nearest neighbours')
        if any(b % a for a, b in zip(before, after, strict=True)):
            return result.fail('the factors are not whole')
        self._scales = [b // a for a, b in zip(before, after, strict=True)]
        if self._scales[:2] != [1, 1] or not all(map(self._same_pixels(node), self._scales[2:])):
            return result.fail('other source pixels')
        scales = ir.convenience.get_const_tensor(node.inputs[2]) if node.inputs[2] else None
        if scales is not None and scales.size and _how(node) == ('asymmetric', 'floor'):
            return result.fail('as it should be already')
        return result

    @staticmethod
    def _same_pixels(node: ir.Node) -> Any:
        def same(scale: int) -> bool:
            pixels = [_source_pixel(i, scale, *_how(node)) for i in range(8 * scale)]
            return pixels == [i // scale for i in range(8 * scale)]

        return same

    def rewrite(self, op: Any, x: ir.Value, resized: ir.Value) -> Any:
        """Return the plain form."""
        node = _producer(resized)
        scales = ir.tensor(np.array(self._scales, np.float32))
        return op.Resize(
            x,
            node.inputs[1],
            op.initializer(scales, name=f'{resized.name}_scales'),
            mode='nearest',
            coordinate_transformation_mode='asymmetric',
            nearest_mode='floor',
        )


class SiluToRelu6(RewriteRuleClassBase):
    """x · sigmoid(x) → min(max(x, 0), 6). Another function: the network has to learn it again."""

    def pattern(self, op: Any, x: Any) -> Any:
        """Match SiLU as exporters write it."""
        return op.Mul(x, op.Sigmoid(x))

    def rewrite(self, op: Any, x: ir.Value) -> Any:
        """Return the clip."""
        bounds = [
            op.initializer(ir.tensor(np.float32(v)), name=f'{x.name}_{name}')
            for name, v in (('low', 0), ('high', 6))
        ]
        return op.Clip(x, *bounds)


def _producer(value: ir.Value) -> ir.Node:
    node = value.producer()
    assert node is not None
    return node


def _text(node: ir.Node, name: str, default: str) -> str:
    return node.attributes.get_string(name, default) or default


def _static(value: ir.Value) -> list[int]:
    """Return a shape, or nothing if a part of it is unknown."""
    dims = [d if isinstance(d, int) else 0 for d in value.shape or []]
    return dims if all(dims) else []


def _is_plain(node: ir.Node) -> bool:
    attributes = node.attributes
    return (
        attributes.get_int('group', 1) == 1
        and tuple(attributes.get_ints('dilations', [1, 1])) == (1, 1)
        and _text(node, 'auto_pad', 'NOTSET') == 'NOTSET'
    )


def _patch_offset(value: ir.Value) -> tuple[ir.Value, tuple[int, int]]:
    """Return the map that slices were taken of, and which row and column of 2x2 squares they take.

    An offset of −1 means that they take something else.
    """
    shape = _static(value)
    starts, steps = {2: 0, 3: 0}, {2: 1, 3: 1}
    while (node := value.producer()) is not None and node.op_type == 'Slice':
        first, _, axes, step = (_numbers(i) for i in [*node.inputs[1:], None, None][:4])
        axes = axes or list(range(len(first)))
        source = node.inputs[0]
        if not first or source is None:
            return value, (-1, -1)
        value = source
        for begin, given, stride in zip(first, axes, step or [1] * len(axes), strict=True):
            axis = given % 4
            if axis not in starts or begin < 0:
                return value, (-1, -1)
            starts[axis] = begin + stride * starts[axis]
            steps[axis] *= stride
    whole = _static(value)
    if not shape or not whole or whole[2:] != [2 * n for n in shape[2:]]:
        return value, (-1, -1)
    if steps != {2: 2, 3: 2}:
        return value, (-1, -1)
    return value, (starts[2], starts[3])


def _numbers(value: ir.Value | None) -> list[int]:
    tensor = ir.convenience.get_const_tensor(value) if value is not None else None
    return [] if tensor is None else [int(v) for v in tensor.numpy().reshape(-1)]


def _how(node: ir.Node) -> tuple[str, str]:
    return (
        _text(node, 'coordinate_transformation_mode', 'half_pixel'),
        _text(node, 'nearest_mode', 'round_prefer_floor'),
    )


def _source_pixel(index: int, scale: int, how: str, rounding: str) -> int:
    """Return the source pixel by ONNX's definition of Resize; -1: another one at times."""
    if how not in ('asymmetric', 'half_pixel', 'pytorch_half_pixel'):
        return -1
    x = index / scale if how == 'asymmetric' else (index + 0.5) / scale - 0.5
    rounded = {
        'floor': math.floor(x),
        'ceil': math.ceil(x),
        'round_prefer_floor': math.ceil(x - 0.5),
        'round_prefer_ceil': math.floor(x + 0.5),
    }
    return max(0, rounded.get(rounding, -1))
