"""Open an ONNX file: what no model of this package's may be is refused with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from yolox_trt_ros.core.errors import MissingDependencyError
from yolox_trt_ros.core.model_file import check_external_data, check_model_file, unparsable
from yolox_trt_ros.core.model_limits import check_repeats

if TYPE_CHECKING:
    from onnx import ModelProto


def open_onnx(path: Path) -> ModelProto:
    """Return the model in a file; what lies in files beside it is not read yet.

    Raises:
        ModelError: the file is missing, not ONNX, cut off, without its external data, or a graph
            that may run for ever.
        MissingDependencyError: the ``onnx`` package is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise MissingDependencyError(
            'reading a model needs the package "onnx": pip install onnx'
        ) from error
    check_model_file(path)
    try:
        model = onnx.load_model_from_string(path.read_bytes())
    except Exception as error:
        raise unparsable(path, error) from error
    if not model.graph.node:
        raise unparsable(path, 'it holds no graph')
    check_external_data(path, model)
    check_repeats(path, model)
    return model


def computes_in_half(model: ModelProto) -> bool:
    """Return whether a model works in float16, however its weights are stored."""
    import onnx

    weights = {weight.name for weight in model.graph.initializer}
    half = onnx.TensorProto.FLOAT16
    inputs = [i for i in model.graph.input if i.name not in weights]
    return any(i.type.tensor_type.elem_type == half for i in inputs) or any(
        node.op_type == 'Cast'
        and node.input[0] not in weights
        and any(a.name == 'to' and a.i == half for a in node.attribute)
        for node in model.graph.node
    )


def with_constants(model: ModelProto, values: Mapping[str, np.ndarray]) -> ModelProto:
    """Return a model in which some inputs always have the same value, and are none any more.

    Those that it does not have are passed over.
    """
    from onnx import numpy_helper

    given = [i.name for i in model.graph.input if i.name in values]
    if not given:
        return model
    made = type(model)()
    made.CopyFrom(model)
    inputs = [i for i in model.graph.input if i.name not in values]
    del made.graph.input[:]
    made.graph.input.extend(inputs)
    made.graph.initializer.extend(numpy_helper.from_array(values[n], n) for n in given)
    return made
