"""The one place that turns a configuration into a model, detectors, lanes and a pipeline."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from yolox_trt_ros.core.class_names import canonical
from yolox_trt_ros.core.config import Config, EnginesConfig, LaneConfig, ModelConfig
from yolox_trt_ros.core.detector import Detector
from yolox_trt_ros.core.errors import ConfigError, MissingDependencyError
from yolox_trt_ros.core.host_memory import PageLocks
from yolox_trt_ros.core.model import ModelSpec, Thresholds
from yolox_trt_ros.core.resources import find_resource, resource_names
from yolox_trt_ros.detect.backends.simulated import SimulatedDetector, SimulatedMachine
from yolox_trt_ros.detect.model import load_model_spec
from yolox_trt_ros.engine.progress import Progress
from yolox_trt_ros.schedule.lane import LaneSpec
from yolox_trt_ros.vehicle_files import PROFILE_SUFFIX, load_profile

if TYPE_CHECKING:
    from yolox_trt_ros.detect.backends.tensorrt import Engine
    from yolox_trt_ros.detect.cuda.jpeg import GpuJpeg
    from yolox_trt_ros.detect.cuda.runtime import CudaDevice
    from yolox_trt_ros.engine.lanes import LaneEngine

DEFAULT_MODEL = 'edge_n'
CPU_LANE_NICENESS = 10

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Model:
    """A model file, what is known of it, and thresholds that may change while lanes run."""

    path: Path
    spec: ModelSpec
    thresholds: Thresholds


def load_model(config: ModelConfig) -> Model:
    """Return the model a configuration names.

    Raises:
        ModelError: see :func:`yolox_trt_ros.detect.model.load_model_spec`.
        ConfigError: no model is named and none is packaged.
    """
    name = config.path or DEFAULT_MODEL
    path = find_resource('models', name, '.onnx')
    if not path.is_file() and path == Path(name) and not path.suffix:
        packaged = ', '.join(resource_names('models', '.onnx')) or 'none'
        raise ConfigError(
            f'model.path: expected an ONNX file or the name of a packaged model ({packaged}), '
            f'got "{name}"'
        )
    labels = Path(config.labels).expanduser() if config.labels else None
    spec = replace(load_model_spec(path, labels), antialias=config.antialias)
    return Model(path, spec, thresholds_of(config))


def thresholds_of(config: ModelConfig) -> Thresholds:
    """Return the part of the model's configuration that may change at run time."""
    return Thresholds(
        config.score_threshold,
        config.nms_iou,
        config.class_agnostic,
        config.max_detections,
        config.clip_boxes,
    )


def make_detector(
    lane: LaneConfig,
    model: Model,
    engine: LaneEngine | None = None,
    on_event: Callable[[str], None] | None = None,
) -> Detector:
    """Build the detector of one lane; called on the lane's own thread, again after a fault.

    Args:
        lane: which one.
        model: what it runs.
        engine: of a tensorrt lane; None: taken from the default cache, or built.
        on_event: told what decodes JPEG images on a GPU's lane; None: no JPEG images will come.

    Raises:
        ConfigError: nothing in this package runs that backend on that device.
    """
    _check_supported(lane)
    if lane.backend == 'tensorrt':
        engine = engine or _lane_engine(lane, model, EnginesConfig())
        return _tensorrt_detector(lane, model, engine, on_event)
    if lane.device.startswith('cuda:'):
        return _cuda_detector(lane, model, on_event)
    from yolox_trt_ros.detect.cpu.detector import CpuDetector

    batch = max(lane.max_batch, model.spec.batch)
    if batch > lane.max_batch:
        _log.warning(
            'lane %s: %s always runs %d images, of which %d are empty: set lanes.%s.max_batch to '
            '%d, or export it with a free batch size',
            lane.name, model.path.name, batch, batch - lane.max_batch, lane.name, batch,
        )  # fmt: skip
    return CpuDetector(model.path, model.spec, lambda: model.thresholds, batch, lane.threads)


