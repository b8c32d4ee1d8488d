"""Run a prepared model with ONNX Runtime and return its outputs, inner tensors included."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx

from yolox_trt_ros.core.errors import ModelError
from yolox_trt_ros.core.prepared import PreparedModel
from yolox_trt_ros.detect.backends.onnxruntime_cuda import provider_options, require_onnxruntime
from yolox_trt_ros.onnx_files import computes_in_half


class PreparedRun:
    """All outputs of a prepared model, and some of its inner tensors, for one picture at a time.

    ONNX Runtime does not fuse across a tensor that is given out.

    Args:
        prepared: what is run.
        inner: names of tensors inside it to give out as well.
        ort: the ``onnxruntime`` module.
        providers: of its session; :func:`on_gpu` gives those of a lane.

    Attributes:
        names: of the tensors that are given out.

    Raises:
        ModelError: ONNX Runtime does not load it.
    """

    def __init__(
        self, prepared: PreparedModel, inner: Sequence[str], ort: Any, providers: Sequence[Any]
    ) -> None:
        model = onnx.load_model_from_string(prepared.content)
        known = {output.name for output in model.graph.output}
        made = {name for node in model.graph.node for name in node.output}
        for name in inner:
            if name in made - known:
                model.graph.output.append(onnx.ValueInfoProto(name=name))
        options = ort.SessionOptions()
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(
                model.SerializeToString(), options, providers=list(providers)
            )
        except Exception as error:
            raise ModelError(f'{prepared.path}: ONNX Runtime cannot load it: {error}') from error
        self._image, self._dtype = prepared.spec.input.name, prepared.spec.input.dtype
        self._batch = prepared.spec.input.batch or 1
        self.names = [output.name for output in self._session.get_outputs()]

    def __call__(self, picture: np.ndarray) -> dict[str, np.ndarray]:
        """Return float32 outputs (1, …) by name for float32 (3, height, width)."""
        images = np.repeat(picture[None], self._batch, axis=0).astype(self._dtype)
        found = self._session.run(None, {self._image: images})
        return {n: np.asarray(f, np.float32) for n, f in zip(self.names, found, strict=True)}


def on_gpu(prepared: PreparedModel, index: int) -> tuple[Any, list[Any]]:
    """Return the ``onnxruntime`` module and the providers of a lane on ``cuda:index``.

    Raises:
        MissingDependencyError: no ONNX Runtime that uses the GPU.
    """
    half = computes_in_half(onnx.load_model_from_string(prepared.content))
    options = provider_options(half, prepared.precision != 'fp32')
    provider = ('CUDAExecutionProvider', {'device_id': str(index), **options})
    return require_onnxruntime(), [provider, 'CPUExecutionProvider']
