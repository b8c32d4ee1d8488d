"""YOLOv5 and YOLOv7 find what their own graph and ONNX's suppression find, and are no YOLOX."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import yaml
from dense_graphs import ANCHORS, CELLS, CLASSES, yolov5, yolov5_maps
from oracle import assert_same, centred, detected, run, suppressed
from test_yolov8 import IMAGES, LIMITS
from tiny_models import HEIGHT, WIDTH, write_yolox

from yolox_trt_ros.core.errors import ModelError
from yolox_trt_ros.detect.model import load_model_spec

ABOUT = {'head': 'yolov5', 'anchors': [n for level in ANCHORS for n in level]}


def expected(path: Path, image: np.ndarray) -> np.ndarray:
    fed, scale, left, top = centred(image, HEIGHT, WIDTH)
    output = run(path, fed)[0][0]
    scores = output[:, 4:5] * output[:, 5 : 5 + CLASSES]
    rows = suppressed(output[:, :4], scores, LIMITS, centre=True)
    rows[:, 2:] = (rows[:, 2:] - [left, top] * 2) / scale
    return rows


@pytest.mark.parametrize('masks', [0, 6])
def test_decoded_boxes(tmp_path: Path, masks: int) -> None:
    path = yolov5(tmp_path / 'm.onnx', masks)
    head = load_model_spec(path).head
    assert (head.family, head.classes) == ('yolov5', CLASSES)
    assert head.shapes(load_model_spec(path).input) == [(3 * CELLS, 5 + CLASSES + masks)]
    for image, found in zip(IMAGES, detected(path, IMAGES, LIMITS), strict=True):
        assert_same(found, expected(path, image))


@pytest.mark.parametrize(
    'make',
    [yolov5_maps, partial(yolov5_maps, last=True), partial(yolov5_maps, sigmoid=True)],
    ids=['channels', 'last', 'probabilities'],
)
def test_maps_with_the_anchors_of_the_yaml(tmp_path: Path, make: partial) -> None:
    path, decoded = make(tmp_path / 'm.onnx'), yolov5(tmp_path / 'decoded.onnx')
    path.with_suffix('.yaml').write_text(yaml.safe_dump(ABOUT))
    for image, found in zip(IMAGES, detected(path, IMAGES, LIMITS), strict=True):
        assert_same(found, expected(decoded, image))


def test_maps_without_anchors_are_asked_about(tmp_path: Path) -> None:
    path = yolov5_maps(tmp_path / 'm.onnx')
    with pytest.raises(ModelError, match=r'give "anchors" in m\.yaml beside it'):
        load_model_spec(path)
    path.with_suffix('.yaml').write_text(yaml.safe_dump({**ABOUT, 'head': 'yolox'}))
    with pytest.raises(ModelError):
        load_model_spec(path)
    path.with_suffix('.yaml').write_text(yaml.safe_dump({**ABOUT, 'anchors': [1, 2, 3]}))
    with pytest.raises(ModelError, match='expected widths and heights, as many for each of 3'):
        load_model_spec(path)


def test_the_same_shape_is_yolox_by_another_graph(tmp_path: Path) -> None:
    assert load_model_spec(write_yolox(tmp_path / 'a.onnx')).head.family == 'yolox'
    path = yolov5(tmp_path / 'b.onnx')
    path.with_suffix('.yaml').write_text('head: yolox\n')
    with pytest.raises(ModelError):
        load_model_spec(path)
