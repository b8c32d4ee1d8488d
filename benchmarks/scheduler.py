"""How cameras share lanes: this scheduler against four others, in simulation and on threads."""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from benchmarks.support import scheduler_rules
from benchmarks.support.baselines import (
    RoundRobin,
    first_lane_only,
    fixed,
    one_node_per_camera,
)
from benchmarks.support.scheduler_search import exact, search
from yolox_trt_ros.cli.plan_figures import (
    all_sustained,
    at_rate,
    camera_stats,
    fluid_bound_hz,
    highest_sustained_hz,
)
from yolox_trt_ros.core.config import CameraConfig, CameraSimConfig, LaneConfig, RigConfig
from yolox_trt_ros.core.errors import DropReason
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.profile import Profile
from yolox_trt_ros.core.trace import FrameTrace
from yolox_trt_ros.detect.backends.simulated import SimulatedDetector, SimulatedMachine
from yolox_trt_ros.schedule.capacity import Demand, fair_rates
from yolox_trt_ros.schedule.dispatcher import Dispatcher
from yolox_trt_ros.schedule.lane import LaneSpec
from yolox_trt_ros.schedule.pipeline import Pipeline
from yolox_trt_ros.schedule.simulation import Outage, Scenario, Simulation
from yolox_trt_ros.vehicle_files import load_profile

PRIORITIES = (4.0, 2.0, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0)
RATES_HZ = (10.0, 20.0, 30.0)
OVERLOADS = (2, 4)


@dataclass(frozen=True, slots=True)
class Strategy:
    """One kind of scheduling: how it changes a scenario, and its dispatcher."""

    name: str
    prepare: Callable[[Scenario], Scenario]
    dispatcher: Callable[..., Dispatcher] = Dispatcher


