"""Inputs for the image's size are fed, and boxes come out where the graph itself puts them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnxruntime as ort
import pytest
import yaml
from dense_graphs import CLASSES
from onnx import helper
from oracle import assert_same, centred, detected, suppressed
from sized_graphs import pp_yoloe, ranked_detr
from test_yolov8 import IMAGES, LIMITS
from tiny_models import HEIGHT, WIDTH

from yolox_trt_ros.core.errors import ModelError
from yolox_trt_ros.detect.graph.free_batch import content_of
from yolox_trt_ros.detect.graph.further_inputs import further_inputs
from yolox_trt_ros.detect.model import load_model_spec

CENTRED = {'letterbox': 'centre', 'mean': [0, 0, 0], 'std': [1, 1, 1], 'head': 'pp_yoloe'}
FED = {'letterbox': 'centre', 'colour': 'rgb', 'scale': 1 / 255}


def described(path: Path, **about: object) -> Path:
    path.with_suffix('.yaml').write_text(yaml.safe_dump(about))
    return path


def run(path: Path, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    session = ort.InferenceSession(str(path), providers=['CPUExecutionProvider'])
    return list(session.run(None, feeds))


@pytest.mark.parametrize('dtype', ['int64', 'float16'])
def test_boxes_are_those_that_the_graph_makes_for_the_images_own_size(
    tmp_path: Path, dtype: str
) -> None:
    """The oracle is fed as RT-DETR's own program feeds it: with each image's width and height."""
    path = described(ranked_detr(tmp_path / 'm.onnx', dtype), head='rt_detr')
    spec = load_model_spec(path)
    assert [(i.name, i.values) for i in spec.input.further] == [
        ('orig_target_sizes', (WIDTH, HEIGHT))
    ]
    for image, found in zip(IMAGES, detected(path, IMAGES, LIMITS), strict=True):
        fed = cv2.resize(image, (WIDTH, HEIGHT))[:, :, ::-1].transpose(2, 0, 1)[None] / 255
        size = np.array([[image.shape[1], image.shape[0]]], dtype)
        labels, boxes, scores = run(
            path, {'images': fed.astype(np.float32), 'orig_target_sizes': size}
        )
        rows = np.column_stack((labels[0], scores[0], boxes[0]))
        assert_same(found, rows[rows[:, 1] > LIMITS.score])


@pytest.mark.parametrize('dtype', ['float32', 'float16'])
def test_boxes_are_divided_by_a_scale_factor(tmp_path: Path, dtype: str) -> None:
    """The oracle is fed as PaddleDetection's own program feeds it: with height's and width's."""
    path = described(pp_yoloe(tmp_path / 'm.onnx', dtype), **CENTRED)
    for image, found in zip(IMAGES, detected(path, IMAGES, LIMITS), strict=True):
        fed, scale, left, top = centred(image, HEIGHT, WIDTH)
        boxes, scores = run(path, {'images': fed, 'scale_factor': np.full((1, 2), scale, dtype)})
        rows = suppressed(boxes[0], scores[0].T, LIMITS, centre=False)
        rows[:, 2:] -= np.array([left, top] * 2) / scale
        assert_same(found, rows)


def test_rows_and_their_number_behind_a_suppression(tmp_path: Path) -> None:
    """PaddleDetection's usual export."""
    path = described(pp_yoloe(tmp_path / 'm.onnx', suppressed=True), **FED)
    whole = described(pp_yoloe(tmp_path / 'whole.onnx'), **CENTRED)
    head = load_model_spec(path).head
    assert (head.family, head.suppressed, head.classes) == ('final', True, CLASSES)
    pairs = zip(detected(path, IMAGES, LIMITS), detected(whole, IMAGES, LIMITS), strict=True)
    for found, expected in pairs:
        assert_same(found, np.column_stack((expected.class_id, expected.score, expected.xyxy)))


