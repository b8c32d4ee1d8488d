"""The demo as a user calls it, with a tiny model and pictures instead of the rendered world."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from tiny_models import write_yolox

from yolox_trt_ros.__main__ import main
from yolox_trt_ros.core.resources import find_resource
from yolox_trt_ros.vehicle_files import vehicle_parameters


@pytest.mark.ros
def test_report_and_mosaic(tmp_path: Path) -> None:
    images, out = tmp_path / 'images', tmp_path / 'out'
    images.mkdir()
    for seed in range(2):
        pixels = np.random.default_rng(seed).integers(0, 256, (90, 120, 3), np.uint8)
        cv2.imwrite(str(images / f'{seed}.png'), pixels)
    model = write_yolox(tmp_path / 'm.onnx')
    vehicle = tmp_path / 'few_boxes.param.yaml'
    parameters = vehicle_parameters(find_resource('config/vehicles', 'laptop_8cam', '.param.yaml'))
    parameters['model.score_threshold'] = 0.95
    vehicle.write_text(yaml.safe_dump({'/**': {'ros__parameters': parameters}}))
    arguments = ['demo', '--vehicle', vehicle, '--model', model, '--source', images]
    arguments += ['--out', out, '--duration', '3']
    command = [sys.executable, '-m', 'yolox_trt_ros', *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((out / 'report.json').read_text())
    assert len(report['cameras']) == 8 and set(report['lanes']) == {'cpu0', 'cpu1'}
    for camera in report['cameras'].values():
        counted = camera['published'] + camera['dropped'] + camera['pending']
        assert camera['received'] == counted
        assert camera['fps'] > 0
        latency = camera['latency_ms']
        assert 0 < latency['p50'] <= latency['p95'] <= latency['p99']
    assert report['ground_truth'] is None, 'pictures have none'
    assert all(seconds > 0 for seconds in report['cpu_s'].values())
    mosaic = cv2.imread(str(out / 'mosaic.png'))
    tiles = [tile for row in np.vsplit(mosaic, 3) for tile in np.hsplit(row, 3)]
    assert all(tile.std() > 20 for tile in tiles), 'a camera has no picture'
    page = (out / 'report.html').read_text()
    assert 'Every camera gave results: 8 of them.' in page
    assert page.count('data:image/jpeg;base64,') == 8 and cv2.imread(str(out / 'report.png')).any()
    assert f'report {out / "report.html"}' in done.stdout, 'its path is reported'


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--duration', '1'], '--duration: expected at least 2 s, got 1'),
        (['--duration', 'nan'], '--duration: expected at least 2 s, got nan'),
        (['--vehicle', 'laptop'], 'vehicle file "laptop" does not exist'),
    ],
)
def test_wrong_arguments_are_reported(
    arguments: list[str], message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(['demo', '--out', str(tmp_path), *arguments]) == 1
    assert message in capfd.readouterr().err
