"""Run a TensorRT engine and time it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from yolox_trt_ros.core.model import ModelSpec
from yolox_trt_ros.detect.backends.tensorrt import Engine, TensorRtBackend
from yolox_trt_ros.detect.cuda.runtime import SETUP_LOCK, CudaDevice, require_cupy
from yolox_trt_ros.detect.cuda.step import Step

UNTIMED_RUNS = 10


@dataclass(frozen=True, slots=True)
class Timing:
    """What running an engine showed.

    Attributes:
        median_ms, p99_ms: of one call of the largest batch, between two events on the stream.
        borders: layout of each input and output, as the engine has it.
        layers: how many the engine has, by the engine inspector.
        layer_times: (name, milliseconds) by TensorRT's profiler, if asked for.
    """

    median_ms: float
    p99_ms: float
    borders: dict[str, str]
    layers: int
    layer_times: list[tuple[str, float]] = field(default_factory=list)


def time_engine(
    engine: Engine,
    spec: ModelSpec,
    device: CudaDevice,
    dla_core: int | None,
    batch: int,
    runs: int,
    per_layer: bool,
) -> Timing:
    """Return an engine's times.

    Args:
        engine: which one.
        spec: of the model that it was built from.
        device, dla_core: where it runs.
        batch: images of one call.
        runs: calls that are timed.
        per_layer: whether each layer is timed, too.

    Raises:
        EngineError, ModelError: the engine does not run here.
    """
    cupy, stream = require_cupy(), device.stream()
    backend = TensorRtBackend(engine, spec, device, stream, batch, dla_core)
    try:
        with SETUP_LOCK, stream:
            step = Step(stream, [batch], backend.infer, backend.recordable)
        spans = []
        events = [cupy.cuda.Event(), cupy.cuda.Event()]
        for _ in range(UNTIMED_RUNS + runs):
            events[0].record(stream)
            step.launch(batch)
            events[1].record(stream)
            events[1].synchronize()
            spans.append(cupy.cuda.get_elapsed_time(*events))
        median, p99 = np.percentile(spans[UNTIMED_RUNS:], (50, 99)).tolist()
        return Timing(
            median,
            p99,
            {tensor.name: tensor.format.lower() for tensor in backend.tensors},
            backend.layers(),
            backend.layer_times() if per_layer else [],
        )
    finally:
        backend.close()
