"""What runs the network of a GPU's lane, by itself."""

from __future__ import annotations

from typing import Any

from yolox_trt_ros.compose import Model, engine_of_lane, prepared_of_lane, tensorrt_engine
from yolox_trt_ros.core.config import EnginesConfig, LaneConfig
from yolox_trt_ros.core.model import ModelSpec
from yolox_trt_ros.detect.backends.onnxruntime_cuda import OnnxRuntimeCudaBackend
from yolox_trt_ros.detect.backends.protocol import GpuBackend
from yolox_trt_ros.detect.backends.tensorrt import TensorRtBackend
from yolox_trt_ros.detect.cuda.runtime import CudaDevice


def backend_of(
    lane: LaneConfig, model: Model, device: CudaDevice, stream: Any
) -> tuple[ModelSpec, GpuBackend]:
    """Return how the network is fed and read, and what runs it: for full batches of the lane."""
    prepared = prepared_of_lane(lane, model, EnginesConfig())
    spec, batch = prepared.spec if prepared else model.spec, lane.max_batch
    if lane.backend == 'tensorrt':
        engine, _, _ = tensorrt_engine(lane, engine_of_lane(lane, model, EnginesConfig()))
        return spec, TensorRtBackend(engine, spec, device, stream, batch)
    only = [batch]  # recording the other sizes takes long
    return spec, OnnxRuntimeCudaBackend(
        model.path, spec, device, stream, batch, prepared, sizes=only
    )
