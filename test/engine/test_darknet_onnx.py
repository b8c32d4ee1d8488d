"""Darknet's .cfg and .weights as ONNX: what they compute, and in what sentence they are refused."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from darknet_network import HEIGHT, WIDTH, darknet_maps, write_network
from matching import differences
from record_opencv import IMAGE, RECORD

from yolox_trt_ros.__main__ import main
from yolox_trt_ros.core.darknet_cfg import read_cfg
from yolox_trt_ros.core.detector import Detected
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.model import Thresholds
from yolox_trt_ros.detect.backends.onnxruntime import cpu_detector
from yolox_trt_ros.detect.model import load_model_spec

NAMES = 'car\nperson\nbus\n'


def converted(
    folder: Path, new_coords: bool = False, net: str = '', sixth: str = 'relu6'
) -> tuple[Path, Path, Path]:
    cfg, weights = write_network(folder, new_coords, net)
    cfg.write_text(cfg.read_text().replace('relu6', sixth))
    (folder / 'my.names').write_text(NAMES)
    output = folder / 'a.onnx'
    arguments = ['models', 'convert', str(cfg), str(weights), '--labels', str(folder / 'my.names')]
    assert main([*arguments, '--output', str(output)]) == 0
    return cfg, weights, output


@pytest.mark.parametrize('new_coords', [False, True])
def test_maps_are_darknets(tmp_path: Path, new_coords: bool) -> None:
    cfg, weights, output = converted(tmp_path, new_coords)
    session = ort.InferenceSession(str(output), providers=['CPUExecutionProvider'])
    images = np.random.default_rng(0).random((2, 3, HEIGHT, WIDTH), np.float32)
    found = session.run(['yolo_4', 'yolo_8'], {'images': images})
    for i, image in enumerate(images):
        expected = darknet_maps(read_cfg(cfg), weights.read_bytes(), image.astype(np.float64))
        for stride, maps in zip((4, 8), found, strict=True):
            assert np.abs(expected[stride]).max() > 0.5
            np.testing.assert_allclose(maps[i], expected[stride], 1e-3, 1e-4)


@pytest.mark.parametrize('new_coords', [False, True])
def test_detections_are_those_that_opencv_found(tmp_path: Path, new_coords: bool) -> None:
    *_, output = converted(tmp_path, new_coords, sixth='relu')  # OpenCV knows no other
    recorded = json.loads(RECORD.read_text())[str(new_coords)]
    limits = Thresholds(recorded['threshold'], nms_iou=1.0, max_detections=1000)
    detector = cpu_detector(output, load_model_spec(output), lambda: limits, 1, 1)
    (result,) = detector.submit([Frame.of(IMAGE)]).wait()
    assert isinstance(result, Detected)
    found = result.detections
    rows = np.column_stack((found.xyxy, found.score, found.class_id)).tolist()
    assert len(recorded['rows']) > 50
    assert not differences(rows, recorded['rows'], 0.99, 0.005)


def test_what_is_read_of_it(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    *_, output = converted(tmp_path, net='letter_box=1\n')
    said = capsys.readouterr().out
    assert f'24 layers, input {WIDTH}x{HEIGHT}, centre; 3 classes' in said
    spec = load_model_spec(output)
    assert (spec.head.family, spec.labels) == ('darknet', ('car', 'person', 'bus'))
    assert (spec.input.letterbox, spec.input.batch) == ('centre', 0)
    assert spec.head.about()['scale_x_y'] == [1.2, 1.05]
    output.with_suffix('.yaml').write_text('head: darknet\n')
    assert main(['models', 'convert', str(tmp_path / 'a.cfg'), str(tmp_path / 'a.weights')]) == 1
    assert 'would overrule it: remove it' in capsys.readouterr().err


def negative(data: bytes) -> bytes:
    """Return weights whose first variance is below 0."""
    at = 20 + 4 * 3 * 16
    return data[:at] + np.float32(-1).tobytes() + data[at + 4 :]


@pytest.mark.parametrize(
    ('damage', 'said'),
    [
        (lambda data: b'', r'expected darknet weights, got 0 bytes'),
        (lambda data: data[:-400], r'expected \d+ bytes for the 9 convolutions of the cfg, got'),
        (lambda data: data + b'1234', r'they are not its own, or the file is damaged'),
        (lambda data: b'PK\3\4' * 9 + data[36:], r'which begin with a version such as 0\.2'),
        (lambda data: data[:-4] + np.float32('nan').tobytes(), r'some are infinite or none'),
        (negative, r'expected variances for .*line 6, \[convolutional\], some are negative'),
    ],
    ids=['empty', 'short', 'long', 'archive', 'nan', 'variance'],
)
def test_damaged_weights(
    tmp_path: Path, capsys: pytest.CaptureFixture, damage: object, said: str
) -> None:
    cfg, weights = write_network(tmp_path)
    weights.write_bytes(damage(weights.read_bytes()))
    assert main(['models', 'convert', str(cfg), str(weights)]) == 1
    message = ' '.join(capsys.readouterr().err.split())
    assert re.search(said, message), message
    assert not (tmp_path / 'a.onnx').exists()


def test_an_unknown_activation(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    cfg, weights = write_network(tmp_path)
    cfg.write_text(cfg.read_text().replace('=swish', '=gelu'))
    assert main(['models', 'convert', str(cfg), str(weights)]) == 1
    assert 'activation: expected one of linear' in ' '.join(capsys.readouterr().err.split())
