"""Provide the engine that a lane needs, from the cache or by building it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from yolox_trt_ros import __version__
from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.output_files import replace_file
from yolox_trt_ros.engine.build_process import build_in_process
from yolox_trt_ros.engine.builder import Built, build_engine, in_background
from yolox_trt_ros.engine.cache import (
    MODE,
    CachedEngine,
    EngineCache,
    EngineKey,
    Policy,
)
from yolox_trt_ros.engine.cuda_devices import cuda_driver
from yolox_trt_ros.engine.model_facts import ModelFacts
from yolox_trt_ros.engine.options import BuildOptions, strongly_typed
from yolox_trt_ros.engine.progress import Progress
from yolox_trt_ros.engine.tensorrt_versions import TensorRT

ANY_DEVICE = 'any'
"""Device of engines that TensorRT-RTX builds on a machine without a GPU."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EngineRequest:
    """An engine, as its lane or the command line asks for it."""

    tensorrt: TensorRT
    model: ModelFacts
    options: BuildOptions

    def key(self) -> EngineKey:
        """Return the cache's key on this machine.

        Raises:
            ConfigError: the machine has no such GPU.
        """
        options = self.options
        name, capability = _device(options)
        calibration = options.calibration
        return EngineKey(
            self.model.path.name,
            self.model.sha256,
            f'{self.tensorrt.name} {self.tensorrt.version}',
            name,
            capability,
            -1 if options.dla_core is None else options.dla_core,
            options.precision,
            calibration.sha256 if calibration else '',
            options.batch,
            options.dynamic,
            options.flags(),
        )


def provide(
    request: EngineRequest,
    cache: EngineCache,
    policy: Policy = 'auto',
    report: Progress = lambda fraction, phase: None,
    on_event: Callable[[str], None] = lambda message: None,
) -> CachedEngine:
    """Return a lane's engine; may build for many minutes, and hears Ctrl-C meanwhile.

    Args:
        request: which engine.
        cache: where it is kept.
        policy: ``never``: raise instead of building.
        report: called with how far a build is; what it raises ends the build and goes on.
        on_event: called with what is worth a line in the log.

    Raises:
        ConfigError, ModelError, EngineError: see :func:`build_engine` and
            :meth:`EngineCache.obtain`.
    """
    # What can never be built is refused even where an engine of that name lies about.
    strongly_typed(request.tensorrt, request.model, request.options)
    key = request.key()
    timing_file = _timing_file(cache, key)

    def build() -> tuple[bytes, dict[str, Any]]:
        kept = request.tensorrt.keeps_timings and timing_file.is_file()
        timings = cache.read(timing_file) if kept else b''
        built = _build(request, report, timings)
        if built.timing_cache:
            _keep_timings(timing_file, built.timing_cache)
        return built.engine, _facts(built)

    return cache.obtain(key, build, policy, on_event)


def _build(request: EngineRequest, report: Progress, timings: bytes) -> Built:
    """Build an engine so that it can be stopped."""
    tensorrt, model, options = request.tensorrt, request.model, request.options
    if not tensorrt.reports_progress:
        return build_in_process(model, options, report, timings)
    built: Built = in_background(
        lambda tell, cancelled: build_engine(tensorrt, model, options, tell, cancelled, timings),
        report,
    )
    return built


def _device(options: BuildOptions) -> tuple[str, str]:
    """Return name and compute capability of what the engine is for."""
    driver = cuda_driver()
    if not driver.devices:
        return ANY_DEVICE, ''
    if options.dla_core is not None:
        return driver.devices[0].name, ''
    index = int(options.device.removeprefix('cuda:'))
    if index >= len(driver.devices):
        raise ConfigError(
            f'device: expected one of cuda:0 to cuda:{len(driver.devices) - 1} on this machine, '
            f'got {options.device}'
        )
    return driver.devices[index].name, driver.devices[index].compute_capability


def _timing_file(cache: EngineCache, key: EngineKey) -> Path:
    where = f'{key.tensorrt}-{key.device_name}-{key.compute_capability}'.replace(' ', '_')
    return cache.folder / f'{where.replace("/", "_")}.timings'


def _keep_timings(file: Path, content: bytes) -> None:
    try:
        replace_file(file, content, mode=MODE)
    except OSError as error:  # the next build takes longer, that is all
        _log.warning('timings of the build cannot be kept in %s: %s', file, error)


def _facts(built: Built) -> dict[str, Any]:
    return {
        'built_by': f'yolox_trt_ros {__version__}',
        'seconds': round(built.seconds, 1),
        'strongly_typed': built.strongly_typed,
        'tensors': [asdict(tensor) for tensor in built.tensors],
        'placement': asdict(built.placement),
        'sparsity': built.sparsity and asdict(built.sparsity),
        'warnings': list(built.warnings),
    }
