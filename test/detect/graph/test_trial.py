"""Graphs whose file does not say how large their tensors get are tried within limits."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tiny_models import write_yolox

from yolox_trt_ros.core.errors import ModelError
from yolox_trt_ros.detect.graph.trial import TrialError, measured_shapes
from yolox_trt_ros.detect.model import load_model_spec


def test_shapes_of_inner_tensors(tmp_path: Path) -> None:
    path = write_yolox(tmp_path / 'm.onnx', batch=1)
    found = measured_shapes(path, (1, 3, 64, 96), ['box_8', 'output'], 2 << 30)
    assert found == {'box_8': (1, 4, 8, 12), 'output': (1, 126, 8)}


def growing(path: Path, power: int) -> None:
    """Add to a model's output the sum of 2^power zeros; the number depends on the image."""
    model = onnx.load(str(path))
    graph = model.graph
    weights = {'zero': np.float32(0), 'many': np.int64(1 << power), 'one': np.array([1])}
    graph.initializer.extend(numpy_helper.from_array(np.array(v), k) for k, v in weights.items())
    graph.node.extend(
        [
            helper.make_node('ReduceMax', ['images'], ['most'], keepdims=0),
            helper.make_node('Mul', ['most', 'zero'], ['nothing']),
            helper.make_node('Cast', ['nothing'], ['nought'], to=TensorProto.INT64),
            helper.make_node('Add', ['nought', 'many'], ['count']),
            helper.make_node('Reshape', ['count', 'one'], ['size']),
            helper.make_node('ConstantOfShape', ['size'], ['zeros']),
            helper.make_node('ReduceSum', ['zeros'], ['total'], keepdims=0),
            helper.make_node('Add', ['output', 'total'], ['end']),
        ]
    )
    graph.output[0].name = 'end'
    onnx.save(model, str(path))


def test_tensors_that_grow_at_run_time(tmp_path: Path) -> None:
    path = write_yolox(tmp_path / 'm.onnx', batch=1)
    growing(path, 10)
    assert load_model_spec(path).head.boxes == 'grid'
    path = write_yolox(tmp_path / 'm.onnx', batch=1)
    growing(path, 40)
    with pytest.raises(ModelError, match=r'how large its tensors get .* does not run within'):
        load_model_spec(path)


def test_what_onnx_runtime_says_is_reported(tmp_path: Path) -> None:
    path = write_yolox(tmp_path / 'm.onnx', batch=1)
    with pytest.raises(TrialError, match=r'does not run within 2048 MiB: .*'):
        measured_shapes(path, (1, 3, 64, 64), ['nowhere'], 2 << 30)


def test_shapes_that_are_computed_from_the_inputs_need_no_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As PyTorch exports an open batch: the last reshape takes it from the image's shape."""
    path = write_yolox(tmp_path / 'm.onnx', batch='batch')
    model = onnx.load(str(path))
    graph = model.graph
    weights = {'first': np.int64(0), 'axis': np.array([0]), 'rest': np.array([8, -1])}
    graph.initializer.extend(numpy_helper.from_array(np.array(v), k) for k, v in weights.items())
    made = [
        helper.make_node('Shape', ['images'], ['sizes']),
        helper.make_node('Gather', ['sizes', 'first'], ['batch_size']),
        helper.make_node('Unsqueeze', ['batch_size', 'axis'], ['batch_axis']),
        helper.make_node('Concat', ['batch_axis', 'rest'], ['target'], axis=0),
    ]
    for node in graph.node:
        node.input[:] = ['target' if name == 'flat' else name for name in node.input]
    for node in reversed(made):
        graph.node.insert(0, node)
    onnx.save(model, str(path))
    monkeypatch.setattr('yolox_trt_ros.detect.graph.tensors.measured_shapes', pytest.fail)
    assert load_model_spec(path).head.boxes == 'grid'
