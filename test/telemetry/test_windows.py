import numpy as np
import pytest

from yolox_trt_ros.core.trace import STAGES, FrameTrace
from yolox_trt_ros.telemetry.windows import CounterWindow, Percentiles, TraceWindow, rate

MS = 1_000_000


def trace(published_ns: int, total_ns: int) -> FrameTrace:
    """Return a trace whose stages take equal parts of ``total_ns``."""
    steps = [published_ns - total_ns + total_ns * k // len(STAGES) for k in range(len(STAGES) + 1)]
    return FrameTrace('a', 0, 'gpu', 1, 0, *steps)


def test_percentiles_are_those_of_the_window():
    window = TraceWindow()
    totals = np.random.default_rng(1).integers(1, 100, 500) * len(STAGES) * MS
    for index, total_ns in enumerate(totals):
        window.add(trace(index * MS, int(total_ns)))
    total, stages = window.since(199 * MS)
    recent = totals[200:]
    assert total.count == 300
    assert total.p50_ns == np.percentile(recent, 50)
    assert total.p95_ns == np.percentile(recent, 95)
    assert total.p99_ns == np.percentile(recent, 99)
    assert total.max_ns == recent.max()
    assert list(stages) == list(STAGES)
    assert stages['infer'].max_ns == recent.max() / len(STAGES)


def test_a_window_forgets_the_oldest_when_it_is_full():
    window = TraceWindow(size=4)
    for index in range(10):
        window.add(trace(index, 6 * (index + 1)))
    assert window.since(-1)[0] == Percentiles(
        4, 6 * 8.5, pytest.approx(6 * 9.85), pytest.approx(6 * 9.97), 60
    )


def test_an_empty_window_is_a_normal_value():
    total, stages = TraceWindow().since(0)
    assert total == Percentiles() and set(stages) == set(STAGES)


def test_counters_look_back_to_the_reading_before_the_window():
    window = CounterWindow(3_000 * MS)
    spans = [window.read(second * 1_000 * MS, {'n': second**2}) for second in range(6)]
    assert spans[0] == (0.0, {'n': 0})
    assert spans[2] == (2.0, {'n': 4})
    assert spans[5] == (3.0, {'n': 25 - 4})
    assert rate(21, 3.0) == 7.0 and rate(0, 0.0) == 0.0
