"""Quantised nodes as what they stand for: the same nodes in floating point."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

_MOVING = (
    'Reshape',
    'Transpose',
    'Concat',
    'Slice',
    'Gather',
    'Split',
    'Flatten',
    'Squeeze',
    'Unsqueeze',
    'Identity',
)
"""Operators that carry quantised numbers without reading them as numbers."""

_ONE = {'QLinearSigmoid': 'Sigmoid'}
_TWO = {'QLinearAdd': 'Add', 'QLinearMul': 'Mul'}
EXPORT = 'export the model without what follows its head'
COARSEST = 0.1
"""A score that is stored in larger steps than this is none."""


class NotFollowedError(Exception):
    """What a graph's end does cannot be determined; the message says why, as part of a sentence."""


class OtherEndError(NotFollowedError):
    """What a graph's end does is known, and is not what this package reads; a whole sentence."""


class Dequantiser:
    """Rewrites nodes one after the other, in the graph's order.

    A quantised tensor is followed as the real numbers that it stands for. That holds as long as
    everybody reads it by the scale and zero point that it was written with, which is checked.

    Args:
        value: returns a constant, or None for what is computed.
    """

    def __init__(self, value: Callable[[str], np.ndarray | None]) -> None:
        self._value = value
        self._steps: dict[str, tuple[bytes, bytes]] = {}
        self._read: dict[str, float] = {}

    def quantised(self, tensor: str, scale: str, zero: str) -> None:
        """Note by what a tensor is quantised.

        Raises:
            NotFollowedError: by something that is computed.
        """
        self._steps[tensor] = self._step(scale, zero)

    def is_quantised(self, tensor: str) -> bool:
        """Return whether a tensor of the original graph holds quantised numbers."""
        return tensor in self._steps

    def step(self, tensor: str) -> float:
        """Return in which steps a tensor was stored just before, 0 if it was not quantised."""
        return self._read.get(tensor, 0.0)

    def rewritten(self, node: Any) -> list[Any]:
        """Return the nodes in floating point that take a node's place.

        Raises:
            NotFollowedError: it reads a quantised tensor in another way than it was written.
        """
        from onnx import helper

        kind, names, outputs = node.op_type, list(node.input), list(node.output)
        if kind == 'QuantizeLinear' and self._value(names[0]) is None:
            self.quantised(outputs[0], names[1], names[2] if len(names) > 2 else '')
            return [helper.make_node('Identity', names[:1], outputs)]
        if kind == 'DequantizeLinear' and names[0] in self._steps:
            self._expect(names[0], names[1], names[2] if len(names) > 2 else '')
            self._read[outputs[0]] = self._largest(names[1])
            return [helper.make_node('Identity', names[:1], outputs)]
        if kind in _ONE:
            self._expect(*names[:3])
            self.quantised(outputs[0], *names[3:5])
            return [helper.make_node(_ONE[kind], names[:1], outputs)]
        if kind in _TWO:
            return self._of_two(node)
        if kind == 'QLinearConcat':
            for i in range(2, len(names), 3):
                self._expect(*names[i : i + 3])
            self.quantised(outputs[0], *names[:2])
            axis = next(a.i for a in node.attribute if a.name == 'axis')
            return [helper.make_node('Concat', names[2::3], outputs, axis=axis)]
        return self._other(node)

    def _of_two(self, node: Any) -> list[Any]:
        from onnx import helper

        names, nodes, real = list(node.input), [], []
        for tensor, scale, zero in (names[:3], names[3:6]):
            if tensor in self._steps:
                self._expect(tensor, scale, zero)
                real.append(tensor)
            else:  # a constant
                real.append(f'{node.output[0]}__{len(real)}')
                nodes.append(helper.make_node('DequantizeLinear', [tensor, scale, zero], real[-1:]))
        self.quantised(node.output[0], names[6], names[7] if len(names) > 7 else '')
        return [*nodes, helper.make_node(_TWO[node.op_type], real, node.output)]

    def _other(self, node: Any) -> list[Any]:
        steps = [self._steps[name] for name in node.input if name in self._steps]
        if not steps:
            return [node]
        if node.op_type not in _MOVING or len(set(steps)) > 1:
            raise NotFollowedError(f'a {node.op_type} computes with quantised numbers')
        self._steps |= dict.fromkeys(node.output, steps[0])
        return [node]

    def _expect(self, tensor: str, scale: str, zero: str) -> None:
        if self._steps.get(tensor) != self._step(scale, zero):
            raise NotFollowedError(f'{tensor} is read with another scale than it was written with')

    def _largest(self, scale: str) -> float:
        value = self._value(scale)
        return 0.0 if value is None else float(value.max())

    def _step(self, scale: str, zero: str) -> tuple[bytes, bytes]:
        """Return a scale and a zero point so that they can be compared."""
        size, offset = self._value(scale), self._value(zero) if zero else np.zeros(())
        if size is None or offset is None:
            raise NotFollowedError(f'its quantisation {scale} is computed')
        return size.astype(np.float64).tobytes(), offset.astype(np.float64).tobytes()
