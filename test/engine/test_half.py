"""Models in float16: every file that is written passes ONNX's checker."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from yolox_trt_ros.engine.half import to_half


def two_resizes() -> onnx.ModelProto:
    """Return a model whose two Resize nodes read one constant, as exporters write them."""
    scales = numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), 'scales')
    nodes = [
        helper.make_node('Resize', ['x', '', 'scales'], ['middle'], 'first', mode='nearest'),
        helper.make_node('Resize', ['middle', '', 'scales'], ['y'], 'second', mode='nearest'),
    ]
    x = helper.make_tensor_value_info('x', TensorProto.FLOAT, [1, 1, 2, 2])
    y = helper.make_tensor_value_info('y', TensorProto.FLOAT, [1, 1, 8, 8])
    graph = helper.make_graph(nodes, 'two_resizes', [x], [y], [scales])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid('', 13)], ir_version=8)


@pytest.mark.parametrize('float32_borders', [False, True])
def test_a_constant_of_several_readers_is_cast_once(float32_borders: bool) -> None:
    half = to_half(two_resizes(), float32_borders=float32_borders)
    onnx.checker.check_model(half, full_check=True)
    session = onnxruntime.InferenceSession(
        half.SerializeToString(), providers=['CPUExecutionProvider']
    )
    x = np.arange(4, dtype=np.float32 if float32_borders else np.float16).reshape(1, 1, 2, 2)
    (y,) = session.run(None, {'x': x})
    np.testing.assert_array_equal(y, x.repeat(4, axis=2).repeat(4, axis=3))
