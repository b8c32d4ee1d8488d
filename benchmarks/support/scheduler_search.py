"""Random vehicles for the scheduler, and what it promises for each of them."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

import numpy as np

from benchmarks.support.baselines import ConstantBatch
from yolox_trt_ros.core.config import CameraConfig, CameraSimConfig, LaneConfig, RigConfig
from yolox_trt_ros.core.errors import DropReason
from yolox_trt_ros.core.profile import LaneProfile, Profile
from yolox_trt_ros.core.snapshot import CameraSnapshot
from yolox_trt_ros.schedule.capacity import Demand, fair_rates
from yolox_trt_ros.schedule.dispatcher import Dispatcher
from yolox_trt_ros.schedule.simulation import SETTLE_NS, Outage, Record, Scenario, Simulation

SHARE = 0.5
"""No camera gets less than this part of its fair share …"""
ROUNDS = 6
"""… over so many rounds in which each camera has as many turns as its priority says, and a turn
takes as long as the longest period or call."""
OF_THE_BEST = 0.95
"""Part of what the best constant batch size does that is done under overload."""
SEEDS = 10
"""Random vehicles for each process between two lines of progress."""
LOSES = 0.05
"""A camera's deadline collides with others if it loses more than this part of its frames by it."""


def _search_one(seed: int) -> tuple[list[str], int]:
    """Return which promises were broken for one random vehicle, and how many decisions it took."""
    found, record = broken_promises(random_scenario(seed))
    return [f'seed {seed}: {promise}' for promise in found[:3]], record.decisions


def search(decisions: int, first_seed: int, processes: int) -> dict[str, Any]:
    """Return which promises were broken over many decisions for random vehicles.

    Args:
        decisions: at least so many.
        first_seed: of the first vehicle; the others follow.
        processes: how many search at the same time.
    """
    done, seed, broken = 0, first_seed, []
    with ProcessPoolExecutor(processes) as pool:
        while done < decisions:
            seeds = range(seed, seed + SEEDS * processes)
            for found, count in pool.map(_search_one, seeds):
                broken += found
                done += count
            seed = seeds.stop
            print(
                f'{done:,} of {decisions:,} decisions, broken promises: {broken or "none"}',
                file=sys.stderr,
                flush=True,
            )
    return {'decisions': done, 'vehicles': seed - first_seed, 'broken': broken}


def exact(camera: CameraSnapshot) -> bool:
    """Return whether every received frame is in exactly one place."""
    dropped = sum(camera.dropped.values())
    return camera.received == camera.published + dropped + camera.waiting + camera.in_flight


def random_scenario(seed: int, windows: float = 3.0) -> Scenario:
    """Return a vehicle of 2 to 8 cameras and 1 to 3 lanes, at 0.3 to 3 times what they can do.

    Args:
        seed: of everything.
        windows: how long it is simulated: so many of the times over which shares are promised.
    """
    random = np.random.default_rng(seed)
    lanes, figures = [], {}
    count = int(random.integers(1, 4))
    slowdown = tuple(np.cumsum([1.0, *random.uniform(0, 0.4, count - 1)]).tolist())
    jitter = float(random.choice((0.0, 0.03, 0.1)))
    for index in range(count):
        name = f'lane_{index}'
        most = int(random.choice((1, 1, 2, 4, 8)))
        lanes.append(
            LaneConfig(
                name,
                device=f'cuda:{index}',
                backend='simulated',
                max_batch=most,
                in_flight=int(random.integers(1, 4)),
            )
        )
        figures[name] = LaneProfile(f'cuda:{index}', _curve(random, most), slowdown, jitter)
    profile = Profile('random', '', (), figures)
    cameras = _cameras(random, lanes, profile)
    trigger = random.choice(('together', 'staggered', 'random'))
    phases = {
        'together': (random.random(len(cameras)) * 0.02).tolist(),
        'staggered': [index / len(cameras) for index in range(len(cameras))],
        'random': None,
    }[trigger]
    longest_s = max(1 / camera.rate_hz for camera in cameras)
    outages = []
    if count > 1 and random.random() < 0.3:
        outages = [Outage('lane_0', 1 + 20 * longest_s, 1 + 40 * longest_s)]
    seconds = 1 + _window_s(cameras, profile, lanes) * windows
    return Scenario(cameras, lanes, profile, min(60.0, seconds), seed, phases, 0, outages)


