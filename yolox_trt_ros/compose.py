"""The one place that turns a configuration into a model, detectors, lanes and a pipeline."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from yolox_trt_ros.core.backends import BACKENDS, LaneSetup, device_kind
from yolox_trt_ros.core.class_names import canonical
from yolox_trt_ros.core.config import Config, EnginesConfig, LaneConfig, lane_problems
from yolox_trt_ros.core.detector import LaneDetector
from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.host_memory import PinnedMemory
from yolox_trt_ros.core.model import ModelSpec
from yolox_trt_ros.core.prepared import PreparedModel
from yolox_trt_ros.core.resources import cache_folder, resource_names
from yolox_trt_ros.detect.backends.simulated import SimulatedMachine
from yolox_trt_ros.detect.model import load_model_spec
from yolox_trt_ros.detect.several_models import SeveralModels
from yolox_trt_ros.engine.progress import Progress
from yolox_trt_ros.loaded_model import DEFAULT_MODEL as DEFAULT_MODEL
from yolox_trt_ros.loaded_model import Model as Model
from yolox_trt_ros.loaded_model import Models as Models
from yolox_trt_ros.loaded_model import load_model as load_model
from yolox_trt_ros.loaded_model import load_models as load_models
from yolox_trt_ros.packaged_models import find_model
from yolox_trt_ros.schedule.lane import LaneSpec
from yolox_trt_ros.vehicle_files import PROFILE_SUFFIX, load_profile

if TYPE_CHECKING:
    from yolox_trt_ros.detect.backends.tensorrt import Engine
    from yolox_trt_ros.detect.cuda.runtime import CudaDevice
    from yolox_trt_ros.engine.cache import CachedEngine
    from yolox_trt_ros.engine.lanes import LaneEngine
    from yolox_trt_ros.engine.tensorrt_versions import TensorRT

CPU_LANE_NICENESS = 10

_log = logging.getLogger(__name__)


def make_detector(
    lane: LaneConfig,
    model: Model,
    engine: LaneEngine | None = None,
    on_event: Callable[[str], None] | None = None,
    machine: SimulatedMachine | None = None,
    prepared: PreparedModel | None = None,
) -> LaneDetector:
    """Build the detector of one lane; called on the lane's own thread, again after a fault.

    Args:
        lane: which one.
        model: what it runs.
        engine: of a lane whose backend builds; None: taken from the default cache, or built.
        on_event: called with what decodes JPEG images on a GPU's lane; None: there are none.
        machine: of a simulated lane.
        prepared: of a lane whose backend prepares; None: taken from the default cache, or made.

    Raises:
        ConfigError: the backend does not run on that device, or is not to be combined so.
    """
    if problems := lane_problems(lane):
        raise ConfigError('\n'.join(problems))
    backend = BACKENDS[lane.backend]
    if backend.builds:
        engine = engine or engine_of_lane(lane, model, EnginesConfig())
    prepared = prepared or prepared_of_lane(lane, model, EnginesConfig(), on_event or _log.info)
    return backend.detector(
        lane,
        LaneSetup(
            lane_model(lane, model),
            _lane_spec(lane, model),
            lambda: model.thresholds,
            partial(tensorrt_engine, lane, engine) if engine else None,
            machine,
            on_event,
            prepared,
            model.name,
            lambda camera: model.masks(camera),
        ),
    )


def tensorrt_engine(lane: LaneConfig, engine: LaneEngine) -> tuple[Engine, CudaDevice, int | None]:
    """Return a lane's engine, ready to be loaded, its GPU, and its DLA core if it runs on one.

    Raises:
        EngineError: the engine was removed or damaged since.
        MissingDependencyError: there is no GPU, or CuPy is missing.
    """
    return loadable(lane.device, engine.tensorrt, engine.load())


def loadable(
    device: str, tensorrt: TensorRT, cached: CachedEngine
) -> tuple[Engine, CudaDevice, int | None]:
    """Return an engine of the cache as :func:`tensorrt_engine` does."""
    from yolox_trt_ros.detect.backends.tensorrt import Engine
    from yolox_trt_ros.detect.cuda.runtime import CudaDevice

    kind, _, number = device.partition(':')
    core = int(number) if kind == 'dla' else None
    quanta = {tensor['name']: tensor['quantum'] for tensor in cached.facts['tensors']}
    content = Engine(tensorrt.module, tensorrt.logger, cached.engine, cached.path.name, quanta)
    return content, CudaDevice(0 if core is not None else int(number)), core


def engine_of_lane(
    lane: LaneConfig,
    model: Model,
    engines: EnginesConfig,
    report: Progress = lambda fraction, lane: None,
    on_event: Callable[[str], None] = lambda message: None,
) -> LaneEngine:
    """Return the engine of a lane whose backend builds; building a missing one takes minutes.

    Args:
        lane, model, engines: what is built for which device, and where engines are kept.
        report: called with how far the build is: fraction, and the lane's name.
        on_event: called with what is worth a line in the log.

    Raises:
        MissingDependencyError, ConfigError, ModelError, EngineError: see
            :func:`engine.lanes.lane_engine`.
    """
    from yolox_trt_ros.engine.lanes import lane_engine

    return lane_engine(
        lane,
        lane_model(lane, model),
        engines,
        lambda fraction, phase: report(fraction, lane.name),
        lambda message: on_event(f'{_whose(lane, model)}: {message}'),
    )


def _whose(lane: LaneConfig, model: Model) -> str:
    return f'lane {lane.name}' + (f', model {model.name}' if model.name else '')


def prepared_of_lane(
    lane: LaneConfig,
    model: Model,
    engines: EnginesConfig,
    on_event: Callable[[str], None] = lambda message: None,
) -> PreparedModel | None:
    """Return what a lane runs in place of its model's file; None: the file, or there is no GPU.

    It is kept beside the engines, and made where it is missing, which takes seconds.

    Args:
        lane, model, engines: what is prepared for which precision, and where it is kept.
        on_event: called with what is worth a line in the log.

    Raises:
        ModelError, EngineError, MissingDependencyError: see
            :func:`prepared_models.prepared_model`.
    """
    if not BACKENDS[lane.backend].prepares or device_kind(lane.device) != 'cuda':
        return None
    from yolox_trt_ros.engine.cache import EngineCache
    from yolox_trt_ros.engine.cuda_devices import cuda_driver
    from yolox_trt_ros.prepared_models import SUFFIX, prepared_model

    if cuda_driver().problem:
        return None  # the lane says what is missing
    folder = Path(engines.folder).expanduser() if engines.folder else cache_folder('engines')
    made = prepared_model(
        lane_model(lane, model),
        _lane_spec(lane, model),
        lane.precision,
        EngineCache(folder, engines.trust_folder, SUFFIX),
        lambda message: on_event(f'{_whose(lane, model)}: {message}'),
    )
    on_event(f'{_whose(lane, model)}: runs {made.about}')
    return made


def lane_model(lane: LaneConfig, model: Model) -> Path:
    """Return the ONNX file that a lane runs."""
    return find_model(lane.model) if lane.model else model.path


def _lane_spec(lane: LaneConfig, model: Model) -> ModelSpec:
    """Return how the lane's own variant of the model is fed and read.

    Raises:
        ConfigError: it knows other classes.
    """
    if not lane.model:
        return model.spec
    antialias, masks = model.spec.input.antialias, model.spec.segmentation
    spec = load_model_spec(
        lane_model(lane, model), antialias=antialias, segmentation=masks is not None
    )
    if list(map(canonical, spec.labels)) != list(map(canonical, model.spec.labels)):
        raise ConfigError(
            f'lanes.{lane.name}.model: expected the classes of {model.path.name} '
            f'({", ".join(model.spec.labels)}), got {", ".join(spec.labels)}'
        )
    return spec


def lane_specs(
    config: Config,
    model: Model | Models,
    report: Progress = lambda fraction, phase: None,
    on_event: Callable[[str], None] = lambda message: None,
) -> list[LaneSpec]:
    """Return every lane with the function that builds its detector.

    Engines that are missing are built here, which takes minutes.

    Args:
        config: the vehicle.
        model: what the lanes run; of several each lane has a detector, and a batch is of one.
        report: called with how far the build of an engine is: fraction, and which lane's it is.
        on_event: called with what is worth a line in the log.
    """
    models = model if isinstance(model, Models) else Models({'': model}, {})
    cpu_lanes = sum(lane.device == 'cpu' for lane in config.lanes)
    share = max(1, available_cores() // max(1, cpu_lanes))
    lanes = [
        replace(lane, threads=lane.threads or share) if lane.device == 'cpu' else lane
        for lane in config.lanes
    ]
    machine = _simulated_machine(config)
    compressed = any(camera.transport == 'compressed' for camera in config.cameras)
    jpeg_event = on_event if compressed else None
    engines = {
        lane.name: {
            name: engine_of_lane(lane, one, config.engines, report, on_event)
            for name, one in models.by_name.items()
            if BACKENDS[lane.backend].builds
        }
        for lane in lanes
    }
    specs = []
    for lane in lanes:
        parts: dict[str, Callable[[], LaneDetector]] = {}
        for name, one in models.by_name.items():
            ready = prepared_of_lane(lane, one, config.engines, on_event)
            engine = engines[lane.name].get(name)
            parts[name] = partial(make_detector, lane, one, engine, jpeg_event, machine, ready)
        specs.append(LaneSpec(lane, _factory(lane, parts, models.cameras)))
    return specs


def pinned_memory(config: Config) -> PinnedMemory | None:
    """Return what makes images readable for the GPUs among the lanes; None if there are none.

    Raises:
        MissingDependencyError: no CuPy, no driver.
    """
    real = [lane.device for lane in config.lanes if not BACKENDS[lane.backend].simulated]
    # A DLA's memory is that of the GPU beside it.
    indices = {'cuda:0' if device_kind(d) == 'dla' else d for d in real if device_kind(d) != 'cpu'}
    if not indices:
        return None
    from yolox_trt_ros.detect.cuda.pinned_memory import CudaPinnedMemory

    return CudaPinnedMemory(min(int(device.removeprefix('cuda:')) for device in indices))


def available_cores() -> int:
    """Return how many CPU cores this process may use."""
    return len(os.sched_getaffinity(0))


def _factory(
    lane: LaneConfig,
    parts: Mapping[str, Callable[[], LaneDetector]],
    cameras: Mapping[str, str],
) -> Callable[[], LaneDetector]:
    """Return what makes a lane's detector of those for each model."""

    def build() -> LaneDetector:
        if lane.device == 'cpu' and not BACKENDS[lane.backend].simulated:
            # Inference takes every cycle it gets; receiving images must not wait for it, or the
            # newest frame is an old one. Threads started from here inherit the niceness.
            # Relative to the process: under `nice`, only root could go back to a fixed value.
            nice = os.getpriority(os.PRIO_PROCESS, os.getpid()) + CPU_LANE_NICENESS
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), min(19, nice))
        if len(parts) == 1:
            return next(iter(parts.values()))()
        made: dict[str, LaneDetector] = {}
        with ExitStack() as undo:
            for name, part in parts.items():
                made[name] = part()
                undo.callback(made[name].close)
            undo.pop_all()
        return SeveralModels(made, cameras)

    return build


def _simulated_machine(config: Config) -> SimulatedMachine | None:
    """Return what the simulated lanes share, or None if there are none."""
    lanes = [lane for lane in config.lanes if BACKENDS[lane.backend].simulated]
    if not lanes:
        return None
    if not config.profile:
        raise ConfigError(
            f'profile: lane {lanes[0].name} is simulated and needs an engine profile; packaged '
            f'ones: {", ".join(resource_names("config/profiles", PROFILE_SUFFIX))}'
        )
    profile = load_profile(config.profile)
    profile.require(lanes, config.used_models)
    return SimulatedMachine({lane.name: profile.lane(lane) for lane in lanes})
