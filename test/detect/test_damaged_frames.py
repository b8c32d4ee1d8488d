"""What is wrong with one frame costs its batch nothing, and keeps nothing of the frame."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from damaged import DAMAGES, PICTURE, damaged_frame, no_collector
from tiny_models import write_yolox

from yolox_trt_ros.core.detector import Detected
from yolox_trt_ros.core.errors import DropReason, FrameError
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.model import Thresholds
from yolox_trt_ros.detect.backends.onnxruntime import cpu_detector
from yolox_trt_ros.detect.cpu.detector import CpuDetector
from yolox_trt_ros.detect.model import load_model_spec


@pytest.fixture
def cpu(tmp_path: Path) -> CpuDetector:
    path = write_yolox(tmp_path / 'tiny.onnx')
    return cpu_detector(path, load_model_spec(path), Thresholds, max_batch=3)


def good() -> Frame:
    return Frame('front', 0, 0, 0, '', 'bgr8', 60, 80, 240, PICTURE.reshape(-1))


@pytest.mark.parametrize('kind', DAMAGES)
def test_an_error_that_is_kept_keeps_no_frame(cpu: CpuDetector, kind: str) -> None:
    with no_collector():
        frame = damaged_frame(kind)
        memory = weakref.ref(frame.data)
        results = cpu.submit([good(), frame, good()]).wait()
        alone = cpu.submit([frame]).wait()
        del frame
        assert memory() is None
    assert isinstance(results[0], Detected) and isinstance(results[2], Detected)
    for result in (results[1], *alone):
        assert isinstance(result, FrameError)
        assert result.__traceback__ is result.__cause__ is result.__context__ is None


def raising(error: Exception) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    ('error', 'message'),
    [
        (cv2.error('inside OpenCV'), 'inside OpenCV'),
        (MemoryError('no more'), 'there is no memory for an image of 80x60: no more'),
        (ValueError('of NumPy'), 'ValueError: of NumPy'),
    ],
)
def test_whatever_reading_one_frame_raises_is_that_frames(
    cpu: CpuDetector, monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
) -> None:
    monkeypatch.setattr('yolox_trt_ros.detect.cpu.preprocess.cv2.resize', raising(error))
    (result,) = cpu.submit([good()]).wait()
    assert isinstance(result, FrameError) and result.reason is DropReason.UNSUPPORTED
    assert message in str(result)


def test_the_time_for_a_frame_is_reported_whatever_became_of_it(cpu: CpuDetector) -> None:
    jpeg = cv2.imencode('.jpg', np.zeros((900, 1200, 3), np.uint8))[1].reshape(-1)
    whole = Frame('front', 0, 0, 0, '', 'jpeg', 900, 1200, 0, jpeg)
    lies = Frame('front', 0, 0, 0, '', 'jpeg', 900, 1201, 0, jpeg)
    detected, refused = cpu.submit([whole, lies]).wait()
    assert detected.prepare_ns > 100_000 and refused.prepare_ns > 100_000
