import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yolox_trt_ros.schedule.placement import (
    MAX_CAMERAS,
    Capacity,
    Demand,
    evaluate,
    fair_rates,
    place,
    responses,
    utilisation,
)

MS = 1_000_000
ORIN = (
    Capacity('gpu', 4_100_000, 4_100_000),
    Capacity('dla0', 11_690_000, 11_690_000),
    Capacity('dla1', 11_690_000, 11_690_000),
)


@st.composite
def problems(draw):
    capacities = []
    for index in range(draw(st.integers(1, 4))):
        response = draw(st.integers(1, 40)) * MS
        capacities.append(Capacity(f'l{index}', response, response // draw(st.integers(1, 4))))
    lanes = [capacity.lane for capacity in capacities]
    demands = [
        Demand(
            f'c{index}',
            draw(st.sampled_from((1.0, 5.0, 10.0, 30.0, 60.0))),
            draw(st.sampled_from((0.5, 1.0, 2.0, 4.0))),
            draw(st.sampled_from((0, 0, 20, 50, 100))) * MS,
            draw(st.sampled_from(('', '', '', *lanes))),
        )
        for index in range(draw(st.integers(1, 5)))
    ]
    return demands, capacities


@settings(max_examples=2000, deadline=None)
@given(problems())
def test_no_assignment_is_better_than_the_one_found(problem):
    demands, capacities = problem
    choices = [[demand.lane] if demand.lane else [c.lane for c in capacities] for demand in demands]
    names = [demand.camera for demand in demands]
    best = min(
        evaluate(dict(zip(names, lanes, strict=True)), demands, capacities).score
        for lanes in itertools.product(*choices)
    )
    assert place(demands, capacities).score == best


def test_eight_equal_cameras_on_orin_spread_four_two_two():
    placement = place([Demand(f'c{i}', 10.0) for i in range(8)], ORIN)
    lanes = list(placement.lanes.values())
    assert [lanes.count(name) for name in ('gpu', 'dla0', 'dla1')] == [4, 2, 2]
    assert placement.score.feasible and placement.missing == {}
    assert placement.utilisation['gpu'] == pytest.approx(4 * 10 * 0.0041)
    assert max(placement.response_ns.values()) == 2 * 11_690_000


def test_a_pin_is_kept_and_the_others_make_room():
    demands = [Demand('wide', 30.0, lane='dla0')] + [Demand(f'c{i}', 30.0) for i in range(3)]
    placement = place(demands, ORIN)
    assert placement.lanes['wide'] == 'dla0'
    assert list(placement.lanes.values()).count('dla0') == 1


def test_urgent_cameras_get_the_quick_lane():
    demands = [Demand('urgent', 10.0, priority=10.0), *(Demand(f'c{i}', 10.0) for i in range(4))]
    placement = place(demands, ORIN)
    assert placement.lanes['urgent'] == 'gpu'


def test_what_cannot_be_met_is_told_per_camera():
    demands = [Demand('a', 60.0, 3.0), Demand('b', 60.0), Demand('c', 1.0, deadline_ns=5 * MS)]
    placement = place(demands, [Capacity('cpu', 20 * MS, 20 * MS)])
    assert not placement.score.feasible
    assert placement.missing['a'] == '36.8 of 60 Hz'
    assert placement.missing['b'] == '12.2 of 60 Hz'
    assert 'deadline 5 ms' in placement.missing['c']
    assert placement.score.late == 1


def test_worst_response_counts_who_goes_first_and_who_has_just_started():
    demands = [Demand('high', 1.0, 2.0), Demand('low', 1.0), Demand('other', 1.0)]
    assert responses(demands, Capacity('x', 10 * MS, 10 * MS)) == [20 * MS, 30 * MS, 30 * MS]


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


def test_utilisation_counts_the_cheapest_batch():
    assert utilisation([Demand('a', 50.0)], Capacity('gpu', 4 * MS, 2 * MS)) == pytest.approx(0.1)


def test_bad_problems_are_refused():
    with pytest.raises(ValueError, match='at least one lane'):
        place([Demand('a', 1.0)], [])
    with pytest.raises(ValueError, match=f'at most {MAX_CAMERAS} cameras, got 11'):
        place([Demand(f'c{i}', 1.0) for i in range(11)], ORIN)
    with pytest.raises(ValueError, match='no lane "tpu"'):
        place([Demand('a', 1.0, lane='tpu')], ORIN)
    with pytest.raises(ValueError, match='camera a: expected one of'):
        evaluate({}, [Demand('a', 1.0)], ORIN)
