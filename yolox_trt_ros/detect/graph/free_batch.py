"""A model whose file says one batch size, for calls of any size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.model import InputSpec
from yolox_trt_ros.onnx_files import with_constants


def with_free_batch(path: Path, max_batch: int, image: InputSpec) -> bytes:
    """Return an ONNX file's content with a free first axis of its one input and its outputs.

    It is tried with two black images, for a batch size can also be built into a reshape.

    Args:
        path: a model that ONNX Runtime loads, with one float image input of fixed shape.
        max_batch: what is wanted, for the message.
        image: how the model is fed.

    Raises:
        ConfigError: the graph works with its own batch size only.
    """
    model = with_constants(onnx.load(str(path)), image.constants())
    own = image_of(model).type.tensor_type.shape.dim[0].dim_value or 1
    content = freed(model)
    if content is None:
        raise ConfigError(
            f'max_batch: expected {own} for {path.name}, whose graph works with one batch size '
            f'only, got {max_batch}: export the model with a free batch size, or take its twin '
            'with nine maps (`optimize` makes one)'
        )
    return content


def freed(model: Any) -> bytes | None:
    """Return a model's content with a free first axis; None: the graph works with its own only.

    Args:
        model: ``onnx.ModelProto``; it is changed.
    """
    _set_batch(model, 'batch')
    content = bytes(model.SerializeToString())
    return content if _takes_two(content) else None


def with_batch(content: bytes, size: int) -> bytes:
    """Return the content of a model of free batch size with one size written into it."""
    model = onnx.ModelProto.FromString(content)
    _set_batch(model, size)
    return bytes(model.SerializeToString())


def content_of(path: Path, image: InputSpec) -> bytes:
    """Return an ONNX file's content, with the weights that may lie in a file beside it.

    Inputs beside the image become constants: rows of one image, which hold for all.
    """
    model = with_constants(onnx.load(str(path)), image.constants())
    return bytes(model.SerializeToString())


def image_of(model: Any) -> Any:
    """Return the one input of an ``onnx.ModelProto`` that is no weight."""
    weights = {weight.name for weight in model.graph.initializer}
    (image,) = (i for i in model.graph.input if i.name not in weights)
    return image


def _set_batch(model: Any, batch: int | str) -> None:
    """Write a batch size, or the name of an open one, and drop the shapes that followed from it."""
    for tensor in (image_of(model), *model.graph.output):
        for axis in tensor.type.tensor_type.shape.dim[:1]:
            if isinstance(batch, int):
                axis.dim_value = batch
            else:
                axis.dim_param = batch
    del model.graph.value_info[:]


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
