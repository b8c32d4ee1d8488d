"""Run a model in ONNX Runtime on the CPU, and return any of its tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from yolox_trt_ros.core.errors import MissingDependencyError, ModelError

try:
    import onnx
    import onnxruntime as ort
except ImportError as error:
    raise MissingDependencyError(
        'running a model here needs ONNX Runtime: pip install onnx onnxruntime'
    ) from error

if TYPE_CHECKING:
    from onnx import ModelProto


class OnnxRun:
    """A model ready to run.

    Args:
        model: any model with one input.
        also: tensors inside the graph to return besides its outputs.
        literal: run every operator as it stands, so that inner tensors are those of the graph and
            not of what ONNX Runtime makes of it.

    Raises:
        ModelError: ONNX Runtime does not know an operator, or there is not exactly one input.
    """

    def __init__(self, model: ModelProto, also: Sequence[str] = (), literal: bool = False) -> None:
        opened = onnx.ModelProto()
        opened.CopyFrom(model)
        known = {o.name for o in opened.graph.output}
        for name in also:
            if name not in known:
                opened.graph.output.append(onnx.ValueInfoProto(name=name))
        options = ort.SessionOptions()
        options.log_severity_level = 3
        if literal:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            self._session = ort.InferenceSession(
                opened.SerializeToString(), options, providers=['CPUExecutionProvider']
            )
        except Exception as error:
            raise ModelError(f'ONNX Runtime cannot load the model: {error}') from error
        inputs = self._session.get_inputs()
        if len(inputs) != 1:
            raise ModelError(f'expected one input, got {", ".join(i.name for i in inputs)}')
        self.input_name: str = inputs[0].name
        self._dtype = {'tensor(float16)': np.float16, 'tensor(uint8)': np.uint8}.get(
            inputs[0].type, np.float32
        )
        self.shape: list[int | str | None] = inputs[0].shape
        """Of the input; a text or None where it is open."""
        self.names: list[str] = [o.name for o in self._session.get_outputs()]

    def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Return every output and tensor asked for, for (batch, 3, height, width).

        The images are converted to the type of the model's input.

        Raises:
            ModelError: ONNX Runtime cannot run the model on this input.
        """
        try:
            results = self._session.run(None, {self.input_name: images.astype(self._dtype)})
        except Exception as error:
            raise ModelError(f'the model does not run on {list(images.shape)}: {error}') from error
        return dict(zip(self.names, results, strict=True))
