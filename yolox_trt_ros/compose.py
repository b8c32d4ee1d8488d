"""The one place that turns a configuration into a model, detectors, lanes and a pipeline."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from yolox_trt_ros.core.config import Config, EnginesConfig, LaneConfig, ModelConfig
from yolox_trt_ros.core.detector import Detector
from yolox_trt_ros.core.errors import ConfigError, MissingDependencyError
from yolox_trt_ros.core.host_memory import PageLocks
from yolox_trt_ros.core.model import ModelSpec, Thresholds
from yolox_trt_ros.core.profile import Profile
from yolox_trt_ros.core.resources import find_resource, resource_names
from yolox_trt_ros.detect.backends.simulated import SimulatedDetector, SimulatedMachine
from yolox_trt_ros.detect.model import load_model_spec
from yolox_trt_ros.engine.progress import Progress
from yolox_trt_ros.schedule.lane import LaneSpec

if TYPE_CHECKING:
    from yolox_trt_ros.detect.backends.tensorrt import TensorRtBackend
    from yolox_trt_ros.detect.cuda.jpeg import GpuJpeg
    from yolox_trt_ros.detect.cuda.runtime import CudaDevice
    from yolox_trt_ros.engine.lanes import LaneEngine

DEFAULT_MODEL = 'edge_n'
CPU_LANE_NICENESS = 10
VEHICLE_SUFFIX = '.param.yaml'
PROFILE_SUFFIX = '.yaml'


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
    return Model(path, load_model_spec(path, labels), thresholds_of(config))


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

    return CpuDetector(
        model.path, model.spec, lambda: model.thresholds, lane.max_batch, lane.threads
    )


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
    from yolox_trt_ros.detect.cuda.detector import CudaDetector

    spec, thresholds = _lane_spec(lane, model), lambda: model.thresholds
    backend, device, stream = tensorrt_backend(lane, spec, engine)
    jpeg = _gpu_jpeg(device.index, lane.name, on_event)
    sizes = lane.max_batch, lane.in_flight
    return CudaDetector(spec, device, stream, backend, thresholds, *sizes, jpeg)


def tensorrt_backend(
    lane: LaneConfig, spec: ModelSpec, engine: LaneEngine
) -> tuple[TensorRtBackend, CudaDevice, Any]:
    """Load an engine; return what runs it, its device, and the stream that it runs on.

    Raises:
        EngineError: TensorRT does not load it.
        MissingDependencyError: there is no GPU, or a package is missing.
    """
    from yolox_trt_ros.detect.backends.tensorrt import Engine, TensorRtBackend
    from yolox_trt_ros.detect.cuda.runtime import MAKING, CudaDevice

    kind, _, number = lane.device.partition(':')
    core = int(number) if kind == 'dla' else None
    device = CudaDevice(0 if core is not None else int(number))
    stream = device.stream()
    cached = engine.load()
    quanta = {tensor['name']: tensor['quantum'] for tensor in cached.facts['tensors']}
    tensorrt = engine.tensorrt
    loaded = Engine(tensorrt.module, tensorrt.logger, cached.engine, cached.path.name, quanta)
    with MAKING:
        backend = TensorRtBackend(loaded, spec, device, stream, lane.max_batch, core)
    return backend, device, stream


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
    spec = load_model_spec(lane_model(lane, model))
    if spec.labels != model.spec.labels:
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


def load_profile(name: str) -> Profile:
    """Return an engine profile.

    Args:
        name: a path, or the name of a packaged profile.

    Raises:
        ConfigError: the file is missing or not a profile.
    """
    path = find_resource('config/profiles', name, PROFILE_SUFFIX)
    if not path.is_file():
        packaged = ', '.join(resource_names('config/profiles', PROFILE_SUFFIX)) or 'none'
        raise ConfigError(f'engine profile "{name}" does not exist; packaged ones: {packaged}')
    try:
        content = yaml.safe_load(path.read_text(encoding='utf-8'))
    except yaml.YAMLError as error:
        raise ConfigError(f'{path}: not a YAML file: {error}') from error
    return Profile.from_dict(content, str(path))


def load_vehicle(name: str) -> Config:
    """Return the configuration in a vehicle's YAML, for programs that are no ROS node.

    Args:
        name: a path, or the name of a packaged vehicle file.

    Raises:
        ConfigError: the file is missing, not a ROS parameter file, or its values are wrong.
    """
    path = find_resource('config/vehicles', name, VEHICLE_SUFFIX)
    if not path.is_file():
        packaged = ', '.join(resource_names('config/vehicles', VEHICLE_SUFFIX)) or 'none'
        raise ConfigError(f'vehicle file "{name}" does not exist; packaged ones: {packaged}')
    return Config.from_parameters(vehicle_parameters(path))


def vehicle_parameters(path: Path) -> dict[str, Any]:
    """Return the flat parameters of a vehicle's YAML.

    Args:
        path: a ROS parameter file with one ``/**`` section.

    Raises:
        ConfigError: it is not such a file.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding='utf-8'))
        parameters = content['/**']['ros__parameters']
        if not isinstance(parameters, dict):
            raise TypeError(f'a section of {type(parameters).__name__}')
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise ConfigError(
            f'{path}: expected a ROS parameter file with "/**: ros__parameters:", got {error!r}'
        ) from error
    return dict(flatten('', parameters))


def flatten(prefix: str, value: Any) -> list[tuple[str, Any]]:
    """Return the dotted names and the values of nested dictionaries."""
    if not isinstance(value, dict):
        return [(prefix, value)]
    rows = []
    for key, inner in value.items():
        rows += flatten(f'{prefix}.{key}' if prefix else str(key), inner)
    return rows
