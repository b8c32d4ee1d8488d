"""A model whose file says one batch size, for calls of any size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort

from yolox_trt_ros.core.errors import ConfigError


def with_free_batch(path: Path, max_batch: int) -> bytes:
    """Return an ONNX file's content with a free first axis of its input and outputs.

    It is tried with two black images, for a batch size can also be built into a reshape.

    Args:
        path: a model that ONNX Runtime loads, with one float image input of fixed shape.
        max_batch: what is wanted, for the message.

    Raises:
        ConfigError: the graph works with its own batch size only.
    """
    model = onnx.load(str(path))
    graph = model.graph
    weights = {weight.name for weight in graph.initializer}
    (image,) = (i for i in graph.input if i.name not in weights)
    own = image.type.tensor_type.shape.dim[0].dim_value or 1
    image.type.tensor_type.shape.dim[0].dim_param = 'batch'
    del graph.value_info[:]
    for output in graph.output:
        output.type.tensor_type.ClearField('shape')
    content = bytes(model.SerializeToString())
    if not _takes_two(content):
        raise ConfigError(
            f'max_batch: expected {own} for {path.name}, whose graph works with one batch size '
            f'only, got {max_batch}: export the model with a free batch size, or take its twin '
            'with nine maps (`optimize` makes one)'
        )
    return content


def _takes_two(content: bytes) -> bool:
    options = ort.SessionOptions()
    options.log_severity_level = 4  # what is found out here is no error
    session = ort.InferenceSession(content, options, providers=['CPUExecutionProvider'])
    image = session.get_inputs()[0]
    dtype = {'tensor(float16)': np.float16, 'tensor(uint8)': np.uint8}.get(image.type, np.float32)
    try:
        outputs = session.run(None, {image.name: np.zeros((2, *image.shape[1:]), dtype)})
    except Exception:  # ONNX Runtime's errors share no other base class
        return False
    return all(len(output) == 2 for output in outputs)
