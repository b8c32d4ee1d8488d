"""The installed TensorRT and its capabilities.

One class covers TensorRT 8.5 to 11 and TensorRT-RTX. What differs among them is decided here by
the names a module has; everything else in the package may rely on the names that all of them share.
"""

from __future__ import annotations

import functools
import importlib
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from yolox_trt_ros.core.backends import BACKENDS
from yolox_trt_ros.core.errors import EngineError, MissingDependencyError
from yolox_trt_ros.engine.cuda_devices import cuda_driver
from yolox_trt_ros.engine.placement_report import logs_placement
from yolox_trt_ros.engine.progress import Phases
from yolox_trt_ros.engine.sparsity_log import logs_sparsity

StrongTyping = Literal['never', 'option', 'always']

_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class BuildLog:
    """What TensorRT has said.

    Attributes:
        heard: called with every line.
        lines: warnings, errors, where layers run, and which kernels are sparse.
        problems: warnings and errors alone.
    """

    heard: Callable[[str], None] = lambda line: None
    lines: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


class TensorRT:
    """A TensorRT module and its capabilities.

    Args:
        module: ``tensorrt`` or ``tensorrt_rtx``.

    Attributes:
        module: the same.
        name: ``tensorrt`` or ``tensorrt_rtx``.
        version: such as ``10.3.0``.
        strong_typing: whether a network's types may come from the ONNX file alone: ``never``
            (before 10.0), ``option`` (10.x), or ``always`` (11 and RTX).
        profile_sharing: the feature to switch on for it, or None.
        shares_profiles: whether several execution contexts may use one optimisation profile (8.6).
        has_levels: whether builds have an optimisation level (8.6).
        reports_progress: whether a build reports how far it is, and can be stopped (10.0).
        keeps_timings: whether a build leaves timings that speed up the next one (10.0). 8.6.0
            refuses what it wrote itself, the part of its inner compiler.
        logger: TensorRT's ILogger; a process may have one only.
    """

    def __init__(self, module: Any) -> None:
        self.module = module
        self.name = module.__name__.removesuffix('_bindings')
        self.version: str = module.__version__
        option = hasattr(module.NetworkDefinitionCreationFlag, 'STRONGLY_TYPED')
        weak = hasattr(module.BuilderFlag, 'FP16')
        self.strong_typing: StrongTyping = 'never' if not option else 'option' if weak else 'always'
        features = getattr(module, 'PreviewFeature', None)
        self.profile_sharing = getattr(features, 'PROFILE_SHARING_0806', None)
        self.has_levels = self.shares_profiles = self.profile_sharing is not None or option
        self.reports_progress = hasattr(module, 'IProgressMonitor')
        self._listeners: list[BuildLog] = []
        # RTX has the names, and does nothing.
        self.keeps_timings = self.name == 'tensorrt' and int(self.version.partition('.')[0]) >= 10
        self.logger = self._make_logger()

    def __str__(self) -> str:
        """Return name and version for messages."""
        return f'{"TensorRT-RTX" if self.name == "tensorrt_rtx" else "TensorRT"} {self.version}'

    def builder(self) -> Any:
        """Return an ``IBuilder``.

        Raises:
            EngineError: TensorRT does not start, which is almost always a missing GPU or driver.
        """
        with self.listening() as log:
            try:
                return self.module.Builder(self.logger)
            except TypeError as error:  # how the bindings tell of a null pointer
                missing = cuda_driver().problem
                why = (
                    f'an NVIDIA GPU with its driver is needed ({missing})' if missing
                    else 'there is a GPU, so its installation is damaged or does not fit this GPU'
                )  # fmt: skip
                raise EngineError(
                    f'{self} does not start on this machine: {why}; it says: '
                    f'{" / ".join(log.problems) or error}'
                ) from error

    def builder_config(self, builder: Any, level: int) -> Any:
        """Return an ``IBuilderConfig`` whose engines can be looked into.

        Args:
            builder: whose it is.
            level: of optimisation.

        TensorRT 8.6 keeps cuBLAS and cuDNN for plugins alone
        (``PreviewFeature.DISABLE_EXTERNAL_TACTIC_SOURCES_FOR_CORE_0805``, on by default), and this
        package has none: there they are left out, so that they need not be loaded or installed.
        """
        config = builder.create_builder_config()
        config.profiling_verbosity = self.module.ProfilingVerbosity.DETAILED
        if self.has_levels:
            config.builder_optimization_level = level
        features = getattr(self.module, 'PreviewFeature', None)
        unused = getattr(features, 'DISABLE_EXTERNAL_TACTIC_SOURCES_FOR_CORE_0805', None)
        if unused is not None and config.get_preview_feature(unused):
            sources = self.module.TacticSource
            left_out = sum(1 << int(s) for s in (sources.CUBLAS, sources.CUBLAS_LT, sources.CUDNN))
            config.set_tactic_sources(config.get_tactic_sources() & ~left_out)
        return config

    def network(self, builder: Any, strongly_typed: bool) -> Any:
        """Return an empty ``INetworkDefinition`` with the batch as an axis of its own."""
        flags = self.module.NetworkDefinitionCreationFlag
        wanted = [flags.EXPLICIT_BATCH] if hasattr(flags, 'EXPLICIT_BATCH') else []
        wanted += [flags.STRONGLY_TYPED] if strongly_typed else []
        return builder.create_network(sum(1 << int(flag) for flag in wanted))

    def monitor(self, phases: Phases, cancelled: Callable[[], bool]) -> Any:
        """Return an ``IProgressMonitor`` that feeds ``phases``; where :attr:`reports_progress`.

        Args:
            phases: gets every phase and step.
            cancelled: asked after every step; True ends the build.
        """

        class Monitor(self.module.IProgressMonitor):  # type: ignore[name-defined]
            def __init__(self, base: Any) -> None:
                base.__init__(self)

            def phase_start(self, name: str, parent: str | None, steps: int) -> None:
                phases.start(name, parent, steps)

            def step_complete(self, name: str, step: int) -> bool:
                phases.step(name, step)
                return not cancelled()

            def phase_finish(self, name: str) -> None:
                phases.finish(name)

        return Monitor(self.module.IProgressMonitor)

    def calibrator(self, cache: bytes) -> Any:
        """Return the calibrator that hands TensorRT a calibration cache and never an image."""

        class Calibrator(self.module.IInt8EntropyCalibrator2):  # type: ignore[name-defined]
            def __init__(self, base: Any) -> None:
                base.__init__(self)

            def get_batch_size(self) -> int:
                return 1

            def get_batch(self, names: list[str]) -> None:
                return None

            def read_calibration_cache(self) -> bytes:
                return cache

            def write_calibration_cache(self, cache: bytes) -> None:
                pass

        return Calibrator(self.module.IInt8EntropyCalibrator2)

    @contextmanager
    def listening(self, heard: Callable[[str], None] = lambda line: None) -> Iterator[BuildLog]:
        """Collect what TensorRT logs meanwhile.

        Args:
            heard: called with every line, on any thread.
        """
        log = BuildLog(heard)
        self._listeners.append(log)
        try:
            yield log
        finally:
            self._listeners.remove(log)

    def _make_logger(self) -> Any:
        severity = self.module.ILogger.Severity
        errors = (severity.INTERNAL_ERROR, severity.ERROR)
        tensorrt = self

        class Logger(self.module.ILogger):  # type: ignore[name-defined]
            def __init__(self, base: Any) -> None:
                base.__init__(self)

            def log(self, level: Any, message: str) -> None:
                # TensorRT is C++ and calls from anywhere: what is raised here would end the
                # process, or vanish with a line on the terminal.
                with suppress(Exception):
                    serious = level in errors or level == severity.WARNING
                    for listener in tuple(tensorrt._listeners):
                        if serious:
                            listener.problems.append(message)
                        if serious or logs_placement(message) or logs_sparsity(message):
                            listener.lines.append(message)
                        listener.heard(message)
                    _log.log(logging.WARNING if level in errors else logging.DEBUG, '%s', message)

        return Logger(self.module.ILogger)


@functools.cache
def load_tensorrt() -> TensorRT:
    """Return the installed TensorRT, or TensorRT-RTX where only that is.

    Raises:
        MissingDependencyError: neither is installed.
    """
    for name in BACKENDS['tensorrt'].modules:
        try:
            return TensorRT(importlib.import_module(name))
        except ModuleNotFoundError as error:
            if error.name != name:
                raise MissingDependencyError(
                    f'TensorRT is installed incompletely: {error}'
                ) from error
        except (ImportError, OSError) as error:
            raise MissingDependencyError(
                f'the Python module {name} is installed but does not load: {error}'
            ) from error
    install = BACKENDS['tensorrt'].install
    raise MissingDependencyError(
        f'TensorRT is not installed. On a Jetson: {install["dla"]}; on a PC: {install["cuda"]}'
    )
