"""The detector of a lane on a GPU, whatever runs its network."""

from __future__ import annotations

from typing import Any

from yolox_trt_ros.core.backends import LaneSetup
from yolox_trt_ros.core.config import LaneConfig
from yolox_trt_ros.core.errors import MissingDependencyError
from yolox_trt_ros.detect.backends.protocol import GpuBackend
from yolox_trt_ros.detect.cuda.detector import CudaDetector
from yolox_trt_ros.detect.cuda.jpeg import GpuJpeg
from yolox_trt_ros.detect.cuda.runtime import SETUP_LOCK, CudaDevice


def cuda_detector(
    lane: LaneConfig, setup: LaneSetup, device: CudaDevice, stream: Any, backend: GpuBackend
) -> CudaDetector:
    """Return the detector around a backend that was made for the device and the stream."""
    return CudaDetector(
        setup.prepared.spec if setup.prepared else setup.spec,
        device,
        stream,
        backend,
        setup.thresholds,
        lane.max_batch,
        lane.in_flight,
        _jpeg(lane, setup, device),
        setup.prepared.about if setup.prepared else f'{setup.path.name} in {lane.precision}',
        setup.masks,
    )


def _jpeg(lane: LaneConfig, setup: LaneSetup, device: CudaDevice) -> GpuJpeg | None:
    if setup.on_event is None:
        return None
    try:
        with SETUP_LOCK:
            jpeg = GpuJpeg(device.index)
    except MissingDependencyError as error:
        setup.on_event(f'lane {lane.name}: OpenCV decodes JPEG images on the CPU: {error}')
        return None
    setup.on_event(f'lane {lane.name}: {jpeg.name} decodes JPEG images on the GPU')
    return jpeg
