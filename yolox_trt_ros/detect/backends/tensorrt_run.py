"""Run an engine on given inputs and return its outputs, inner tensors included."""

from __future__ import annotations

from typing import Any

import numpy as np

from yolox_trt_ros.core.errors import EngineError, ModelError
from yolox_trt_ros.detect.backends.tensorrt import Engine, load_engine
from yolox_trt_ros.detect.backends.tensorrt_tensors import EngineTensor
from yolox_trt_ros.detect.cuda.preprocess import InputFormat
from yolox_trt_ros.detect.cuda.runtime import Device


class EngineRun:
    """All outputs of an engine, whatever they are, for one picture at a time.

    Args:
        engine: of batch 1, with one input.
        device: the GPU; for a DLA the one that shares its memory.
        stream: that everything is enqueued on.
        dla_core: the core to run on, or None for the GPU.
        arrays: the module of the device's arrays: ``cupy``, or ``numpy``.

    Attributes:
        names: of the outputs.

    Raises:
        EngineError: TensorRT does not load the engine, or there is no such DLA core.
        ModelError: an output has a type or a layout that this package does not read.
    """

    def __init__(
        self, engine: Engine, device: Device, stream: Any, dla_core: int | None, arrays: Any
    ) -> None:
        self._name, self._stream, self._arrays, self._quanta = (
            engine.name, stream, arrays, engine.quanta
        )  # fmt: skip
        self._runtime, self._engine = load_engine(engine, dla_core)
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise EngineError(f'{self._name}: TensorRT makes no execution context')
        everything = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        inputs = [n for n in everything if self._engine.get_tensor_mode(n).name == 'INPUT']
        if len(inputs) != 1:
            raise ModelError(f'{self._name}: expected one input, got {inputs}')
        self.names = [name for name in everything if name not in inputs]
        image = EngineTensor.of(self._engine, self._context, inputs[0])
        self._form = image.input_format(self._quantum(image))
        self._tensors = [EngineTensor.of(self._engine, self._context, n) for n in self.names]
        with stream:
            self._input = device.zeros((image.size,), image.dtype)
            self._raw = [device.zeros((t.size,), t.dtype) for t in self._tensors]
        for name, array in zip([*inputs, *self.names], [self._input, *self._raw], strict=True):
            if not self._context.set_tensor_address(name, device.address(array)):
                raise EngineError(f'{self._name}: TensorRT refuses the buffer of {name}')

    def __call__(self, picture: np.ndarray) -> dict[str, np.ndarray]:
        """Return float32 outputs (1, …) by name for float32 (3, height, width).

        Raises:
            EngineError: TensorRT refuses to run.
        """
        with self._stream:
            self._input[:] = self._arrays.asarray(packed(picture, self._form).reshape(-1))
            if not self._context.execute_async_v3(self._stream.ptr):
                raise EngineError(f'{self._name}: TensorRT refused to run')
            rows = [self._rows(*pair) for pair in zip(self._tensors, self._raw, strict=True)]
        self._stream.synchronize()
        return {n: _on_host(row) for n, row in zip(self.names, rows, strict=True)}

    def close(self) -> None:
        """Free context, engine and runtime, in this order."""
        self._context = None
        self._engine = None
        self._runtime = None

    def _rows(self, tensor: EngineTensor, raw: Any) -> Any:
        if tensor.plain:
            return raw.reshape(tensor.shape)
        out = self._arrays.zeros(tensor.shape, np.float32)
        tensor.unpack(raw, out, self._quantum(tensor), self._arrays)
        return out

    def _quantum(self, tensor: EngineTensor) -> float:
        return self._quanta[tensor.name] if tensor.dtype == np.int8 else 1.0


def packed(picture: np.ndarray, form: InputFormat) -> np.ndarray:
    """Return a picture, float32 (3, height, width), in the form that an engine takes, batch 1."""
    _, height, width = picture.shape
    values = picture / np.float32(form.quantum)
    if form.dtype == np.int8:
        values = np.clip(np.round(values), -128, 127)
    if form.layout == 'nchw':
        return values[None].astype(form.dtype)
    out = np.zeros(form.shape(1, height, width), form.dtype)
    out[..., :3] = values.transpose(1, 2, 0)
    return out


def _on_host(array: Any) -> np.ndarray:
    host = array.get() if hasattr(array, 'get') else array
    return np.array(host, np.float32)