def _curve(random: np.random.Generator, most: int) -> dict[int, float]:
    """Return milliseconds by batch size: straight, nearly flat, or anything."""
    base = float(random.uniform(1, 15))
    sizes = range(1, most + 1)
    kind = random.integers(3)
    if kind == 0:
        step = random.uniform(0.1, 1.0)
        return {size: base * (1 + (size - 1) * step) for size in sizes}
    if kind == 1:
        return {size: base * (1 + 0.03 * (size - 1)) for size in sizes}
    return {1: base} | {size: base * float(random.uniform(0.5, 4)) for size in sizes[1:]}


def best_call(lane: LaneConfig, profile: Profile, busy: int, cameras: int) -> tuple[float, int]:
    """Return the frames a second of the best constant batch size, and that size."""
    figures = profile.lane(lane)
    sizes = range(1, min(cameras, lane.max_batch) + 1)
    return max((size * 1e9 / figures.cost_ns(size, busy), size) for size in sizes)


def _cameras(
    random: np.random.Generator, lanes: list[LaneConfig], profile: Profile
) -> list[CameraConfig]:
    count = int(random.integers(2, 9))
    capacity_hz = sum(best_call(lane, profile, len(lanes) - 1, count)[0] for lane in lanes)
    weights = random.choice((1.0, 1.0, 2.0, 5.0), count)
    load = float(random.choice((0.3, 0.6, 0.9, 1.5, 3.0)))
    rates = np.minimum(1000.0, capacity_hz * load * weights / weights.sum())
    quickest_ms = min(profile.lane(lane).cost_ns(1, len(lanes) - 1) for lane in lanes) / 1e6
    tight = float(random.choice((0.0, 0.0, 0.5, 1.0, 1.0)))
    return [
        CameraConfig(
            f'camera_{index}',
            RigConfig(),
            CameraSimConfig(jitter_ms=float(random.choice((0.0, 0.0, 50.0))) / rate),
            rate_hz=float(rate),
            priority=float(random.choice((1.0, 1.0, 2.0, 4.0, 10.0))),
            deadline_ms=float(
                random.uniform(1.2, 4) * quickest_ms if random.random() < tight else 0.0
            ),
        )
        for index, rate in enumerate(rates)
    ]


def _window_s(
    cameras: Sequence[CameraConfig], profile: Profile, lanes: Sequence[LaneConfig]
) -> float:
    """Return the time over which shares are promised."""
    round_s = max(
        *(1 / camera.rate_hz for camera in cameras),
        *(
            profile.lane(lane).cost_ns(size, len(lanes) - 1) / 1e9
            for lane in lanes
            for size in range(1, lane.max_batch + 1)
        ),
    )
    priorities = [camera.priority for camera in cameras]
    return ROUNDS * round_s * sum(priorities) / min(priorities)


def broken_promises(scenario: Scenario) -> tuple[list[str], Record]:
    """Simulate and return what the scheduler has promised and not kept."""
    broken: list[str] = []

    def watch(dispatcher: Dispatcher, now_ns: int) -> None:
        for name, camera in dispatcher.cameras.items():
            pending = len(camera.mailbox) + camera.in_flight
            dropped = sum(camera.dropped.values())
            if camera.received != camera.published + dropped + pending:
                broken.append(f'{name}: the account is wrong at {now_ns} ns')
            if camera.published_sequence > camera.taken_sequence:
                broken.append(f'{name}: published before it was taken at {now_ns} ns')
        for name, lane in dispatcher.lanes.items():
            sizes = [len(batch.frames) for batch in lane.running]
            if len(sizes) > lane.config.in_flight or max(sizes, default=0) > lane.config.max_batch:
                broken.append(f'{name}: batches of {sizes} at {now_ns} ns')

    record = Simulation(scenario, watch=watch).run()
    broken += _unordered(record) + _unfair(scenario, record) + _wasted(scenario, record)
    return broken, record


