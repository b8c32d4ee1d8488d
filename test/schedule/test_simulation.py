"""The claims about the scheduler, in simulations small enough for every test run."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from schedule_helpers import accounted, camera, lane

from benchmarks.support.baselines import (
    RoundRobin,
    first_lane_only,
    fixed,
    one_node_per_camera,
)
from yolox_trt_ros.cli.plan_figures import (
    all_sustained,
    camera_stats,
    drop_ratio,
    fluid_bound_hz,
    highest_sustained_hz,
    lane_utilisation,
)
from yolox_trt_ros.core.config import CameraSimConfig
from yolox_trt_ros.core.errors import DropReason
from yolox_trt_ros.core.profile import LaneProfile, Profile
from yolox_trt_ros.schedule.capacity import Demand, fair_rates
from yolox_trt_ros.schedule.dispatcher import Dispatcher
from yolox_trt_ros.schedule.simulation import Outage, Scenario, Simulation

ORIN = Profile(
    'orin',
    'as in the packaged profile, without jitter',
    (),
    {
        'gpu': LaneProfile('cuda:0', {1: 4.1}, (1.0, 1.155, 1.311)),
        'dla0': LaneProfile('dla:0', {1: 11.69}, (1.0, 1.141, 1.282)),
        'dla1': LaneProfile('dla:1', {1: 11.69}, (1.0, 1.141, 1.282)),
    },
)
LANES = (
    lane('gpu', device='cuda:0', backend='simulated'),
    lane('dla0', device='dla:0', backend='simulated'),
    lane('dla1', device='dla:1', backend='simulated'),
)
PRIORITIES = (4.0, 2.0, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0)


def scenario(rate_hz: float, priorities=(1.0,) * 8, **values) -> Scenario:
    cameras = [
        camera(f'c{i}', rate_hz=rate_hz, priority=priority) for i, priority in enumerate(priorities)
    ]
    return Scenario(cameras, LANES, values.pop('profile', ORIN), **values)


@pytest.mark.parametrize('profile', [ORIN, ORIN.without_slowdown()])
@pytest.mark.parametrize('phases', [None, [0.0] * 8])
def test_ninety_seven_percent_of_the_fluid_bound_is_sustained(profile, phases):
    rate_hz = 0.97 * fluid_bound_hz(LANES, profile, 8)
    run = scenario(rate_hz, profile=profile, phases=phases, duration_s=6.0)
    stats = camera_stats(Simulation(run).run())
    assert all_sustained(stats, run.cameras), (drop_ratio(stats), stats)


def test_the_bisection_finds_what_one_lane_sustains():
    profile = ORIN.without_slowdown()
    bound_hz = fluid_bound_hz(LANES[:1], profile, 8)

    def is_sustained(rate_hz):
        run = first_lane_only(scenario(rate_hz, duration_s=3.0, profile=profile))
        return all_sustained(camera_stats(Simulation(run).run()), run.cameras)

    assert 0.97 * bound_hz < highest_sustained_hz(is_sustained, 1.1 * bound_hz) <= 1.01 * bound_hz


@pytest.mark.parametrize('times', [2, 4])
def test_overload_is_shared_by_priority_and_everything_is_counted(times):
    rate_hz = times * fluid_bound_hz(LANES, ORIN, 8)
    record = Simulation(scenario(rate_hz, PRIORITIES, duration_s=6.0)).run()
    stats = camera_stats(record)
    got_hz = {name: camera.rate_hz for name, camera in stats.items()}
    demands = [Demand(f'c{i}', rate_hz, p) for i, p in enumerate(PRIORITIES)]
    for name, fair_hz in fair_rates(demands, sum(got_hz.values())).items():
        assert got_hz[name] == pytest.approx(fair_hz, rel=0.05)
        # No information is older than four turns at the fair rate and the slowest lane's run.
        assert stats[name].age_ms[3] <= 4000 / fair_hz + 11.69 * 1.282
    assert all(accounted(account) for account in record.final.cameras)


@pytest.mark.parametrize('rate_hz', [10.0, 20.0, 30.0])
def test_no_other_strategy_gives_fresher_information(rate_hz):
    def weighted_p99_ms(make, dispatcher=Dispatcher):
        total = 0.0
        for seed in range(3):
            run = make(scenario(rate_hz, PRIORITIES, duration_s=3.0, seed=seed))
            stats = camera_stats(Simulation(run, dispatcher).run())
            ages = [camera.age_ms[2] for camera in stats.values()]
            total += sum(p * age for p, age in zip(PRIORITIES, ages, strict=True))
        return total

    ours = weighted_p99_ms(lambda run: run)
    assert ours <= 1.001 * weighted_p99_ms(lambda run: fixed(run, (4, 2, 2)))
    assert ours <= 1.001 * weighted_p99_ms(lambda run: run, RoundRobin)
    # Without jitter one lane at 98 % of its capacity repeats the same schedule for ever.
    assert ours <= 1.005 * weighted_p99_ms(first_lane_only)
    assert ours <= 1.001 * weighted_p99_ms(one_node_per_camera)


def test_equal_lanes_work_side_by_side_even_if_that_slows_them_down():
    # One lane alone would be used for 108 % of its time, both together for 86 % each.
    slow = Profile('cpu', '', (), {'cpu': LaneProfile('cpu', {1: 27.0}, (1.0, 1.6), 0.1)})
    run = scenario(5.0, profile=slow, duration_s=20.0, phases=[i / 8 for i in range(8)])
    sim = CameraSimConfig(jitter_ms=5.0)
    cameras = [replace(camera, sim=sim) for camera in run.cameras]
    stats = camera_stats(
        Simulation(replace(run, cameras=cameras, lanes=[lane('cpu0'), lane('cpu1')])).run()
    )
    assert drop_ratio(stats) == 0.0
    assert max(camera.latency_ms[1] for camera in stats.values()) < 2.2 * 27.0


def test_a_lane_dies_and_comes_back():
    fail, back = 5_000_000_000, 15_000_000_000
    run = scenario(33.0, duration_s=20.0, outages=[Outage('dla0', fail / 1e9, back / 1e9)])
    record = Simulation(run).run()
    for account in record.final.cameras:
        assert accounted(account)
        assert {r for r, n in account.dropped.items() if n} <= {
            DropReason.LANE_FAILED,
            DropReason.REPLACED,
        }
    ends = [r.end_ns for r in record.runs if r.lane == 'dla0']
    assert not [end for end in ends if fail < end < back] and max(ends) > back
    assert drop_ratio(camera_stats(record)) < 0.002


def test_all_lanes_die_and_come_back():
    outages = [Outage(name.name, 2.0, 3.0) for name in LANES]
    record = Simulation(scenario(10.0, duration_s=5.0, outages=outages)).run()
    gaps = [r for r in record.results if 2_050_000_000 < r.published_ns < 3_000_000_000]
    assert gaps == []
    assert all(accounted(account) for account in record.final.cameras)
    assert record.results[-1].published_ns > 4_900_000_000


def test_batches_raise_what_is_sustained():
    batching = replace(ORIN, lanes={'gpu': LaneProfile('cuda:0', {1: 4.0, 4: 8.0})})
    one = scenario(45.0, duration_s=3.0, profile=batching)
    one = replace(one, lanes=[lane('gpu', device='cuda:0')])
    four = replace(one, lanes=[lane('gpu', device='cuda:0', max_batch=4)])
    assert drop_ratio(camera_stats(Simulation(one).run())) > 0.2
    assert drop_ratio(camera_stats(Simulation(four).run())) == 0.0


def test_stats_of_a_single_camera_are_those_of_arithmetic():
    run = scenario(10.0, priorities=(1.0,), duration_s=5.0, phases=[0.0])
    record = Simulation(run).run()
    (stats,) = camera_stats(record).values()
    assert (stats.received, stats.published) == (41, 40)
    assert stats.rate_hz == pytest.approx(10.0)
    assert stats.latency_ms == pytest.approx((4.1,) * 4)
    assert stats.age_ms[0] == pytest.approx(54.1, abs=1.0)
    assert stats.age_ms[3] == pytest.approx(104.1, abs=0.6)
    assert lane_utilisation(record)['gpu'] == pytest.approx(0.041, abs=1e-3)


@settings(max_examples=25, deadline=None)
@given(
    rates=st.lists(st.sampled_from((3.0, 10.0, 33.0, 100.0)), min_size=1, max_size=8),
    seed=st.integers(0, 1000),
    depth=st.integers(1, 3),
    deadline_ms=st.sampled_from((0.0, 8.0, 30.0)),
    jitter_ms=st.sampled_from((0.0, 20.0)),
    outage=st.sampled_from(((), (Outage('gpu', 0.3, 0.7),), (Outage('dla0', 0.2),))),
)
def test_no_invariant_breaks_at_any_decision(rates, seed, depth, deadline_ms, jitter_ms, outage):
    cameras = [
        replace(
            camera(f'c{i}', rate_hz=rate, deadline_ms=deadline_ms, priority=1.0 + i % 3),
            sim=CameraSimConfig(jitter_ms=jitter_ms),
        )
        for i, rate in enumerate(rates)
    ]
    lanes = [replace(config, in_flight=depth) for config in LANES]
    run = Scenario(cameras, lanes, ORIN, 1.0, seed, outages=outage)

    def watch(dispatcher, now_ns):
        assert all(accounted(account) for account in dispatcher.snapshot(now_ns).cameras)
        assert all(len(member.running) <= depth for member in dispatcher.lanes.values())

    record = Simulation(run, watch=watch).run()
    newest: dict[str, int] = {}
    for result in record.results:
        assert result.received_ns > newest.get(result.camera, -1)
        newest[result.camera] = result.received_ns
