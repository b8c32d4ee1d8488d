"""Ranges as TensorRT's own calibrators find them, from the same pictures as our statistics.

TensorRT 8.5 to 10 calibrates while it builds an INT8 engine. That engine is built as quickly as can
be and thrown away; what counts is the calibration cache.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from yolox_trt_ros.core.errors import ConfigError, EngineError, MissingDependencyError
from yolox_trt_ros.engine.builder import in_background
from yolox_trt_ros.engine.calibration import cache_ranges
from yolox_trt_ros.engine.model_facts import ModelFacts
from yolox_trt_ros.engine.network import parse, set_shapes
from yolox_trt_ros.engine.options import BuildOptions
from yolox_trt_ros.engine.progress import LogProgress, Progress
from yolox_trt_ros.engine.statistics import Method
from yolox_trt_ros.engine.tensorrt_versions import TensorRT

CALIBRATORS = {
    'entropy': 'IInt8EntropyCalibrator2',
    'minmax': 'IInt8MinMaxCalibrator',
    'percentile': 'IInt8LegacyCalibrator',
}
"""Class of TensorRT by the method of ours that it is the counterpart of."""


@dataclass
class _Feed:
    """What a calibrator is fed with, and what it gives.

    Attributes:
        pictures: float32 (3, height, width) each.
        address: copies an array to the device and returns where it is.
        cache: what TensorRT wrote; empty before.
        error: what went wrong in a call of TensorRT, which must not see it.
    """

    pictures: Iterator[np.ndarray]
    address: Callable[[np.ndarray], int]
    cache: bytes = b''
    error: BaseException | None = field(default=None)

    def next_address(self) -> int | None:
        """Return where the next picture lies on the device; None: there are no more."""
        try:
            picture = next(self.pictures, None)
            return None if picture is None else self.address(picture[None])
        except BaseException as error:
            self.error = error
            return None


def tensorrt_ranges(
    tensorrt: TensorRT,
    model: ModelFacts,
    pictures: Iterable[np.ndarray],
    method: Method,
    report: Progress = lambda fraction, phase: None,
) -> dict[str, float]:
    """Return the range of each tensor that TensorRT's calibrator finds.

    Args:
        tensorrt: 8.5 to 10, on a GPU.
        model: without Q/DQ nodes.
        pictures: float32 network inputs (3, height, width); one at a time is a batch.
        method: one of :data:`CALIBRATORS`.
        report: called with how far it is.

    Returns:
        Largest magnitude by tensor name, in TensorRT's order.

    Raises:
        MissingDependencyError: CuPy is missing.
        ConfigError: this TensorRT has no calibrators.
        EngineError: TensorRT wrote no cache; says why.
    """
    base = getattr(tensorrt.module, CALIBRATORS[method.kind], None)
    if base is None or tensorrt.strong_typing == 'always':
        raise ConfigError(f'method {method}: {tensorrt} has no calibrators, 8.5 to 10 have')
    feed = _Feed(iter(pictures), _device_copy())
    calibrator = _calibrator(base, feed, method.number)
    failure: str = in_background(
        lambda tell, cancelled: _build(tensorrt, model, calibrator, tell), report
    )
    if feed.error is not None:
        raise feed.error
    if not feed.cache:
        raise EngineError(f'{model.path}: {tensorrt} wrote no calibration cache: {failure}')
    try:
        return cache_ranges(feed.cache)
    except ValueError as error:
        raise EngineError(
            f'{model.path}: the calibration cache of {CALIBRATORS[method.kind]} of {tensorrt} '
            f'cannot be read: {error}'
        ) from error


def _build(tensorrt: TensorRT, model: ModelFacts, calibrator: Any, report: Progress) -> str:
    """Build an engine with a calibrator; return why there is none, where that is so."""
    options = BuildOptions(precision='int8', typing='weak')
    with tensorrt.listening(LogProgress(report).heard) as log:
        builder = tensorrt.builder()
        network = tensorrt.network(builder, strongly_typed=False)
        parser = parse(tensorrt, network, model, options, strong=False)
        config = tensorrt.builder_config(builder, level=0)
        set_shapes(tensorrt, builder, config, network, options)
        config.set_flag(tensorrt.module.BuilderFlag.INT8)
        config.int8_calibrator = calibrator
        builder.build_serialized_network(network, config)
        del parser  # TensorRT refers to it until here
        return ' / '.join(log.problems[-4:]) or 'no reason given'


def _calibrator(base: Any, feed: _Feed, percent: float) -> Any:
    class FedCalibrator(base):
        def __init__(self) -> None:
            base.__init__(self)

        def get_batch_size(self) -> int:
            return 1

        def get_batch(self, names: list[str]) -> list[int] | None:
            address = feed.next_address()
            return None if address is None else [address]

        def read_calibration_cache(self) -> None:
            return None

        def write_calibration_cache(self, cache: Any) -> None:
            feed.cache = bytes(cache)

        # Of IInt8LegacyCalibrator alone; both numbers as Autoware sets them.
        def get_quantile(self) -> float:
            return percent / 100

        def get_regression_cutoff(self) -> float:
            return percent / 100

        def read_histogram_cache(self, length: int) -> None:
            return None

        def write_histogram_cache(self, cache: Any, length: int) -> None:
            pass

    return FedCalibrator()


def _device_copy() -> Callable[[np.ndarray], int]:
    """Return what brings a picture to the GPU; each takes the place of the one before."""
    try:
        import cupy
    except ImportError as error:
        raise MissingDependencyError(
            'TensorRT’s calibrators need CuPy: pip install cupy-cuda13x (cupy-cuda12x for CUDA 12)'
        ) from error

    @functools.cache
    def memory(size: int) -> Any:
        return cupy.empty(size, np.float32)

    def address(picture: np.ndarray) -> int:
        place = memory(picture.size)
        place.set(np.ascontiguousarray(picture, np.float32).reshape(-1))
        cupy.cuda.get_current_stream().synchronize()
        return int(place.data.ptr)

    return address