def _unordered(record: Record) -> list[str]:
    newest: dict[str, int] = {}
    broken = []
    for result in record.results:
        if result.received_ns <= newest.get(result.camera, -1):
            broken.append(f'{result.camera}: out of order at {result.published_ns} ns')
        newest[result.camera] = result.received_ns
    return broken


def _unfair(scenario: Scenario, record: Record) -> list[str]:
    """Return the windows in which a camera got less than it is promised of its share.

    A share is no more than one frame of each call. A camera is promised its share of no more than
    the calls of the busiest lane, for lanes that are done at the same time find one frame of it;
    of every second call where a lane takes batches in advance, for it has one frame in flight; and
    where deadlines collide, of no more than its part, by priority, of one frame in each of its
    periods.
    """
    window_ns = round(_window_s(scenario.cameras, scenario.profile, scenario.lanes) * 1e9)
    accounts = record.final.cameras if record.final else ()
    losers = {
        a.name: a.priority for a in accounts if a.dropped[DropReason.HOPELESS] > LOSES * a.received
    }
    most_hz = {
        camera.name: camera.rate_hz * camera.priority / sum(losers.values())
        if camera.name in losers
        else camera.rate_hz
        for camera in scenario.cameras
    }
    ahead = {lane.name: min(lane.in_flight, 2) for lane in scenario.lanes}
    broken = []
    for begin_ns in range(10**9, record.duration_ns - window_ns + 1, window_ns // 2):
        end_ns = begin_ns + window_ns
        got = Counter(r.camera for r in record.results if begin_ns <= r.published_ns < end_ns)
        calls = Counter(run.lane for run in record.runs if begin_ns <= run.end_ns < end_ns)
        calls_hz = sum(calls.values()) * 1e9 / window_ns
        demands = [Demand(c.name, min(c.rate_hz, calls_hz), c.priority) for c in scenario.cameras]
        fair = fair_rates(demands, sum(got.values()) * 1e9 / window_ns)
        most = max((count / ahead[lane] for lane, count in calls.items()), default=0)
        for name, rate_hz in fair.items():
            share = min(min(rate_hz, most_hz[name]) * window_ns / 1e9, most)
            if got[name] < SHARE * share - 1:
                broken.append(f'{name}: {got[name]} results of {share:.1f} from {begin_ns} ns')
    return broken


def _wasted(scenario: Scenario, record: Record) -> list[str]:
    """Return whether overloaded lanes did less than with batches of the best constant size.

    A camera's frames are on one lane at a time; so lanes whose most economical calls have more
    frames together than there are cameras are promised nothing.
    """
    count, lanes, profile = len(scenario.cameras), scenario.lanes, scenario.profile
    best = [best_call(lane, profile, len(lanes) - 1, count) for lane in lanes]
    offered_hz = sum(camera.rate_hz for camera in scenario.cameras)
    if any(camera.deadline_ms for camera in scenario.cameras) or scenario.outages:
        return []
    if offered_hz < sum(hz for hz, _ in best):
        return []
    if len(lanes) > 1 and sum(size for _, size in best) > count:
        return []
    got = _settled_results(record)
    for size in range(1, min(count, max(lane.max_batch for lane in lanes)) + 1):
        constant = Simulation(scenario, partial(ConstantBatch, size=size)).run()
        best_results = _settled_results(constant)
        if got < OF_THE_BEST * best_results - size:
            return [f'{got} results, {best_results} with batches of {size}']
    return []


def _settled_results(record: Record) -> int:
    return sum(result.published_ns >= SETTLE_NS for result in record.results)
