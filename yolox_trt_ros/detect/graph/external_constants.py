"""Constants of an ONNX model that lie in files beside it, without its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from yolox_trt_ros.core.errors import ModelError
from yolox_trt_ros.core.model_file import first_line

WEIGHTS = {
    'Conv': (1, 2),
    'ConvTranspose': (1, 2),
    'ConvInteger': (1,),
    'FusedConv': (1, 2),
    'QLinearConv': (3, 8),
    'Gemm': (1, 2),
    'MatMul': (1,),
}
"""Inputs of operators that are weights and biases."""


def load_constants(path: Path, model: Any) -> None:
    """Read from the files beside a model what may be a shape, a grid or a scale, not its weights.

    Exporters put every constant there, or those of a kilobyte or more.

    Args:
        path: the ONNX file.
        model: ``onnx.ModelProto`` of it, changed in place; :func:`check_external_data` found no
            fault in it.

    Raises:
        ModelError: one cannot be read.
    """
    from onnx.external_data_helper import load_external_data_for_tensor

    weights = {
        node.input[i]
        for node in model.graph.node
        for i in WEIGHTS.get(node.op_type, ())
        if i < len(node.input)
    }
    for tensor in model.graph.initializer:
        if tensor.external_data and tensor.name not in weights:
            try:
                load_external_data_for_tensor(tensor, str(path.parent))
            except Exception as error:
                raise ModelError(
                    f'{path}: its constant {tensor.name} in a file beside it cannot be read: '
                    f'{first_line(error)}'
                ) from error
            del tensor.external_data[:]
            tensor.data_location = tensor.DEFAULT