def _check_supported(lane: LaneConfig) -> None:
    """Refuse what no rebuilding of the lane would mend."""
    devices = {'onnxruntime': ('cpu', 'cuda:'), 'tensorrt': ('cuda:', 'dla:')}
    if not lane.device.startswith(devices.get(lane.backend, ())):
        raise ConfigError(
            f'lanes.{lane.name}: there is no {lane.backend} backend for {lane.device}: expected '
            'onnxruntime on cpu or cuda:N, tensorrt on cuda:N or dla:N, or simulated'
        )


def _gpu_jpeg(index: int, lane: str, on_event: Callable[[str], None] | None) -> GpuJpeg | None:
    if on_event is None:
        return None
    from yolox_trt_ros.detect.cuda.jpeg import GpuJpeg
    from yolox_trt_ros.detect.cuda.runtime import MAKING

    try:
        with MAKING:
            jpeg = GpuJpeg(index)
    except MissingDependencyError as error:
        on_event(f'lane {lane}: OpenCV decodes JPEG images on the CPU: {error}')
        return None
    on_event(f'lane {lane}: {jpeg.name} decodes JPEG images on the GPU')
    return jpeg


def _cuda_detector(
    lane: LaneConfig, model: Model, on_event: Callable[[str], None] | None
) -> Detector:
    from yolox_trt_ros.detect.backends.onnxruntime_cuda import OnnxRuntimeCudaBackend
    from yolox_trt_ros.detect.cuda.detector import CudaDetector
    from yolox_trt_ros.detect.cuda.runtime import CudaDevice

    device = CudaDevice(int(lane.device.removeprefix('cuda:')))
    stream = device.stream()
    spec, thresholds = model.spec, lambda: model.thresholds
    backend = OnnxRuntimeCudaBackend(model.path, spec, device, stream, lane.max_batch)
    jpeg = _gpu_jpeg(device.index, lane.name, on_event)
    sizes = lane.max_batch, lane.in_flight
    return CudaDetector(spec, device, stream, backend, thresholds, *sizes, jpeg)


def _tensorrt_detector(
    lane: LaneConfig,
    model: Model,
    engine: LaneEngine,
    on_event: Callable[[str], None] | None,
) -> Detector:
    from yolox_trt_ros.detect.backends.tensorrt import TensorRtBackend
    from yolox_trt_ros.detect.cuda.detector import CudaDetector
    from yolox_trt_ros.detect.cuda.runtime import MAKING

    spec, thresholds = _lane_spec(lane, model), lambda: model.thresholds
    content, device, core = tensorrt_engine(lane, engine)
    stream = device.stream()
    with MAKING:
        backend = TensorRtBackend(content, spec, device, stream, lane.max_batch, core)
    jpeg = _gpu_jpeg(device.index, lane.name, on_event)
    sizes = lane.max_batch, lane.in_flight
    return CudaDetector(spec, device, stream, backend, thresholds, *sizes, jpeg)


def tensorrt_engine(lane: LaneConfig, engine: LaneEngine) -> tuple[Engine, CudaDevice, int | None]:
    """Return a lane's engine, ready to be loaded, its GPU, and its DLA core if it runs on one.

    Raises:
        EngineError: the engine was removed or damaged since.
        MissingDependencyError: there is no GPU, or CuPy is missing.
    """
    from yolox_trt_ros.detect.backends.tensorrt import Engine
    from yolox_trt_ros.detect.cuda.runtime import CudaDevice

    kind, _, number = lane.device.partition(':')
    core = int(number) if kind == 'dla' else None
    cached, tensorrt = engine.load(), engine.tensorrt
    quanta = {tensor['name']: tensor['quantum'] for tensor in cached.facts['tensors']}
    content = Engine(tensorrt.module, tensorrt.logger, cached.engine, cached.path.name, quanta)
    return content, CudaDevice(0 if core is not None else int(number)), core


def _lane_engine(
    lane: LaneConfig,
    model: Model,
    engines: EnginesConfig,
    report: Progress = lambda fraction, lane: None,
    on_event: Callable[[str], None] = lambda message: None,
) -> LaneEngine:
    from yolox_trt_ros.engine.lanes import lane_engine

    return lane_engine(
        lane,
        lane_model(lane, model),
        engines,
        lambda fraction, phase: report(fraction, lane.name),
        lambda message: on_event(f'lane {lane.name}: {message}'),
    )


