"""Feed an engine what a model was fed, and read what it answers."""

from __future__ import annotations

from typing import Any

import numpy as np

from yolox_trt_ros.core.model import ModelSpec
from yolox_trt_ros.detect.backends.tensorrt import TensorRtBackend
from yolox_trt_ros.detect.cuda.preprocess import InputFormat


class EngineRun:
    """An engine's outputs for one picture at a time.

    Args:
        backend: the engine, loaded; batch 1.
        spec: of the model that it was built from.
        stream: that the backend enqueues on.
        arrays: the module of the backend's arrays: ``cupy``, or ``numpy``.
    """

    def __init__(self, backend: TensorRtBackend, spec: ModelSpec, stream: Any, arrays: Any) -> None:
        self._backend, self._spec, self._stream = backend, spec, stream
        self._arrays = arrays

    def __call__(self, picture: np.ndarray) -> dict[str, np.ndarray]:
        """Return float32 outputs (1, …) by name for float32 (3, height, width)."""
        backend = self._backend
        with self._stream:
            backend.input[:1] = self._arrays.asarray(packed(picture, backend.form))
            backend.infer(1)
        self._stream.synchronize()
        found = zip(self._spec.outputs, backend.outputs, strict=True)
        return {name: _on_host(output[:1]) for name, output in found}


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
    return np.asarray(host, np.float32)
