"""Layouts of a TensorRT engine's inputs and outputs, and how to read them as rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from yolox_trt_ros.core.errors import ModelError
from yolox_trt_ros.detect.cuda.preprocess import InputFormat, Layout

_LAYOUTS: dict[str, Layout] = {
    'LINEAR': 'nchw',
    'DLA_LINEAR': 'nchw',
    'CHW16': 'chw16',
    'CHW32': 'chw32',
    'DLA_HWC4': 'hwc4',
}
_TYPES = {
    'FLOAT': np.float32,
    'HALF': np.float16,
    'INT8': np.int8,
    'INT32': np.int32,
    'INT64': np.int64,
}


@dataclass(frozen=True, slots=True)
class EngineTensor:
    """One input or output of an execution context.

    TensorRT counts strides in vectors: a vector holds ``components`` channels, the last one of a
    pixel padded with what has no meaning (``ICudaEngine::getTensorComponentsPerElement``,
    ``IExecutionContext::getTensorStrides``).

    Attributes:
        name: as in the ONNX.
        dtype: of a component.
        format: TensorRT's name of the layout, such as ``CHW16``.
        shape: [n, c, h, w] or [n, anchors, values], free sizes resolved.
        strides: in vectors, one for each axis of ``shape``.
        components: channels in a vector; 1 where channels are planes.
    """

    name: str
    dtype: Any
    format: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    components: int

    @classmethod
    def of(cls, engine: Any, context: Any, name: str) -> EngineTensor:
        """Return a tensor of an engine as a context with its shapes set has it.

        Raises:
            ModelError: its type or its layout is none that this package writes or reads.
        """
        kind = engine.get_tensor_dtype(name).name
        layout = engine.get_tensor_format(name).name
        if kind not in _TYPES or layout not in _LAYOUTS:
            raise ModelError(
                f'{name}: expected {" or ".join(_TYPES)} in one of the layouts '
                f'{", ".join(_LAYOUTS)}, the engine has {kind} in {layout}'
            )
        return cls(
            name,
            np.dtype(_TYPES[kind]),
            layout,
            tuple(context.get_tensor_shape(name)),
            tuple(context.get_tensor_strides(name)),
            max(1, engine.get_tensor_components_per_element(name)),
        )

    @property
    def vectors(self) -> tuple[int, ...]:
        """Return the shape counted in vectors: channels divided by ``components``, rounded up."""
        batch, channels, *rest = self.shape
        return (batch, -(-channels // self.components), *rest)

    @property
    def plain(self) -> bool:
        """Return whether it lies in memory as a C-contiguous array, and not in int8."""
        dense = tuple(int(np.prod(self.shape[axis + 1 :])) for axis in range(len(self.shape)))
        moving = [axis for axis, size in enumerate(self.shape) if size > 1]
        return (
            self.components == 1
            and self.dtype != np.int8
            and self.size == np.prod(self.shape)
            and all(self.strides[axis] == dense[axis] for axis in moving)
        )

    @property
    def size(self) -> int:
        """Return how many components its memory holds, padding included."""
        reach = [n * stride for n, stride in zip(self.vectors, self.strides, strict=True)]
        return max(reach) * self.components

    def input_format(self, quantum: float) -> InputFormat:
        """Return the form in which the preprocessor has to write it.

        Args:
            quantum: for int8, the value of one step.

        Raises:
            ModelError: rows or planes are padded in a way that the preprocessor does not write.
        """
        form = InputFormat(self.dtype, _LAYOUTS[self.format], quantum)
        batch, channels, height, width = self.shape
        wide = self.components
        expected = (height * width * self.vectors[1], height * width, width, 1)
        if any(
            size > 1 and have != want
            for size, have, want in zip(self.vectors, self.strides, expected, strict=True)
        ):
            raise ModelError(
                f'{self.name}: the engine pads its {self.format} input (strides {self.strides} for '
                f'{batch}x{channels}x{height}x{width}, expected {expected} vectors of {wide}): '
                'rebuild it with this package, which asks for CHW16 or CHW32'
            )
        return form

    def unpack(self, raw: Any, out: Any, quantum: float, arrays: Any = np) -> None:
        """Copy the values of a tensor that is not :attr:`plain` to a dense array.

        Args:
            raw: one-dimensional array of :attr:`size` components.
            out: array of :attr:`shape`, float32 or float16.
            quantum: what a raw 1 stands for.
            arrays: the module of both arrays: ``cupy``, which only enqueues, or ``numpy``.
        """
        item = self.dtype.itemsize
        steps = tuple(stride * self.components * item for stride in self.strides)
        view = arrays.lib.stride_tricks.as_strided(
            raw, (*self.vectors, self.components), (*steps, item)
        )
        channels = self.shape[1]
        for group in range(self.vectors[1]):
            first = group * self.components
            some = min(self.components, channels - first)
            values = arrays.moveaxis(view[:, group, ..., :some], -1, 1)
            arrays.multiply(values, out.dtype.type(quantum), out=out[:, first : first + some])
