"""ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from yolox_trt_ros.core.errors import MissingDependencyError, ModelError
from yolox_trt_ros.core.model import ModelSpec


class OnnxRuntimeCpuBackend:
    """Runs a model on CPU threads of its own.

    Args:
        path: the ONNX file.
        spec: what :func:`detect.model.load_model_spec` read from it.
        threads: CPU threads of one inference.

    Raises:
        MissingDependencyError: the ``onnxruntime`` package is not installed.
        ModelError: ONNX Runtime cannot load or run the model.
    """

    def __init__(self, path: Path, spec: ModelSpec, threads: int) -> None:
        try:
            import onnxruntime as ort
        except ImportError as error:
            raise MissingDependencyError(
                'a cpu lane needs ONNX Runtime: pip install onnxruntime'
            ) from error
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Spinning threads would take the cores from the other lanes and from the ingest thread.
        options.add_session_config_entry('session.intra_op.allow_spinning', '0')
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(
                str(path), options, providers=['CPUExecutionProvider']
            )
        except Exception as error:
            raise ModelError(f'{path}: ONNX Runtime cannot load it: {error}') from error
        self._input = spec.input_name
        self._outputs = list(spec.outputs)

    def infer(self, images: np.ndarray) -> Sequence[np.ndarray]:
        """Return the head outputs for images (batch, 3, height, width), in the spec's order."""
        outputs: Sequence[np.ndarray] = self._session.run(self._outputs, {self._input: images})
        return outputs