def lane_model(lane: LaneConfig, model: Model) -> Path:
    """Return the ONNX file that a lane runs."""
    return find_resource('models', lane.model, '.onnx') if lane.model else model.path


def _lane_spec(lane: LaneConfig, model: Model) -> ModelSpec:
    """Return how the lane's own variant of the model is fed and read.

    Raises:
        ConfigError: it knows other classes.
    """
    if not lane.model:
        return model.spec
    spec = replace(load_model_spec(lane_model(lane, model)), antialias=model.spec.antialias)
    if list(map(canonical, spec.labels)) != list(map(canonical, model.spec.labels)):
        raise ConfigError(
            f'lanes.{lane.name}.model: expected the classes of {model.path.name} '
            f'({", ".join(model.spec.labels)}), got {", ".join(spec.labels)}'
        )
    return spec


def lane_specs(
    config: Config,
    model: Model,
    report: Progress = lambda fraction, phase: None,
    on_event: Callable[[str], None] = lambda message: None,
) -> list[LaneSpec]:
    """Return every lane with the function that builds its detector.

    Engines of tensorrt lanes that are missing are built here, which takes minutes.

    Args:
        config: the vehicle.
        model: what the lanes run.
        report: told how far the build of an engine is: fraction, and which lane's it is.
        on_event: told what is worth a line in the log.
    """
    for lane in config.lanes:
        if lane.backend != 'simulated':
            _check_supported(lane)
    cpu_lanes = sum(lane.device == 'cpu' for lane in config.lanes)
    share = max(1, available_cores() // max(1, cpu_lanes))
    lanes = [
        replace(lane, threads=lane.threads or share) if lane.device == 'cpu' else lane
        for lane in config.lanes
    ]
    machine = _simulated_machine(config)
    engines = {
        lane.name: _lane_engine(lane, model, config.engines, report, on_event)
        for lane in lanes
        if lane.backend == 'tensorrt'
    }
    compressed = any(camera.transport == 'compressed' for camera in config.cameras)
    jpeg_event = on_event if compressed else None
    return [
        LaneSpec(lane, _factory(lane, model, machine, engines.get(lane.name), jpeg_event))
        for lane in lanes
    ]


def page_locks(config: Config) -> PageLocks | None:
    """Return what makes images readable for the GPUs among the lanes; None if there are none.

    Raises:
        MissingDependencyError: no CuPy, no driver.
    """
    real = (lane.device for lane in config.lanes if lane.backend != 'simulated')
    if not any(device.startswith(('cuda:', 'dla:')) for device in real):
        return None
    from yolox_trt_ros.detect.cuda.page_locks import CudaPageLocks

    return CudaPageLocks()


def available_cores() -> int:
    """Return how many CPU cores this process may use."""
    return len(os.sched_getaffinity(0))


def _factory(
    lane: LaneConfig,
    model: Model,
    machine: SimulatedMachine | None,
    engine: LaneEngine | None,
    jpeg_event: Callable[[str], None] | None,
) -> Callable[[], Detector]:
    def build() -> Detector:
        if machine is not None and lane.backend == 'simulated':
            return SimulatedDetector(machine, lane.name, lane.max_batch)
        if lane.device == 'cpu':
            # Inference takes every cycle it gets; receiving images must not wait for it, or the
            # newest frame is an old one. Threads started from here inherit the niceness.
            # Relative to the process: under `nice`, only root could go back to a fixed value.
            nice = os.getpriority(os.PRIO_PROCESS, os.getpid()) + CPU_LANE_NICENESS
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), min(19, nice))
        return make_detector(lane, model, engine, jpeg_event)

    return build


def _simulated_machine(config: Config) -> SimulatedMachine | None:
    """Return what the simulated lanes share, or None if there are none."""
    lanes = [lane for lane in config.lanes if lane.backend == 'simulated']
    if not lanes:
        return None
    if not config.profile:
        raise ConfigError(
            f'profile: lane {lanes[0].name} is simulated and needs an engine profile; packaged '
            f'ones: {", ".join(resource_names("config/profiles", PROFILE_SUFFIX))}'
        )
    profile = load_profile(config.profile)
    return SimulatedMachine({lane.name: profile.lane(lane) for lane in lanes})