def test_a_fixed_batch(tmp_path: Path) -> None:
    path = described(ranked_detr(tmp_path / 'm.onnx', images=3), head='d_fine')
    spec = load_model_spec(path)
    assert (spec.head.family, spec.input.constants(3)['orig_target_sizes'].tolist()) == (
        'd_fine', [[WIDTH, HEIGHT]] * 3,
    )  # fmt: skip
    free = described(ranked_detr(tmp_path / 'free.onnx'), head='d_fine')
    pairs = zip(detected(path, IMAGES, LIMITS), detected(free, IMAGES, LIMITS), strict=True)
    for found, expected in pairs:
        assert_same(found, np.column_stack((expected.class_id, expected.score, expected.xyxy)))


def test_whose_queries_they_are_is_asked(tmp_path: Path) -> None:
    path = ranked_detr(tmp_path / 'm.onnx')
    with pytest.raises(ModelError, match='may be of rt_detr or d_fine: say which under "head"'):
        load_model_spec(path)
    with pytest.raises(ModelError, match='not a rf_detr'):
        load_model_spec(described(path, head='rf_detr'))


def test_an_input_that_nobody_knows_is_asked_about(tmp_path: Path) -> None:
    path = ranked_detr(tmp_path / 'm.onnx', sizes='canvas')
    with pytest.raises(ModelError, match=r'canvas \[0, 2\] of int64, .*under "inputs" in m\.yaml'):
        load_model_spec(path)
    about = {'head': 'rt_detr', 'inputs': {'canvas': [WIDTH, HEIGHT]}}
    assert load_model_spec(described(path, **about)).head.classes == CLASSES


@pytest.mark.parametrize(
    ('given', 'message'),
    [
        # Width and height the other way round, or another picture's: no box is where it was.
        ({'orig_target_sizes': [HEIGHT, WIDTH]}, 'are not the best of its queries'),
        ({'orig_target_sizes': [1920, 1280]}, 'are not the best of its queries'),
        ({'orig_target_sizes': [1, 2, 3]}, r'cannot hold \[1, 2, 3\] for each image'),
        ({'orig_target_sizes': [0.5, 0.5]}, r'cannot hold \[0.5, 0.5\] for each image'),
        ({'orig_target_sizes': 'all'}, 'inputs: orig_target_sizes: expected a list of numbers'),
        ({'other': [1]}, 'it has no input other beside the image, but orig_target_sizes'),
    ],
)
def test_what_it_cannot_be_fed_with(tmp_path: Path, given: dict, message: str) -> None:
    path = ranked_detr(tmp_path / 'm.onnx')
    with pytest.raises(ModelError, match=message):
        load_model_spec(described(path, head='rt_detr', inputs=given))


@pytest.mark.parametrize('dtype', ['int32', 'float32', 'float64', 'uint8'])
def test_types_that_are_fed(dtype: str) -> None:
    number = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    value = helper.make_tensor_value_info('scale_factor', number, ['n', 2])
    (found,) = further_inputs(Path('m.onnx'), [value], {}, (0, 3, HEIGHT, WIDTH))
    assert (found.array(3).dtype, found.array(3).tolist()) == (np.dtype(dtype), [[1, 1]] * 3)


def test_on_a_gpu_they_are_constants(tmp_path: Path) -> None:
    """Which hold for batches of any size."""
    path = described(ranked_detr(tmp_path / 'm.onnx'), head='rt_detr')
    alone = tmp_path / 'alone.onnx'
    alone.write_bytes(content_of(path, load_model_spec(path).input))
    described(alone, head='rt_detr')
    assert load_model_spec(alone).input.further == ()
    pairs = zip(detected(alone, IMAGES, LIMITS), detected(path, IMAGES, LIMITS), strict=True)
    for found, expected in pairs:
        assert_same(found, np.column_stack((expected.class_id, expected.score, expected.xyxy)))


def test_a_type_that_cannot_hold_it(tmp_path: Path) -> None:
    path = ranked_detr(tmp_path / 'm.onnx', 'bool')
    with pytest.raises(ModelError, match=r'of bool cannot hold .* types that are fed: float32'):
        load_model_spec(path)
