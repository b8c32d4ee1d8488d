"""Build a serialised TensorRT engine from an ONNX file."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from yolox_trt_ros.core.errors import ConfigError, EngineError
from yolox_trt_ros.core.threads import named_thread
from yolox_trt_ros.engine.model_facts import ModelFacts
from yolox_trt_ros.engine.network import (
    TensorFacts,
    mark_inner,
    parse,
    profiles_of,
    set_formats,
    set_ranges,
    set_shapes,
)
from yolox_trt_ros.engine.options import BuildOptions, strongly_typed
from yolox_trt_ros.engine.placement_report import LayerPlacement, parse_build_log
from yolox_trt_ros.engine.progress import LogProgress, Phases, Progress
from yolox_trt_ros.engine.sparsity_log import SparseKernels, parse_sparsity
from yolox_trt_ros.engine.tensorrt_versions import BuildLog, TensorRT

MIB, KIB = 1 << 20, 1 << 10
GRACE_S = 5.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Built:
    """A new engine.

    Attributes:
        engine: serialised.
        tensors: inputs and outputs.
        placement: where its layers run, as far as the build log says.
        sparsity: which layers use 2:4 sparse kernels, if that was asked for and the log says so.
        seconds: the build took.
        strongly_typed: whether its types came from the file.
        timing_cache: to start the next build from; may be empty.
        warnings: what TensorRT warned of, each once.
    """

    engine: bytes
    tensors: tuple[TensorFacts, ...]
    placement: LayerPlacement
    sparsity: SparseKernels | None
    seconds: float
    strongly_typed: bool
    timing_cache: bytes
    warnings: tuple[str, ...]


def build_engine(
    tensorrt: TensorRT,
    model: ModelFacts,
    options: BuildOptions,
    report: Progress = lambda fraction, phase: None,
    cancelled: Callable[[], bool] = lambda: False,
    timing_cache: bytes = b'',
) -> Built:
    """Build an engine; takes seconds to many minutes and releases the GIL meanwhile.

    Args:
        tensorrt: what builds.
        model: the ONNX file.
        options: what is asked.
        report: called with how far it is.
        cancelled: asked now and then; True ends the build, but not before TensorRT 10: there
            :func:`engine.build_process.build_in_process` is the way.
        timing_cache: of an earlier build here; left out, with a line in the log, if refused.

    Raises:
        ConfigError, ModelError: see :func:`engine.options.strongly_typed`; or the model has
            operators that TensorRT does not know.
        EngineError: there is no such device, a layer cannot run on the DLA and ``strict_dla`` is
            set, the build was cancelled, or TensorRT failed.
    """
    strong = strongly_typed(tensorrt, model, options)
    begin = time.monotonic()
    progress = LogProgress(report, profiles_of(tensorrt, options))
    with tensorrt.listening(_nothing if tensorrt.reports_progress else progress.heard) as log:
        builder = tensorrt.builder()
        _check_core(tensorrt, builder, options)
        network = tensorrt.network(builder, strong)
        parser = parse(tensorrt, network, model, options, strong)
        config = tensorrt.builder_config(builder, options.optimization_level)
        set_shapes(tensorrt, builder, config, network, options)
        mark_inner(network, options.marked)
        _set_device(tensorrt, config, network, options)
        keep = _set_precision(tensorrt, config, network, model, options, strong)
        tensors = set_formats(tensorrt, network, options, strong)
        _set_memory(tensorrt, config, options)
        cache = _set_timing_cache(config, timing_cache, log) if tensorrt.keeps_timings else None
        if tensorrt.reports_progress:
            config.progress_monitor = tensorrt.monitor(Phases(report), cancelled)
        serialised = builder.build_serialized_network(network, config)
        del parser, keep  # TensorRT refers to both until here
        if serialised is None:
            raise _failure(tensorrt, model, log.problems, cancelled())
        placement, sparsity = parse_build_log(log.lines), parse_sparsity(log.lines)
        if options.strict_dla:
            _refuse_gpu(placement.off_dla(), options)
    return Built(
        bytes(serialised),
        tensors,
        placement,
        sparsity,
        time.monotonic() - begin,
        strong,
        bytes(cache.serialize()) if cache is not None else b'',
        tuple(dict.fromkeys(log.problems)),
    )


def _nothing(line: str) -> None:
    pass


def in_background(
    work: Callable[[Progress, Callable[[], bool]], Any],
    report: Progress = lambda fraction, phase: None,
) -> Any:
    """Return ``work(report, cancelled)``, run on a thread of its own.

    A build holds its thread inside TensorRT for minutes; on the main thread Python would see
    signals only afterwards. On Ctrl-C, and when ``report`` raises, ``cancelled`` turns True: the
    build is given a moment, and the exception goes on.
    """
    stop = threading.Event()
    results: list[Any] = []
    errors: list[BaseException] = []

    def guarded(fraction: float, phase: str) -> None:
        try:
            report(fraction, phase)
        except BaseException as error:  # TensorRT calls, and must not see it
            errors.append(error)
            stop.set()

    def run() -> None:
        try:
            results.append(work(guarded, stop.is_set))
        except BaseException as error:
            errors.append(error)

    thread = named_thread(run, 'engine build')
    thread.start()
    try:
        while thread.is_alive():
            thread.join(0.2)
    except BaseException:
        stop.set()
        thread.join(GRACE_S)
        raise
    if errors:
        raise errors[0]
    return results[0]


def _check_core(tensorrt: TensorRT, builder: Any, options: BuildOptions) -> None:
    cores = builder.num_DLA_cores
    if options.dla_core is not None and options.dla_core >= cores:
        raise EngineError(
            f'{options.device}: {tensorrt} finds {cores or "no"} DLA cores on this machine'
            + ('' if cores else '; a Jetson AGX Orin has two, with TensorRT 8.5 to 10.7 or 11.4.1')
        )


def _set_device(tensorrt: TensorRT, config: Any, network: Any, options: BuildOptions) -> None:
    module = tensorrt.module
    if options.sparsity:
        config.set_flag(module.BuilderFlag.SPARSE_WEIGHTS)
    if options.dla_core is None:
        return
    config.default_device_type = module.DeviceType.DLA
    config.DLA_core = options.dla_core
    if not options.strict_dla:
        config.set_flag(module.BuilderFlag.GPU_FALLBACK)
        return
    constant = module.LayerType.CONSTANT  # belongs to the layer that it feeds
    layers = [network.get_layer(i) for i in range(network.num_layers)]
    _refuse_gpu(
        [x.name for x in layers if x.type != constant and not config.can_run_on_DLA(x)], options
    )


def _set_precision(
    tensorrt: TensorRT,
    config: Any,
    network: Any,
    model: ModelFacts,
    options: BuildOptions,
    strong: bool,
) -> Any:
    """Choose types where TensorRT may choose; return what has to live as long as the build."""
    flags = tensorrt.module.BuilderFlag
    # Asked for float32, nobody expects the ten bits of TensorFloat-32.
    if options.precision == 'fp32':
        config.clear_flag(flags.TF32)
    if options.precision == 'tf32':
        config.set_flag(flags.TF32)
    if strong or options.precision in ('fp32', 'tf32'):
        return None
    config.set_flag(flags.FP16)
    if options.precision != 'int8':
        return None
    config.set_flag(flags.INT8)
    calibration = options.calibration
    if calibration is None:  # Q/DQ nodes say it all
        return None
    if calibration.cache:
        config.int8_calibrator = calibrator = tensorrt.calibrator(calibration.cache)
        return calibrator
    set_ranges(tensorrt, config, network, options)
    return None


def _set_memory(tensorrt: TensorRT, config: Any, options: BuildOptions) -> None:
    pools = tensorrt.module.MemoryPoolType
    for pool, size in (
        (pools.WORKSPACE, options.workspace_mib * MIB),
        (pools.DLA_MANAGED_SRAM, options.dla_sram_kib * KIB),
        (pools.DLA_LOCAL_DRAM, options.dla_local_dram_mib * MIB),
        (pools.DLA_GLOBAL_DRAM, options.dla_global_dram_mib * MIB),
    ):
        if size and pool != pools.WORKSPACE and size & (size - 1):
            raise ConfigError(f'memory: expected a power of two for {pool.name}, got {size} bytes')
        if size:
            config.set_memory_pool_limit(pool, size)


def _set_timing_cache(config: Any, content: bytes, log: BuildLog) -> Any | None:
    """Give the build the timings of earlier ones; those that TensorRT cannot read are left out.

    TensorRT 8.6 warns of a cache that it cannot read, and takes it nevertheless.
    """
    for start in (content, b''):
        heard = len(log.problems)
        cache = config.create_timing_cache(start)
        taken = cache is not None and config.set_timing_cache(cache, False)
        complaints = log.problems[heard:]
        if start and (complaints or not taken):
            why = ' / '.join(complaints) or 'no reason given'
            _log.info('the timings of earlier builds are not used, TensorRT refuses them: %s', why)
            del log.problems[heard:]
            continue
        if taken:
            return cache
    return None


def _refuse_gpu(layers: list[str], options: BuildOptions) -> None:
    if layers:
        raise EngineError(
            f'{options.device}: {len(layers)} layers cannot run on the DLA: {", ".join(layers)}; '
            '`optimize --check-dla` says why, `optimize` removes what it can'
        )


def _failure(
    tensorrt: TensorRT, model: ModelFacts, lines: list[str], cancelled: bool
) -> EngineError:
    if cancelled:
        return EngineError(f'{model.path.name}: the build was stopped')
    why = ' / '.join(dict.fromkeys(lines[-4:])) or 'no reason given'
    return EngineError(f'{model.path}: {tensorrt} could not build an engine: {why}')
