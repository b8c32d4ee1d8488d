"""TensorRT's calibrators, fed with our pictures, and their ranges beside ours.

TensorRT is a stand-in that reads the pictures where it is told that they lie.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from host_tensorrt_builder import host_tensorrt_builder
from tiny_models import HEIGHT, WIDTH, write_yolox

from yolox_trt_ros.core.errors import ConfigError, EngineError
from yolox_trt_ros.engine import tensorrt_calibration
from yolox_trt_ros.engine.model_facts import ModelFacts, model_facts
from yolox_trt_ros.engine.scales import difference_of, scale_table
from yolox_trt_ros.engine.statistics import Method
from yolox_trt_ros.engine.tensorrt_calibration import tensorrt_ranges
from yolox_trt_ros.engine.tensorrt_versions import TensorRT

METHODS = ('tensorrt-entropy', 'tensorrt-minmax', 'tensorrt-percentile:99.99')


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelFacts:
    """Return a model; the device that pictures are copied to is the host."""
    kept: list[np.ndarray] = []

    def address(picture: np.ndarray) -> int:
        kept[:] = [np.ascontiguousarray(picture, np.float32)]
        return kept[0].ctypes.data

    monkeypatch.setattr(tensorrt_calibration, '_device_copy', lambda: address)
    path = write_yolox(tmp_path / 'm.onnx', layout='per_level', strides=(8,), batch=1)
    return model_facts(path)


def pictures(*largest: float) -> Iterator[np.ndarray]:
    for value in largest:
        yield np.full((3, HEIGHT, WIDTH), value, np.float32)


@pytest.mark.parametrize('method', METHODS)
def test_every_picture_reaches_the_calibrator(model: ModelFacts, method: str) -> None:
    tensorrt = TensorRT(host_tensorrt_builder())
    reports: list[str] = []
    found = tensorrt_ranges(
        tensorrt,
        model,
        pictures(10, 200, 30),
        Method.parse(method),
        lambda fraction, phase: reports.append(phase),
    )
    assert found['images'] == pytest.approx(200)
    assert set(list(found.values())[1:]) == {63.5}
    assert 'calibrated with 1 batches' in reports
    (builder,) = tensorrt.module.made
    assert builder.config.flags == {'INT8'} and builder.config.builder_optimization_level == 0
    if 'percentile' in method:
        assert builder.config.int8_calibrator.get_quantile() == pytest.approx(0.9999)


def test_picture_that_cannot_be_read_is_the_error(model: ModelFacts) -> None:
    def broken() -> Iterator[np.ndarray]:
        yield from pictures(1)
        raise ConfigError('the second picture is damaged')

    with pytest.raises(ConfigError, match='second picture is damaged'):
        tensorrt_ranges(
            TensorRT(host_tensorrt_builder()), model, broken(), Method('entropy', tensorrt=True)
        )


def test_calibrator_that_writes_nothing(model: ModelFacts) -> None:
    with pytest.raises(EngineError, match=r'm\.onnx: TensorRT 8\.6\.1 wrote no calibration cache'):
        tensorrt_ranges(
            TensorRT(host_tensorrt_builder()), model, pictures(), Method('minmax', tensorrt=True)
        )


def test_tensorrt_without_calibrators(model: ModelFacts) -> None:
    module = host_tensorrt_builder('11.0.0')
    del module.IInt8EntropyCalibrator2
    with pytest.raises(ConfigError, match=r'has no calibrators, 8\.5 to 10 have'):
        tensorrt_ranges(TensorRT(module), model, pictures(1), Method('entropy', tensorrt=True))


@pytest.mark.parametrize('text', METHODS)
def test_names_of_methods(text: str) -> None:
    method = Method.parse(text)
    assert method.tensorrt and str(method) == text
    with pytest.raises(ConfigError, match='tensorrt-minmax, tensorrt-entropy'):
        Method.parse('tensorrt-fixed:6')


def test_ranges_side_by_side() -> None:
    found: dict[str, Any] = {
        'entropy': {'a': 1.0, 'b': 2.0, 'c': 3.0},
        'tensorrt-entropy': {'a': 1.0, 'b': 1.0},
    }
    assert scale_table(found) == 'tensor,entropy,tensorrt-entropy\na,1,1\nb,2,1\nc,3,\n'
    line = difference_of(found['entropy'], found['tensorrt-entropy'])
    assert line.startswith('ours divided by theirs, 2 of 3 tensors: median 1.500')
    assert line.endswith('most apart: b 2.00, a 1.00')
    assert difference_of({'a': 1.0}, {'b': 1.0}) == 'no tensor has the same name in both'
