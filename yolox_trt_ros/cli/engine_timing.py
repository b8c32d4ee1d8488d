"""Run a TensorRT engine and time it, where there is a GPU."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from yolox_trt_ros.core.errors import MissingDependencyError
from yolox_trt_ros.detect.backends.tensorrt import Engine, TensorRtBackend
from yolox_trt_ros.detect.cuda.runtime import MAKING, CudaDevice, require_cupy
from yolox_trt_ros.detect.cuda.step import Step
from yolox_trt_ros.detect.model import load_model_spec
from yolox_trt_ros.engine.cache import CachedEngine
from yolox_trt_ros.engine.cuda_devices import cuda_driver
from yolox_trt_ros.engine.provide import EngineRequest

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
    request: EngineRequest, cached: CachedEngine, runs: int, per_layer: bool
) -> Timing | str:
    """Return an engine's times, or why it cannot be run here.

    Raises:
        EngineError, ModelError: there is a GPU, but the engine does not run on it.
    """
    if not runs:
        return 'not asked for'
    if problem := cuda_driver().problem:
        return f'no GPU: {problem}'
    try:
        cupy = require_cupy()
    except MissingDependencyError as error:
        return str(error)
    options = request.options
    core = options.dla_core
    device = CudaDevice(0 if core is not None else int(options.device.removeprefix('cuda:')))
    stream = device.stream()
    tensorrt = request.tensorrt
    quanta = {tensor['name']: tensor['quantum'] for tensor in cached.facts['tensors']}
    engine = Engine(tensorrt.module, tensorrt.logger, cached.engine, cached.path.name, quanta)
    spec = load_model_spec(request.model.path)
    backend = TensorRtBackend(engine, spec, device, stream, options.batch, core)
    try:
        with MAKING, stream:
            step = Step(stream, [options.batch], backend.infer, backend.recordable)
        spans = []
        events = [cupy.cuda.Event(), cupy.cuda.Event()]
        for _ in range(UNTIMED_RUNS + runs):
            events[0].record(stream)
            step.launch(options.batch)
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
