"""The engines of a vehicle's tensorrt lanes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from yolox_trt_ros.core.config import EnginesConfig, LaneConfig
from yolox_trt_ros.core.errors import MissingDependencyError
from yolox_trt_ros.core.resources import cache_folder
from yolox_trt_ros.engine.cache import CachedEngine, EngineCache, EngineKey
from yolox_trt_ros.engine.calibration import read_calibration
from yolox_trt_ros.engine.cuda_devices import cuda_driver
from yolox_trt_ros.engine.model_facts import model_facts
from yolox_trt_ros.engine.options import BuildOptions, chosen_precision
from yolox_trt_ros.engine.progress import Progress
from yolox_trt_ros.engine.provide import EngineRequest, provide
from yolox_trt_ros.engine.tensorrt_versions import TensorRT, load_tensorrt


@dataclass(frozen=True)
class LaneEngine:
    """A lane's engine in the cache, to be loaded as often as the lane is rebuilt."""

    tensorrt: TensorRT
    cache: EngineCache
    key: EngineKey

    def load(self) -> CachedEngine:
        """Return the engine, verified anew.

        Raises:
            EngineError: it was removed or damaged since.
        """
        return self.cache.load(self.key)


def lane_engine(
    lane: LaneConfig,
    model: Path,
    engines: EnginesConfig,
    report: Progress = lambda fraction, phase: None,
    on_event: Callable[[str], None] = lambda message: None,
    marked: tuple[str, ...] = (),
) -> LaneEngine:
    """Return the engine of a tensorrt lane, built if there is none and the configuration allows.

    Args:
        lane: on a GPU or a DLA.
        model: its ONNX file.
        engines: where engines are kept, and whether they may be built.
        report: called with how far a build is.
        on_event: called with what is worth a line in the log.
        marked: tensors inside the network that it shall give out as well.

    Raises:
        MissingDependencyError: no TensorRT, or no GPU.
        ConfigError, ModelError, EngineError: see :func:`engine.provide.provide`.
    """
    tensorrt = load_tensorrt()
    if problem := cuda_driver().problem:
        raise MissingDependencyError(
            f'lanes.{lane.name}: {lane.device} needs an NVIDIA GPU: {problem}'
        )
    ranges = Path(engines.ranges).expanduser() if engines.ranges else None
    facts = model_facts(model)
    precision = chosen_precision(lane.precision, facts)
    implicit = precision == 'int8' and not facts.quantised
    options = BuildOptions(
        lane.device,
        precision,
        lane.max_batch,
        lane.max_batch > 1,
        read_calibration(ranges) if ranges and implicit else None,
        optimization_level=engines.optimization_level,
        marked=marked,
    )
    request = EngineRequest(tensorrt, facts, options)
    folder = Path(engines.folder).expanduser() if engines.folder else cache_folder('engines')
    cache = EngineCache(folder, engines.trust_folder)
    provide(request, cache, 'never' if engines.build == 'never' else 'auto', report, on_event)
    return LaneEngine(tensorrt, cache, request.key())
