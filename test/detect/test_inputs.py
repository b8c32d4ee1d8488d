"""Inputs of other types, sizes and batches than float32, fixed and one."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from tiny_models import write_identity, write_yolox

from yolox_trt_ros.__main__ import main
from yolox_trt_ros.compose import Model, make_detector
from yolox_trt_ros.core.config import LaneConfig
from yolox_trt_ros.core.detector import Detected
from yolox_trt_ros.core.errors import ModelError
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.model import Thresholds
from yolox_trt_ros.detect.model import load_model_spec
from yolox_trt_ros.detector import Detector
from yolox_trt_ros.engine.half import to_half


def boxes(path: Path, image: np.ndarray) -> np.ndarray:
    with Detector(path) as detect:
        d = detect(image)
    return np.column_stack((d.xyxy, d.score, d.class_id))


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (100, 150, 3), np.uint8)


def as_uint8(path: Path) -> None:
    model = onnx.load(str(path))
    for node in model.graph.node:
        node.input[:] = ['as_float' if name == 'images' else name for name in node.input]
    model.graph.node.insert(
        0, helper.make_node('Cast', ['images'], ['as_float'], to=TensorProto.FLOAT)
    )
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    onnx.save(model, str(path))


def test_uint8_takes_pixels_as_they_are(tmp_path: Path, image: np.ndarray) -> None:
    path = write_yolox(tmp_path / 'm.onnx', batch=1)
    expected = boxes(path, image)
    as_uint8(path)
    assert load_model_spec(path).input.dtype == 'uint8'
    np.testing.assert_array_equal(expected, boxes(path, image))
    path.with_suffix('.yaml').write_text('scale: 0.5')
    with pytest.raises(ModelError, match='scale: its input is uint8 and takes pixels as they are'):
        load_model_spec(path)


def test_float16(tmp_path: Path, image: np.ndarray) -> None:
    path = write_yolox(tmp_path / 'm.onnx', batch=1, scores='logit')
    expected = boxes(path, image)
    onnx.save(to_half(onnx.load(str(path))), str(path))
    spec = load_model_spec(path)
    assert (spec.input.dtype, spec.head.scores) == ('float16', 'logit')
    found = boxes(path, image)
    assert abs(len(found) - len(expected)) <= 2, 'near the threshold'
    for box in expected[expected[:, 4] > 0.32]:
        near = found[found[:, 5] == box[5]]
        assert np.abs(near[:, :5] - box[:5]).max(axis=1).min() < 1.0


@pytest.mark.parametrize('kind', ['DOUBLE', 'INT8', 'BFLOAT16'])
def test_other_types_are_refused(tmp_path: Path, kind: str) -> None:
    path = write_yolox(tmp_path / 'm.onnx')
    model = onnx.load(str(path))
    model.graph.input[0].type.tensor_type.elem_type = getattr(TensorProto, kind)
    onnx.save(model, str(path))
    with pytest.raises(ModelError, match=f'is {kind.lower()}, expected float32, float16 or uint8|'
                       'checker refuses'):  # fmt: skip
        load_model_spec(path)


SHAPES = {
    'open size': (['n', 3, 'h', 'w'], r'\[n, 3, h, w\] leaves height and width open.*optimize'),
    'channels last': ([1, 64, 96, 3], r'channels last'),
    'grey': ([1, 1, 64, 96], r'grey images'),
    'gigantic batch': ([1 << 20, 3, 64, 96], r'is refused: expected at most 1024 images'),
    'gigantic size': ([1, 3, 100_000, 96], r'16384 pixels a side'),
    'gigantic in all': ([512, 3, 4096, 4096], r'1 GiB in all'),
}


@pytest.mark.parametrize(('shape', 'message'), SHAPES.values(), ids=SHAPES)
def test_shapes_that_are_refused(tmp_path: Path, shape: list[int | str], message: str) -> None:
    path = write_identity(tmp_path / 'm.onnx', {'x': shape}, {'y': [1, 126, 8]})
    with pytest.raises(ModelError, match=message):
        load_model_spec(path)


def test_fixed_batch_on_a_lane_of_one(
    tmp_path: Path, image: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_yolox(tmp_path / 'one.onnx', batch=1)
    expected = boxes(path, image)
    path = write_yolox(tmp_path / 'four.onnx', batch=4)
    model = Model(path, load_model_spec(path), Thresholds(0.3))
    detector = make_detector(LaneConfig('cpu0', device='cpu', threads=1), model)
    assert 'lane cpu0: four.onnx always runs 4 images, of which 3 are empty' in caplog.text
    (result,) = detector.submit([Frame.of(image)]).wait()
    assert isinstance(result, Detected)
    np.testing.assert_allclose(result.detections.xyxy, expected[:, :4], atol=0.01)


def test_detect_with_a_fixed_batch(tmp_path: Path, image: np.ndarray) -> None:
    path = write_yolox(tmp_path / 'm.onnx', batch=4)
    cv2.imwrite(str(tmp_path / 'a.png'), image)
    out = tmp_path / 'found.json'
    arguments = ['--images', str(tmp_path / 'a.png'), '--json', str(out)]
    assert main(['detect', '--model', str(path), *arguments]) == 0
    (found,) = json.loads(out.read_text())['images'].values()
    expected = boxes(write_yolox(tmp_path / 'one.onnx', batch=1), image)
    assert len(found['detections']) == len(expected) > 5


def test_names_of_darknet_are_names_of_coco(tmp_path: Path) -> None:
    from yolox_trt_ros.evaluation.matching import SharedClasses, numbering

    names = ('motorbike', 'tvmonitor', 'van')
    classes = SharedClasses(names, ('tv', 'motorcycle'))
    assert classes.names == ['tv', 'motorcycle']
    assert numbering(names, classes.names).tolist() == [1, 0, -1]


def test_an_input_of_a_type_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    path = write_yolox(tmp_path / 'm.onnx')
    model = onnx.load(path)
    model.graph.input[0].type.tensor_type.elem_type = 99
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match='of unknown type 99, expected float32'):
        load_model_spec(path)
