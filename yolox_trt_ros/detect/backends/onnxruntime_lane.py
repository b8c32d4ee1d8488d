"""The detector of ONNX Runtime's lanes on a GPU: made, made anew where that helps, and checked."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from yolox_trt_ros.core.backends import LaneSetup
from yolox_trt_ros.core.config import LaneConfig
from yolox_trt_ros.core.errors import ModelError
from yolox_trt_ros.core.model import Thresholds
from yolox_trt_ros.core.prepared import PreparedModel
from yolox_trt_ros.detect.backends.onnxruntime_cuda import OnnxRuntimeCudaBackend
from yolox_trt_ros.detect.check import (
    THRESHOLDS,
    Difference,
    check_frames,
    compare,
    differs,
    found_in,
    refusal,
)
from yolox_trt_ros.detect.cuda.detector import CudaDetector
from yolox_trt_ros.detect.cuda.lane import cuda_detector
from yolox_trt_ros.detect.cuda.runtime import SETUP_LOCK, CudaDevice
from yolox_trt_ros.detect.cuda.step import CaptureError

_log = logging.getLogger(__name__)


def cuda_lane_detector(lane: LaneConfig, setup: LaneSetup) -> CudaDetector:
    """Return the detector of a lane on a GPU.

    Raises:
        ModelError: on this GPU a prepared model finds something else than on a CPU.
    """
    device = CudaDevice(int(lane.device.removeprefix('cuda:')))
    thresholds = CheckedThresholds(setup.thresholds)
    setup = replace(setup, thresholds=thresholds)
    try:
        detector, sizes = _made(lane, setup, device, recordable=True)
    except CaptureError as error:
        _log.warning('lane %s: it is made anew to launch kernels one by one: %s', lane.name, error)
        detector, sizes = _made(lane, setup, device, recordable=False)
    prepared = setup.prepared
    if prepared and prepared.expected:
        try:
            with thresholds.checking():
                difference = _difference(detector, prepared, sizes)
            if differs(difference, prepared.spec.head):
                where = f'{lane.device} ({device.name})'
                raise ModelError(refusal(setup.path.name, prepared.precision, where, difference))
        except Exception:
            detector.close()
            raise
        _log.info('lane %s: %s on %s: %s', lane.name, prepared.about, device.name, difference)
    return detector


def _made(
    lane: LaneConfig, setup: LaneSetup, device: CudaDevice, *, recordable: bool
) -> tuple[CudaDetector, list[int]]:
    """Return the detector and the sizes of its batches; what a failure leaves behind is freed."""
    prepared, stream = setup.prepared, device.stream()
    spec = prepared.spec if prepared else setup.spec
    backend = OnnxRuntimeCudaBackend(setup.path, spec, device, stream, lane.max_batch, prepared)
    backend.recordable = backend.recordable and recordable
    try:
        return cuda_detector(lane, setup, device, stream, backend), backend.sizes
    except Exception:
        with SETUP_LOCK:
            backend.close()
            device.give_back()
        raise


def _difference(
    detector: CudaDetector, prepared: PreparedModel, sizes: Sequence[int]
) -> Difference:
    """Return how far a lane's detections are from the model's own, in batches of every size."""
    frames, expected = check_frames(prepared.spec.input), prepared.expected
    total = Difference()
    for size in sizes:
        places = [i % len(frames) for i in range(min(size, detector.max_batch))]
        found = found_in(detector, [frames[i] for i in places], len(places))
        total += compare([expected[i] for i in places], found)
    return total


class CheckedThresholds:
    """Thresholds of a lane that are others while it is checked.

    Args:
        usual: returns those of the lane.
    """

    def __init__(self, usual: Callable[[], Thresholds]) -> None:
        self._usual, self._checking = usual, False

    def __call__(self) -> Thresholds:
        """Return the thresholds of the next batch."""
        return THRESHOLDS if self._checking else self._usual()

    @contextmanager
    def checking(self) -> Iterator[None]:
        """Let the lane find what :mod:`detect.check` compares."""
        self._checking = True
        try:
            yield
        finally:
            self._checking = False