STRATEGIES = (
    Strategy('this scheduler', lambda scenario: scenario),
    Strategy('fixed 4/2/2', lambda scenario: fixed(scenario, (4, 2, 2))),
    Strategy('round robin', lambda scenario: scenario, RoundRobin),
    Strategy('one lane only', first_lane_only),
    Strategy('a node per camera', one_node_per_camera),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument('--profile', default='orin_agx_maxn', help='engine profile')
    parser.add_argument('--seeds', type=int, default=12, help='repetitions with other phases')
    parser.add_argument('--first-seed', type=int, default=0, help='seed of the first one')
    parser.add_argument('--seconds', type=float, default=3.0, help='simulated time of one run')
    parser.add_argument(
        '--decisions',
        type=int,
        default=100_000,
        help='decisions for random vehicles searched for broken promises',
    )
    parser.add_argument('--processes', type=int, default=1, help='that search at the same time')
    parser.add_argument('--ablation', action='store_true', help='only measure what each rule earns')
    parser.add_argument(
        '--real-seconds', type=float, default=10.0, help='time on real threads with simulated lanes'
    )


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Return all comparisons."""
    profile = load_profile(args.profile)
    if args.ablation:
        seeds = range(args.first_seed, args.first_seed + args.seeds)
        return {'ablation': scheduler_rules.measure(profile, seeds)}
    machines = {'alone': profile.without_slowdown(), 'slowed': profile}
    return {
        'highest_rate_hz': {n: _highest_rates(p, args.seconds) for n, p in machines.items()},
        'weighted_p99_age_ms': {n: _ages(p, args) for n, p in machines.items()},
        'overload': {f'{k}x': _overload(profile, k, args.seconds) for k in OVERLOADS},
        'outage': _outage(profile),
        'real_threads': _real_threads(profile, args.real_seconds),
        'decision_us': _decision_times(profile),
        'decisions': search(args.decisions, args.first_seed, args.processes),
    }


def rows(result: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return the table of a result."""
    if 'ablation' in result:
        return scheduler_rules.rows(result['ablation'])
    table: list[tuple[str, ...]] = [('', *(strategy.name for strategy in STRATEGIES))]
    for machine, rates in result['highest_rate_hz'].items():
        bound = rates['fluid bound']
        cells = [
            f'{rates[strategy.name]:.1f} {rates[strategy.name] / bound:.0%}'
            for strategy in STRATEGIES
        ]
        table.append((f'top rate, Hz of {bound:.1f}; {machine}', *cells))
    for machine, ages in result['weighted_p99_age_ms'].items():
        for rate, row in ages.items():
            for aggregate in ('mean', 'largest'):
                cells = [f'{row[strategy.name][aggregate]:.1f}' for strategy in STRATEGIES]
                table.append((f'p99 age, {aggregate}, ms, {rate} Hz; {machine}', *cells))
    for times, overload in result['overload'].items():
        counted = 'exactly' if overload['accounts_exact'] else 'WRONGLY'
        table.append((f'overload {times}: counted', counted))
        table.append(('  shares off by at most', f'{overload["largest_share_error"]:.1%}'))
        table.append(('  oldest, of its bound', f'{overload["oldest_of_bound"]:.0%}'))
    outage, real, search = result['outage'], result['real_threads'], result['decisions']
    table.append((f'{outage["lane"]} dies: oldest, ms', f'{outage["oldest_ms"]:.1f}'))
    table.append(('  back: used again', 'yes' if outage['used_again'] else 'NO'))
    for level in ('p50', 'p95'):
        table.append((f'{level}, planned, ms', f'{real["planned_ms"][level]:.2f}'))
        table.append(('  on real threads', f'{real["measured_ms"][level]:.2f}'))
    table.append(('decisions searched', f'{search["decisions"]:,}'))
    table.append(('  for random vehicles', f'{search["vehicles"]}'))
    table.append(('  broken promises', f'{len(search["broken"])}'))
    for lanes, us in result['decision_us'].items():
        table.append(
            (f'time of one, p50 p99, {lanes} lanes', f'{us["p50"]:.0f} {us["p99"]:.0f} µs')
        )
    return table


def orin_scenario(
    profile: Profile,
    rate_hz: float,
    seconds: float,
    priorities: Sequence[float] = PRIORITIES,
    seed: int = 0,
) -> Scenario:
    """Return cameras at one rate on the profile's lanes, batch 1."""
    cameras = [
        CameraConfig(
            f'camera_{index}', RigConfig(), CameraSimConfig(), rate_hz=rate_hz, priority=priority
        )
        for index, priority in enumerate(priorities)
    ]
    lanes = [
        LaneConfig(name, device=lane.device, backend='simulated')
        for name, lane in profile.lanes.items()
    ]
    return Scenario(cameras, lanes, profile, seconds, seed)


def _highest_rates(profile: Profile, seconds: float) -> dict[str, float]:
    base = orin_scenario(profile, 1.0, seconds, (1.0,) * len(PRIORITIES))
    bound_hz = fluid_bound_hz(base.lanes, profile, len(base.cameras))
    rates = {'fluid bound': round(bound_hz, 2)}
    for strategy in STRATEGIES:

        def sustained(rate_hz: float, strategy: Strategy = strategy) -> bool:
            scenario = strategy.prepare(replace(base, cameras=at_rate(base.cameras, rate_hz)))
            stats = camera_stats(Simulation(scenario, strategy.dispatcher).run())
            return all_sustained(stats, scenario.cameras)

        rates[strategy.name] = round(highest_sustained_hz(sustained, 1.05 * bound_hz), 2)
    return rates


def _ages(profile: Profile, args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Return the p99 age per strategy and rate: mean, largest of priority × age, cameras."""
    table: dict[str, dict[str, Any]] = {}
    for rate_hz in RATES_HZ:
        row = table[f'{rate_hz:g}'] = {}
        for strategy in STRATEGIES:
            ages = []
            for seed in range(args.first_seed, args.first_seed + args.seeds):
                scenario = orin_scenario(profile, rate_hz, args.seconds, seed=seed)
                record = Simulation(strategy.prepare(scenario), strategy.dispatcher).run()
                ages.append([camera.age_ms for camera in camera_stats(record).values()])
            mean = np.mean(ages, axis=0)
            weighted = mean[:, 2] * PRIORITIES
            row[strategy.name] = {
                'mean': round(float(weighted.sum() / sum(PRIORITIES)), 2),
                'largest': round(float(weighted.max()), 2),
                'p50': np.round(mean[:, 0], 2).tolist(),
                'p99': np.round(mean[:, 2], 2).tolist(),
                'worst': np.round(np.max(ages, axis=0)[:, 3], 2).tolist(),
            }
    return table


def _overload(profile: Profile, times: int, seconds: float) -> dict[str, Any]:
    scenario = orin_scenario(profile, 1.0, 2 * seconds)
    bound_hz = fluid_bound_hz(scenario.lanes, profile, len(scenario.cameras))
    rate_hz = times * bound_hz
    scenario = replace(scenario, cameras=at_rate(scenario.cameras, rate_hz))
    record = Simulation(scenario).run()
    stats = camera_stats(record)
    total_hz = sum(camera.rate_hz for camera in stats.values())
    demands = [Demand(camera.name, rate_hz, camera.priority) for camera in scenario.cameras]
    fair = fair_rates(demands, total_hz)
    slowest_ms = max(
        profile.lane(lane).cost_ns(1, len(scenario.lanes) - 1) / 1e6 for lane in scenario.lanes
    )
    # Four turns at the fair rate, and the slowest lane's run.
    bounds_ms = {name: 4000 / share + slowest_ms for name, share in fair.items()}
    return {
        'largest_share_error': round(
            max(abs(camera.rate_hz / fair[name] - 1) for name, camera in stats.items()), 4
        ),
        'age_bound_ms': {name: round(bound, 1) for name, bound in bounds_ms.items()},
        'oldest_of_bound': round(
            max(camera.age_ms[3] / bounds_ms[name] for name, camera in stats.items()), 3
        ),
        'accounts_exact': all(exact(c) for c in record.final.cameras) if record.final else False,
    }


def _outage(profile: Profile) -> dict[str, Any]:
    """Return what the death of the busiest lane for ten seconds costs."""
    scenario = orin_scenario(profile, 20.0, 20.0)
    lost = scenario.lanes[0].name
    record = Simulation(replace(scenario, outages=[Outage(lost, 5.0, 15.0)])).run()
    stats = camera_stats(record)
    return {
        'lane': lost,
        'oldest_ms': round(max(camera.age_ms[3] for camera in stats.values()), 1),
        'used_again': any(run.lane == lost and run.end_ns > 15e9 for run in record.runs),
        'dropped': {
            reason.value: sum(camera.dropped.get(reason, 0) for camera in stats.values())
            for reason in DropReason
            if any(reason in camera.dropped for camera in stats.values())
        },
        'accounts_exact': all(exact(c) for c in record.final.cameras) if record.final else False,
    }


def _decision_times(profile: Profile) -> dict[int, dict[str, float]]:
    """Return the CPU time of a decision that takes frames: p50 and p99 by the number of lanes.

    On the profile's lanes and on twice these; with spare time, near the limit, under overload.
    """
    times: list[float] = []

    class Timed(Dispatcher):
        def dispatch(self, now_ns: int) -> list[Any]:
            begin = time.thread_time_ns()
            batches = super().dispatch(now_ns)
            if batches:
                times.append((time.thread_time_ns() - begin) / 1e3)
            return batches

    result = {}
    for count in (1, 2):
        times.clear()
        for rate_hz in (20.0, 45.0, 120.0):
            scenario = orin_scenario(profile, count * rate_hz, 4.0)
            lanes = [
                replace(lane, name=f'{lane.name}{suffix}')
                for suffix in ('', '_2')[:count]
                for lane in scenario.lanes
            ]
            Simulation(replace(scenario, lanes=lanes), Timed, keep=False).run()
        p50, p99 = np.percentile(times, (50, 99)).round(1).tolist()
        result[len(lanes)] = {'p50': p50, 'p99': p99}
    return result


def _real_threads(profile: Profile, seconds: float) -> dict[str, Any]:
    """Return latency on the pipeline's real threads, and as planned from what it cost there.

    A thread's wake-up and the publication add a few tenths of a millisecond to each call; the plan
    is made with the costs that the pipeline itself measured at its warm-up.
    """
    scenario = orin_scenario(profile, 20.0, max(5.0, seconds))
    machine = SimulatedMachine({lane.name: profile.lane(lane) for lane in scenario.lanes})
    traces: list[FrameTrace] = []

    def build(lane: LaneConfig) -> Callable[[], SimulatedDetector]:
        return lambda: SimulatedDetector(machine, lane.name, lane.max_batch)

    with Pipeline(
        scenario.cameras,
        [LaneSpec(lane, build(lane)) for lane in scenario.lanes],
        lambda *_: None,
        on_trace=lambda _frame, trace: traces.append(trace),
    ) as pipeline:
        measured = _measured(pipeline, profile, scenario.lanes)
        feeder = threading.Thread(target=_feed, args=(pipeline, scenario.cameras, seconds))
        feeder.start()
        feeder.join()
        pipeline.drain()
    publish_ns = round(float(np.median([trace.stages_ns()['publish'] for trace in traces])))
    phases = [index / len(scenario.cameras) for index in range(len(scenario.cameras))]
    planned = Simulation(
        replace(scenario, profile=measured, phases=phases, publish_ns=publish_ns)
    ).run()
    return {
        'planned_ms': _percentiles([r.published_ns - r.received_ns for r in planned.results]),
        'measured_ms': _percentiles([trace.total_ns for trace in traces]),
        'results': len(traces),
    }


def _measured(pipeline: Pipeline, profile: Profile, lanes: Sequence[LaneConfig]) -> Profile:
    figures = {}
    for lane in lanes:
        costs = pipeline.dispatcher.lanes[lane.name].costs['']
        steps = [costs.expect(1, load) for load in range(len(lanes))]
        slowdown = np.maximum.accumulate(np.array(steps) / steps[0]).tolist()
        figures[lane.name] = replace(
            profile.lane(lane), cost_ms={1: steps[0] / 1e6}, slowdown=tuple(slowdown)
        )
    return replace(profile, lanes=figures)


def _percentiles(values_ns: Sequence[int]) -> dict[str, float]:
    p50, p95, p99 = np.percentile(np.array(values_ns) / 1e6, (50, 95, 99)).tolist()
    return {'p50': round(p50, 2), 'p95': round(p95, 2), 'p99': round(p99, 2)}


def _feed(pipeline: Pipeline, cameras: Sequence[CameraConfig], seconds: float) -> None:
    """Offer frames of all cameras in turn, evenly spaced, at the first camera's rate."""
    pixels = np.zeros(12, np.uint8)
    step_ns = round(1e9 / cameras[0].rate_hz / len(cameras))
    begin_ns = time.monotonic_ns()
    for index in range(round(seconds * 1e9 / step_ns)):
        due_ns = begin_ns + index * step_ns
        time.sleep(max(0, due_ns - time.monotonic_ns()) / 1e9)
        name = cameras[index % len(cameras)].name
        sequence, now_ns = pipeline.next_sequence(name), time.monotonic_ns()
        pipeline.offer(Frame(name, sequence, now_ns, now_ns, name, 'bgr8', 2, 2, 6, pixels))
