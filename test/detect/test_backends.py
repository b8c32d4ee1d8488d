"""The table of backends, and a backend that is added as docs/extending.md says."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_models import write_yolox

from yolox_trt_ros.compose import lane_specs, load_model
from yolox_trt_ros.core.backends import BACKENDS, DEVICES, BackendInfo
from yolox_trt_ros.core.config import Config
from yolox_trt_ros.core.detector import Detected
from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.doctor import software
from yolox_trt_ros.doctor.finding import Severity, Wanted
from yolox_trt_ros.schedule.pipeline import Pipeline, PipelineOptions


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add the one row that a backend needs beside its own file."""
    row = BackendInfo(
        'toy_backend:lane_detector', {'cpu': 'pip install onnx'}, ('onnx.reference',), 'reference'
    )
    monkeypatch.setitem(BACKENDS, 'toy', row)


def vehicle(model: Path, backend: str, device: str = 'cpu') -> Config:
    return Config.from_parameters({
        'camera_names': ['front'],
        'lane_names': ['a'],
        'lanes.a.backend': backend,
        'lanes.a.device': device,
        'lanes.a.max_batch': 2,
        'model.path': str(model),
    })  # fmt: skip


def detector_of(config: Config) -> Any:
    (lane,) = lane_specs(config, load_model(config.model))
    return lane.factory()


@pytest.mark.parametrize('name', BACKENDS)
def test_every_row_names_a_factory_and_how_to_install_it(name: str) -> None:
    info = BACKENDS[name]
    module, _, function = info.factory.partition(':')
    factory = getattr(importlib.import_module(module), function)
    assert list(inspect.signature(factory).parameters) == ['lane', 'setup']
    assert set(info.install) <= set(DEVICES)
    assert info.simulated or (all(info.install.values()) and info.modules and info.title)


@pytest.mark.usefixtures('toy')
def test_a_backend_from_outside_detects_what_the_others_do(tmp_path: Path) -> None:
    path = write_yolox(tmp_path / 'm.onnx')
    random = np.random.default_rng(0)
    frames = [Frame.of(random.integers(0, 256, (60, 90, 3), np.uint8)) for _ in range(2)]
    found = []
    for backend in ('toy', 'onnxruntime'):
        detector = detector_of(vehicle(path, backend))
        results = detector.submit(frames).wait()
        assert all(isinstance(result, Detected) and len(result.detections) for result in results)
        found.append([result.detections for result in results])
        detector.close()
    for mine, expected in zip(*found, strict=True):
        np.testing.assert_array_equal(mine.class_id, expected.class_id)
        np.testing.assert_allclose(mine.xyxy, expected.xyxy, atol=0.01)


@pytest.mark.usefixtures('toy')
def test_a_backend_from_outside_runs_a_lane_of_the_pipeline(tmp_path: Path) -> None:
    config = vehicle(write_yolox(tmp_path / 'm.onnx'), 'toy')
    published: list[int] = []
    image = np.zeros((60, 90, 3), np.uint8)

    def sink(frame: Frame, *_: object) -> None:
        published.append(frame.sequence)

    specs = lane_specs(config, load_model(config.model))
    with Pipeline(config.cameras, specs, sink, options=PipelineOptions(lockstep=True)) as pipeline:
        for sequence in range(3):
            pipeline.offer(Frame.of(image, camera='front', sequence=sequence))
        assert pipeline.drain()
    assert published == [0, 1, 2]


@pytest.mark.usefixtures('toy')
def test_configuration_and_doctor_know_a_backend_from_outside(tmp_path: Path) -> None:
    config = vehicle(tmp_path / 'm.onnx', 'toy')
    judged = {finding.topic: finding.level for finding in software.backends(Wanted.of(config))}
    assert judged['reference'] is Severity.OK
    with pytest.raises(ConfigError, match=r'lanes\.a\.backend: a cuda lane needs one of onnxr'):
        vehicle(tmp_path / 'm.onnx', 'toy', 'cuda:0')


def test_doctor_says_how_to_install_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    row = BackendInfo('none:none', {'cpu': 'pip install this'}, ('no_such_module',), 'missing')
    monkeypatch.setitem(BACKENDS, 'missing', row)
    config = vehicle(Path('m.onnx'), 'missing')
    (found,) = (f for f in software.backends(Wanted.of(config)) if f.topic == 'missing')
    assert (found.level, found.remedy) == (Severity.FAIL, 'pip install this')
    (found,) = (f for f in software.backends(Wanted()) if f.topic == 'missing')
    assert found.level is Severity.OK
