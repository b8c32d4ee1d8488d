"""Lanes of ONNX Runtime on a GPU: models as users have them, in every precision.

A lane that comes up has found in batches of every size what the model finds on a CPU: it checks
that itself, see ``detect.check``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from generated_yolox import write_yolox

from yolox_trt_ros.compose import Model, load_model, make_detector, prepared_of_lane
from yolox_trt_ros.core.config import EnginesConfig, LaneConfig, ModelConfig
from yolox_trt_ros.core.detector import Detected
from yolox_trt_ros.core.errors import MissingDependencyError, ModelError, YoloxTrtRosError
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.detect.backends import onnxruntime_cuda
from yolox_trt_ros.detect.backends.onnxruntime import cpu_detector
from yolox_trt_ros.detect.check import THRESHOLDS, compare, found_in
from yolox_trt_ros.detect.cuda.runtime import CudaDevice
from yolox_trt_ros.engine.half import to_half

pytestmark = pytest.mark.gpu

LANE = LaneConfig('gpu', device='cuda:0', max_batch=3, in_flight=2)
CLASSES = (1, 2, 7, 80, 365)
SIZES = ((32, 32), (96, 160), (160, 192), (352, 224))


@pytest.fixture(autouse=True)
def _gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    try:
        CudaDevice(0)
        onnxruntime_cuda.require_onnxruntime()
    except MissingDependencyError as error:
        pytest.skip(str(error))


def loaded(path: Path) -> Model:
    return load_model(ModelConfig(path=str(path), score_threshold=0.0, nms_iou=1.0))


def photographs(count: int) -> list[Frame]:
    rng = np.random.default_rng(0)
    sizes = [(1280, 1920), (480, 640), (37, 51)]
    return [
        Frame.of(rng.integers(0, 256, (*sizes[i % 3], 3), np.uint8)) for i in range(count)
    ]  # fmt: skip


def check(path: Path, lane: LaneConfig = LANE) -> Any:
    """Run a lane on images of several sizes, and compare with the model itself on a CPU."""
    model = loaded(path)
    detector = make_detector(lane, model)
    try:
        frames = photographs(3)
        spec = model.spec
        on_cpu = cpu_detector(path, spec, lambda: THRESHOLDS, spec.input.batch or 1)
        expected = found_in(on_cpu, frames)
        model.thresholds = THRESHOLDS
        for _ in range(4):  # each replays what was recorded
            for ticket in [detector.submit(frames), detector.submit(frames[:1])]:
                results = ticket.wait()
                assert all(isinstance(result, Detected) for result in results)
        found = [result.detections for result in detector.submit(frames).wait()]
        difference = compare(expected, found)
        # Noise seen through a resize is no picture of the check: a few may be on the edge.
        assert difference.missing <= difference.compared // 20, str(difference)
        return detector
    finally:
        detector.close()


@pytest.mark.parametrize('precision', ['fp32', 'tf32', 'fp16'])
@pytest.mark.parametrize('classes', CLASSES)
def test_any_number_of_classes(tmp_path: Path, precision: str, classes: int) -> None:
    path = write_yolox(tmp_path / 'm.onnx', 'nano', classes=classes)
    detector = check(path, replace(LANE, precision=precision))
    assert detector.recorded


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('decoded', [False, True])
def test_any_multiple_of_32(tmp_path: Path, size: tuple[int, int], decoded: bool) -> None:
    height, width = size
    path = tmp_path / 'm.onnx'
    write_yolox(path, 'nano', height=height, width=width, decoded=decoded)
    check(path)


@pytest.mark.parametrize('borders', [False, True])
@pytest.mark.parametrize('whole', [False, True])
@pytest.mark.parametrize('classes', [1, 80])
def test_float16_files(
    tmp_path: Path, borders: bool, whole: bool, classes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Float16 within, or at its borders too; its head cut, or whole, recorded or not."""
    if whole:
        monkeypatch.setitem(sys.modules, 'yolox_trt_ros.engine.surgery.optimize', None)
    path = write_yolox(tmp_path / 'm.onnx', 'nano', classes=classes, dims=['batch', 3, 160, 192])
    onnx.save(to_half(onnx.load(path), float32_borders=borders), path)
    check(path)


def test_a_whole_head_in_float16_comes_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'yolox_trt_ros.engine.surgery.optimize', None)
    check(write_yolox(tmp_path / 'm.onnx', 'nano', dims=['batch', 3, 160, 192]))


def test_what_breaks_while_it_is_captured_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The network synchronises while it is captured, and does not run any more after that."""
    backend = onnxruntime_cuda.OnnxRuntimeCudaBackend
    infer: Callable[..., None] = backend.infer

    def breaking(self: Any, images: int) -> None:
        if getattr(self, 'broken', False):
            raise RuntimeError('it does not run any more')
        infer(self, images)
        import cupy

        if cupy.cuda.runtime.streamIsCapturing(self._stream.ptr):
            self.broken = True
            self._stream.synchronize()

    monkeypatch.setattr(backend, 'infer', breaking)
    detector = check(write_yolox(tmp_path / 'm.onnx', 'nano'))
    assert not detector.recorded
    assert 'made anew to launch kernels one by one' in caplog.text


def test_a_model_that_the_gpu_computes_differently_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = loaded(write_yolox(tmp_path / 'm.onnx', 'nano'))
    prepared = prepared_of_lane(LANE, model, EnginesConfig())
    assert prepared is not None
    other = replace(prepared, expected=prepared.expected[::-1])
    with pytest.raises(ModelError, match=r'on cuda:0 .*without a counterpart.*precision fp32'):
        make_detector(LANE, model, prepared=other)
    make_detector(LANE, model, prepared=prepared).close()


def test_q_dq_nodes(quantised: Path) -> None:
    """They are computed as they stand, in float32; on a GPU all of them may stay there or not."""
    model = load_model(ModelConfig(path=str(quantised)))
    detector = make_detector(LANE, model)
    (result,) = detector.submit(photographs(1)).wait()
    assert isinstance(result, Detected)
    detector.close()
    with pytest.raises(YoloxTrtRosError, match='ask for precision int8'):
        make_detector(replace(LANE, precision='fp16'), model)
