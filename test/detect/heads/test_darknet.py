"""Darknet's YOLOv3 and v4 find what darknet's own formula and ONNX's suppression find."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from darknet_cfgs import SCALES, darknet_boxes, written_cfg
from dense_graphs import ANCHORS, CLASSES, DenseGraph, yolov5_maps
from oracle import assert_same, centred, detected, run, suppressed
from test_yolov8 import IMAGES, LIMITS
from tiny_models import HEIGHT, WIDTH

from yolox_trt_ros.core.errors import ModelError
from yolox_trt_ros.detect.model import load_model_spec


def stretched(image: np.ndarray) -> np.ndarray:
    whole = cv2.resize(image, (WIDTH, HEIGHT))
    return whole[:, :, ::-1].transpose(2, 0, 1)[None].astype(np.float32) / 255


def with_cfg(path: Path, make: Callable[[Path], Path] = yolov5_maps, **cfg: object) -> Path:
    """Write a model with a cfg beside it that its YAML names."""
    (path.parent / 'cfg').mkdir(exist_ok=True)
    written_cfg(path.parent / 'cfg' / 'my.cfg', **cfg)
    path.with_suffix('.yaml').write_text('darknet_cfg: cfg/my.cfg\n')
    return make(path)


def check(path: Path, plain: Path, scales: tuple[float, ...], new_coords: bool = False) -> None:
    """Compare what is found with darknet's boxes of another model's raw maps."""
    for image, found in zip(IMAGES, detected(path, IMAGES, LIMITS), strict=True):
        maps = [m[0] for m in run(plain, stretched(image))]
        boxes, scores = darknet_boxes(maps, scales, new_coords)
        rows = suppressed(boxes, scores, LIMITS, centre=True)
        rows[:, 2:] *= np.tile([image.shape[1] / WIDTH, image.shape[0] / HEIGHT], 2)
        assert_same(found, rows)


@pytest.mark.parametrize('scales', [(1.0, 1.0, 1.0), SCALES], ids=['v3', 'v4'])
@pytest.mark.parametrize('last', [False, True], ids=['channels', 'last'])
def test_maps_with_what_the_cfg_says(tmp_path: Path, scales: tuple, last: bool) -> None:
    path = with_cfg(tmp_path / 'm.onnx', partial(yolov5_maps, last=last), scales=scales)
    check(path, yolov5_maps(tmp_path / 'plain.onnx'), scales)


@pytest.mark.parametrize('sigmoid', [False, True], ids=['raw', 'sigmoid'])
def test_new_coords(tmp_path: Path, sigmoid: bool) -> None:
    scales = (2.0, 2.0, 1.8)
    path = with_cfg(
        tmp_path / 'm.onnx', partial(yolov5_maps, sigmoid=sigmoid), scales=scales,
        more='new_coords=1\n',
    )  # fmt: skip
    check(path, yolov5_maps(tmp_path / 'plain.onnx'), scales, new_coords=True)


def decoded(path: Path) -> Path:
    """Write corners as shares [batch, anchors, 1, 4] and scores, as PyTorch ports of v4 do."""
    graph, numbers, boxes, scores = DenseGraph(), 5 + CLASSES, [], []
    for s, anchors, scale in zip((8, 16, 32), ANCHORS, SCALES, strict=True):
        height, width = HEIGHT // s, WIDTH // s
        shape = graph.number([0, 3, numbers, height * width], np.int64)
        raw = graph.new('Reshape', graph.map(s, 3 * numbers, 1.0), shape)
        raw = graph.new('Transpose', raw, perm=[0, 1, 3, 2])
        y, x = np.mgrid[:height, :width]
        cells = np.stack((x.ravel(), y.ravel()), 1)[None, None] - (scale - 1) / 2
        inside = graph.new('Sigmoid', graph.part(raw, 0, 2, 3))
        inside = graph.new('Mul', inside, graph.number(scale))
        centre = graph.new('Add', inside, graph.number(cells))
        centre = graph.new('Mul', centre, graph.number([1 / width, 1 / height]))
        half = graph.number(np.array(anchors).reshape(1, 3, 1, 2) / [WIDTH, HEIGHT] / 2)
        size = graph.new('Mul', graph.new('Exp', graph.part(raw, 2, 4, 3)), half)
        corners = graph.new('Sub', centre, size), graph.new('Add', centre, size)
        flat = graph.number([0, -1, 1, 4], np.int64)
        boxes.append(graph.new('Reshape', graph.join(*corners, axis=3), flat))
        sure = graph.new('Sigmoid', graph.part(raw, 4, numbers, 3))
        product = graph.new('Mul', graph.part(sure, 0, 1, 3), graph.part(sure, 1, 99, 3))
        scores.append(
            graph.new('Reshape', product, graph.number([0, -1, CLASSES], np.int64))
        )  # fmt: skip
    count = 3 * sum((HEIGHT // s) * (WIDTH // s) for s in (8, 16, 32))
    outputs = {
        graph.join(*boxes): [graph.batch, count, 1, 4],
        graph.join(*scores): [graph.batch, count, CLASSES],
    }
    return graph.write(path, outputs)


def test_decoded_boxes(tmp_path: Path) -> None:
    path = decoded(tmp_path / 'm.onnx')
    with pytest.raises(ModelError, match=r'of a darknet head, .* give letterbox in m\.yaml'):
        load_model_spec(path)
    path.with_suffix('.yaml').write_text('letterbox: stretch\n')
    assert load_model_spec(path).head.family == 'darknet'
    check(path, yolov5_maps(tmp_path / 'plain.onnx'), SCALES)


def test_the_cfg_says_how_it_is_fed(tmp_path: Path) -> None:
    image = load_model_spec(with_cfg(tmp_path / 'm.onnx')).input
    assert (image.letterbox, image.colour, image.scale) == ('stretch', 'rgb', 1 / 255)
    path = with_cfg(tmp_path / 'm.onnx', net='letter_box=1\n')
    assert load_model_spec(path).input.letterbox == 'centre'
    path.with_suffix('.yaml').write_text('darknet_cfg: cfg/my.cfg\nletterbox: top_left\n')
    assert load_model_spec(path).input.letterbox == 'top_left'


def test_letterboxed(tmp_path: Path) -> None:
    path = with_cfg(tmp_path / 'm.onnx', net='letter_box=1\n')
    plain = yolov5_maps(tmp_path / 'plain.onnx')
    path.with_suffix('.yaml').write_text('darknet_cfg: cfg/my.cfg\npad: 114\n')
    for image, found in zip(IMAGES, detected(path, IMAGES, LIMITS), strict=True):
        fed, scale, left, top = centred(image, HEIGHT, WIDTH)
        boxes, scores = darknet_boxes([m[0] for m in run(plain, fed)], SCALES)
        rows = suppressed(boxes, scores, LIMITS, centre=True)
        rows[:, 2:] = (rows[:, 2:] - [left, top] * 2) / scale
        assert_same(found, rows)


def test_a_model_derived_from_it_needs_no_cfg(tmp_path: Path) -> None:
    spec = load_model_spec(with_cfg(tmp_path / 'm.onnx'))
    about = {**spec.head.about(), 'letterbox': spec.input.letterbox}
    derived = yolov5_maps(tmp_path / 'derived.onnx')
    derived.with_suffix('.yaml').write_text(yaml.safe_dump(about))
    assert load_model_spec(derived).head == spec.head


def test_maps_that_are_not_the_cfgs(tmp_path: Path) -> None:
    path = with_cfg(tmp_path / 'm.onnx', partial(yolov5_maps, sigmoid=True))
    with pytest.raises(ModelError, match='through a sigmoid, which they do only where new'):
        load_model_spec(path)
    path = with_cfg(tmp_path / 'm.onnx', mask=2)
    (tmp_path / 'labels.txt').unlink()
    with pytest.raises(ModelError, match='has 7 classes, expected 3 as its'):
        load_model_spec(path)
    path.with_suffix('.yaml').write_text('darknet_cfg: cfg/my.cfg\nstrides: [4, 8, 16]\n')
    with pytest.raises(ModelError, match=r'strides \[8, 16, 32\], expected \[4, 8, 16\]'):
        load_model_spec(path)
    path.with_suffix('.yaml').write_text('head: darknet\n')
    with pytest.raises(ModelError, match=r'give "darknet_cfg" with the name of its \.cfg in m'):
        load_model_spec(path)
    path.with_suffix('.yaml').write_text('darknet_cfg: other.cfg\n')
    with pytest.raises(ModelError, match=r'other\.cfg'):
        load_model_spec(path)
