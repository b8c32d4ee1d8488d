"""Read and write ONNX files, with errors that say what is wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from yolox_trt_ros.core.errors import MissingDependencyError, ModelError
from yolox_trt_ros.core.output_files import write_whole
from yolox_trt_ros.onnx_files import open_onnx

try:
    import onnx
except ImportError as error:
    raise MissingDependencyError(
        'work on a model needs the package "onnx": pip install onnx'
    ) from error

if TYPE_CHECKING:
    from onnx import ModelProto


def read_onnx(path: Path) -> ModelProto:
    """Return a checked model with its weights, external ones too.

    Raises:
        ModelError: the file is missing, not ONNX, cut off, without its external data, or a graph
            that may run for ever.
    """
    model = open_onnx(path)
    try:
        onnx.load_external_data_for_model(model, str(path.parent))
    except Exception as error:
        raise ModelError(
            f'{path}: its weights lie in a file beside it that cannot be read ({error}): copy that '
            'file along with the model'
        ) from error
    check_onnx(model, path)
    return model


def check_onnx(model: ModelProto, path: Path) -> None:
    """Refuse a model that contradicts the ONNX standard.

    Raises:
        ModelError: the checker's verdict, with the file's name.
    """
    try:
        onnx.checker.check_model(model)
    except Exception as error:
        raise ModelError(f'{path}: the ONNX checker refuses it: {error}') from error


def write_onnx(model: ModelProto, path: Path) -> None:
    """Write a model whole or not at all, its weights inside.

    Raises:
        YoloxTrtRosError: the folder or the file cannot be written.
        ModelError: the model exceeds 2 GiB.
    """
    try:
        write_whole(path, model.SerializeToString())
    except ValueError as error:
        raise ModelError(f'{path}: a model beyond 2 GiB cannot be one file: {error}') from error
