"""Timing of work on a GPU for the benchmarks."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable
from typing import Any

from yolox_trt_ros.detect.cuda.runtime import require_cupy

REPLAYS = 15


def replayed_us(stream: Any, work: Callable[[int], None], calls: int) -> float:
    """Return the device's time for one call of ``work``, microseconds, without launch gaps.

    Args:
        stream: ``cupy.cuda.Stream``, current while ``work`` runs.
        work: enqueues on the stream; gets the number of the call, to rotate among buffers.
        calls: recorded into one CUDA graph, whose replays are timed.
    """
    with stream:
        work(0)  # compiles
        stream.synchronize()
        stream.begin_capture()
        for i in range(calls):
            work(i)
        graph = stream.end_capture()
    return timed_us(stream, lambda _: graph.launch(stream), REPLAYS) / calls


def timed_us(stream: Any, work: Callable[[int], None], calls: int, warm_up: int = 3) -> float:
    """Return the median time of one call, microseconds, from events on ``stream``."""
    cupy = require_cupy()
    for i in range(warm_up):
        work(i)
    stream.synchronize()
    events = [cupy.cuda.Event() for _ in range(calls + 1)]
    events[0].record(stream)
    for i in range(calls):
        work(i)
        events[i + 1].record(stream)
    stream.synchronize()
    spans = [cupy.cuda.get_elapsed_time(a, b) for a, b in itertools.pairwise(events)]
    return statistics.median(spans) * 1e3


def copy_bandwidth(stream: Any, size: int = 1 << 30) -> float:
    """Return bytes read plus bytes written per second of a device-to-device copy."""
    cupy = require_cupy()
    source, target = cupy.zeros(size, cupy.uint8), cupy.zeros(size, cupy.uint8)

    def copy(_: int) -> None:
        target.data.copy_from_device_async(source.data, size, stream)

    return 2 * size / timed_us(stream, copy, 10) * 1e6
