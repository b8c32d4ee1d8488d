"""YOLOX in the layouts of other exporters finds what Megvii's export finds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from oracle import assert_same, detected
from test_yolov8 import IMAGES
from tiny_models import write_yolox

from yolox_trt_ros.core.model import Thresholds
from yolox_trt_ros.detect.model import load_model_spec

LIMITS = Thresholds(0.2, max_detections=1000)
FLOAT = TensorProto.FLOAT


def joined(path: Path, groups: list[list[int]], scores: str) -> Path:
    """Write maps of which some of a level are one output: box 0, objectness 1, classes 2."""
    model = onnx.load(str(write_yolox(path, layout='per_level', scores=scores)))
    outputs = list(model.graph.output)
    del model.graph.output[:]
    for i in range(0, len(outputs), 3):
        for k, group in enumerate(groups):
            some = [outputs[i + place] for place in group]
            model.graph.node.append(
                helper.make_node('Concat', [o.name for o in some], [f'out_{i}_{k}'], axis=1)
            )
            shape = [d.dim_value or 'n' for d in some[0].type.tensor_type.shape.dim]
            shape[1] = sum(o.type.tensor_type.shape.dim[1].dim_value for o in some)
            model.graph.output.append(helper.make_tensor_value_info(f'out_{i}_{k}', FLOAT, shape))
    onnx.save(model, str(path))
    return path


@pytest.mark.parametrize('scores', ['probability', 'logit'])
@pytest.mark.parametrize('groups', [[[0, 1, 2]], [[2, 0, 1]], [[0, 1], [2]], [[2], [0, 1]]])
def test_maps_that_are_joined(tmp_path: Path, groups: list[list[int]], scores: str) -> None:
    path = joined(tmp_path / 'm.onnx', groups, scores)
    head = load_model_spec(path).head
    assert (head.family, len(head.outputs)) == ('yolox', 3 * len(groups))
    plain = detected(write_yolox(tmp_path / 'plain.onnx'), IMAGES, LIMITS)
    for a, b in zip(plain, detected(path, IMAGES, LIMITS), strict=True):
        assert_same(b, np.column_stack((a.class_id, a.score, a.xyxy)))


@pytest.mark.parametrize('boxes', ['grid', 'pixel'])
def test_an_output_without_an_axis_for_the_batch(tmp_path: Path, boxes: str) -> None:
    path = write_yolox(tmp_path / 'm.onnx', batch=1, boxes=boxes)
    plain = detected(path, IMAGES, LIMITS)
    model = onnx.load(str(path))
    (output,) = model.graph.output
    shape = [d.dim_value for d in output.type.tensor_type.shape.dim][1:]
    axes = helper.make_tensor('axes', TensorProto.INT64, [1], [0])
    model.graph.initializer.append(axes)
    model.graph.node.append(helper.make_node('Squeeze', [output.name, 'axes'], ['rows']))
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info('rows', FLOAT, shape))
    onnx.save(model, str(path))
    assert load_model_spec(path).head.batched(load_model_spec(path).input, 1) == [tuple(shape)]
    for a, b in zip(plain, detected(path, IMAGES, LIMITS), strict=True):
        assert_same(b, np.column_stack((a.class_id, a.score, a.xyxy)))
