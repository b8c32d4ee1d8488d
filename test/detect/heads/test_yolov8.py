"""YOLOv8 and its successors find what their own graph and ONNX's suppression find."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from dense_graphs import CELLS, CLASSES, HEIGHT, WIDTH, yolov8, yolov8_maps
from oracle import assert_same, centred, detected, run, suppressed

from yolox_trt_ros.__main__ import main
from yolox_trt_ros.core.errors import ModelError
from yolox_trt_ros.core.model import Thresholds
from yolox_trt_ros.detect.model import load_model_spec

LIMITS = Thresholds(score=0.4, max_detections=1000)
IMAGES = [
    np.random.default_rng(i).integers(0, 256, size, np.uint8)
    for i, size in enumerate([(100, 91, 3), (40, 131, 3), (HEIGHT, WIDTH, 3)])
]


def expected(path: Path, image: np.ndarray) -> np.ndarray:
    fed, scale, left, top = centred(image, HEIGHT, WIDTH)
    output = run(path, fed)[0][0].T
    rows = suppressed(output[:, :4], output[:, 4 : 4 + CLASSES], LIMITS, centre=True)
    rows[:, 2:] = (rows[:, 2:] - [left, top] * 2) / scale
    return rows


@pytest.mark.parametrize(
    'write',
    [
        yolov8,
        partial(yolov8, masks=6),
        yolov8_maps,
        partial(yolov8_maps, apart=True),
        partial(yolov8_maps, apart=True, scores='probability'),
    ],
    ids=['flat', 'masks', 'maps', 'maps apart', 'probabilities apart'],
)
def test_every_export_finds_what_the_graph_and_onnx_find(tmp_path: Path, write: partial) -> None:
    found = detected(write(tmp_path / 'm.onnx'), IMAGES, LIMITS)
    decoded = yolov8(tmp_path / 'decoded.onnx')
    for image, detections in zip(IMAGES, found, strict=True):
        assert_same(detections, expected(decoded, image))


def test_what_is_read_of_it(tmp_path: Path) -> None:
    spec = load_model_spec(yolov8(tmp_path / 'm.onnx'))
    assert (spec.head.family, spec.head.classes) == ('yolov8', CLASSES)
    assert (spec.input.letterbox, spec.input.colour, spec.input.pad) == ('centre', 'rgb', 114)
    assert spec.input.scale == pytest.approx(1 / 255)
    assert spec.head.shapes(spec.input) == [(4 + CLASSES, CELLS)]
    assert len(spec.head.branches()) == 3


def test_masks_are_said_to_be_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        spec = load_model_spec(yolov8(tmp_path / 'm.onnx', masks=6))
    assert '6 further numbers of each box are left out' in caplog.text
    assert f'its outputs {spec.left_out[0]} are left out' in caplog.text


def test_the_description_wins_over_the_family(tmp_path: Path) -> None:
    path = yolov8(tmp_path / 'm.onnx')
    path.with_suffix('.yaml').write_text('letterbox: stretch\nscale: 1.0\n')
    spec = load_model_spec(path)
    assert (spec.input.letterbox, spec.input.scale, spec.input.colour) == ('stretch', 1.0, 'rgb')


def test_a_cut_model_finds_the_same(tmp_path: Path) -> None:
    path, cut = yolov8(tmp_path / 'm.onnx'), tmp_path / 'cut.onnx'
    assert main(['optimize', str(path), '--output', str(cut)]) == 0
    spec = load_model_spec(cut)
    assert (spec.head.family, len(spec.head.outputs)) == ('yolov8', 6)
    for image in IMAGES:
        (detections,) = detected(cut, [image], LIMITS)
        assert_same(detections, expected(path, image))


def test_as_many_classes_as_box_channels_are_asked_about(tmp_path: Path) -> None:
    path = yolov8_maps(tmp_path / 'm.onnx', apart=True, classes=64)
    with pytest.raises(
        ModelError, match=r'nothing shows which of its maps .*"outputs" of the YAML'
    ):
        load_model_spec(path)
    outputs = [f'map_{i}' for i in (1, 4, 2, 5, 3, 6)]
    path.with_suffix('.yaml').write_text(f'outputs: {outputs}\n')
    head = load_model_spec(path).head
    assert head.outputs == tuple(outputs)
    assert head.branches()[0] == ('map_1', 'map_4')
