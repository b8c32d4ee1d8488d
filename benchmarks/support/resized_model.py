"""A model with another input size: the same weights, where the graph works with any."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

from yolox_trt_ros.core.errors import ModelError


def write_resized(path: Path, target: Path, width: int, height: int) -> Path:
    """Write an ONNX file whose input has other sides, and return where.

    Shapes that are constants of the graph for the old size, as reshapes of a head have them, are
    opened: one axis becomes "what is left".

    Raises:
        ModelError: the graph does not run in that size.
    """
    import onnxruntime as ort

    model = onnx.load(str(path))
    (image,) = model.graph.input
    for axis, side in zip(image.type.tensor_type.shape.dim[2:], (height, width), strict=True):
        axis.dim_value = side
    del model.graph.value_info[:]
    for output in model.graph.output:
        output.type.tensor_type.ClearField('shape')
    try:
        session = ort.InferenceSession(
            model.SerializeToString(), providers=['CPUExecutionProvider']
        )
        found = session.run(None, {image.name: np.zeros((1, 3, height, width), np.float32)})
    except Exception as error:
        raise ModelError(f'{path}: does not run with {width}x{height}: {error}') from error
    for output, value in zip(model.graph.output, found, strict=True):
        for side in value.shape:
            output.type.tensor_type.shape.dim.add().dim_value = side
    onnx.save(model, str(target))
    return target
