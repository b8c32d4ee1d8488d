"""Fair shares of what the lanes can do, and what is said to cameras that get less."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolox_trt_ros.schedule.capacity import Capacity, Demand, fair_rates, shortfalls

MS = 1_000_000


def capacity(lane: str, single_ms: float, frame_ms: float) -> Capacity:
    return Capacity(lane, {'': round(single_ms * MS)}, {'': frame_ms * MS})


GPU, DLA = capacity('gpu', 4, 2), capacity('dla', 12, 12)


@given(
    st.lists(st.tuples(st.floats(0.1, 100), st.floats(0.1, 10)), min_size=1, max_size=8),
    st.floats(0.1, 500),
)
def test_fair_rates_fill_the_capacity_and_nobody_gets_more_than_asked(pairs, capacity_hz):
    demands = [Demand(f'c{i}', rate, weight) for i, (rate, weight) in enumerate(pairs)]
    rates = fair_rates(demands, capacity_hz)
    assert sum(rates.values()) == pytest.approx(
        min(capacity_hz, sum(d.rate_hz for d in demands)), rel=1e-9
    )
    # Whoever is cut short has the highest share per weight.
    top = max(rates[d.camera] / d.priority for d in demands)
    for demand in demands:
        assert rates[demand.camera] <= demand.rate_hz * (1 + 1e-9)
        if rates[demand.camera] < demand.rate_hz * (1 - 1e-9):
            assert rates[demand.camera] / demand.priority == pytest.approx(top, rel=1e-6)


def test_who_gets_everything_is_not_mentioned():
    demands = [Demand('a', 300.0), Demand('b', 280.0, deadline_ns=4 * MS)]
    assert shortfalls(demands, [GPU, DLA]) == {}


def test_what_cannot_be_met_is_said_per_camera():
    demands = [Demand('a', 60.0, 3.0), Demand('b', 60.0), Demand('c', 1.0, deadline_ns=5 * MS)]
    missing = shortfalls(demands, [capacity('cpu', 20, 20)])
    assert missing == {
        'a': '36.8 of 60 Hz',
        'b': '12.2 of 60 Hz',
        'c': 'deadline 5 ms, the quickest lane takes 20.0 ms',
    }


def test_a_pinned_camera_has_its_lane_alone():
    demands = [Demand('a', 100.0, lane='dla'), Demand('b', 100.0, deadline_ns=5 * MS)]
    assert shortfalls(demands, [GPU, DLA]) == {'a': '83.3 of 100 Hz'}
    assert shortfalls(demands, [GPU]) == {}, 'while its lane is down any other runs it'


def test_frames_of_a_dearer_model_take_more_of_a_lane():
    gpu = Capacity('gpu', {'': 4 * MS, 'large': 20 * MS}, {'': 2 * MS, 'large': 10 * MS})
    demands = [Demand('a', 250.0), Demand('b', 50.0, deadline_ns=15 * MS, model='large')]
    late = 'deadline 15 ms, the quickest lane takes 20.0 ms'
    assert shortfalls(demands, [gpu]) == {'b': late}, 'half of the time for each'
    more = [Demand('a', 250.0), Demand('b', 100.0, model='large')]
    assert shortfalls(more, [gpu]) == {'a': '83.3 of 250 Hz', 'b': '83.3 of 100 Hz'}
