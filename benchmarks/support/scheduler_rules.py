"""What each rule of the scheduler earns: the same vehicles without it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from unittest import mock

import numpy as np

from yolox_trt_ros.cli.plan_figures import camera_stats
from yolox_trt_ros.core.config import CameraConfig, CameraSimConfig, LaneConfig, RigConfig
from yolox_trt_ros.core.profile import LaneProfile, Profile
from yolox_trt_ros.schedule import order, policy
from yolox_trt_ros.schedule.camera import Camera
from yolox_trt_ros.schedule.costs import CostModel, Quote
from yolox_trt_ros.schedule.dispatcher import Dispatcher
from yolox_trt_ros.schedule.simulation import Scenario, Simulation

PRIORITIES = (4.0, 2.0, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0)
CPU = Profile(
    'cpu', '', (), {name: LaneProfile('cpu', {1: 27.0}, (1.0, 1.6), 0.1) for name in ('a', 'b')}
)
GPU = Profile(
    'gpu', '', (), {'gpu': LaneProfile('cuda:0', {1: 3.4, 2: 5.1, 4: 11.8, 8: 13.5}, jitter=0.03)}
)
ONE = Profile('one', '', (), {'gpu': LaneProfile('cuda:0', {1: 10.0}, jitter=0.03)})


def _vehicle(
    profile: Profile,
    rate_hz: float,
    jitter_ms: float,
    seconds: float = 4.0,
    priorities: Sequence[float] = PRIORITIES,
    phases: Sequence[float] | None = None,
    **values: float,
) -> Callable[[int], Scenario]:
    cameras = [
        CameraConfig(
            f'camera_{index}',
            RigConfig(),
            CameraSimConfig(jitter_ms=jitter_ms),
            rate_hz=rate_hz,
            priority=priority,
            deadline_ms=values.get('deadline_ms', 0.0),
        )
        for index, priority in enumerate(priorities)
    ]
    lanes = [
        LaneConfig(
            name,
            device=lane.device,
            backend='simulated',
            max_batch=max(lane.cost_ms) if len(profile.lanes) == 1 else 1,
            in_flight=1 if lane.device == 'cpu' else 2,
        )
        for name, lane in profile.lanes.items()
    ]
    return lambda seed: Scenario(cameras, lanes, profile, seconds, seed, phases)


def vehicles(orin: Profile) -> dict[str, Callable[[int], Scenario]]:
    """Return what rules are tried on, each by a seed."""
    return {
        'Orin 20 Hz': _vehicle(orin, 20.0, 1.0),
        'Orin 30 Hz': _vehicle(orin, 30.0, 1.0),
        'Orin one trigger 38.5 Hz': _vehicle(orin, 38.5, 0.0, phases=[0.0] * 8),
        'CPU 5 Hz': _vehicle(CPU, 5.0, 5.0, 12.0),
        'CPU overload 10 Hz': _vehicle(CPU, 10.0, 5.0, 12.0),
        'GPU batches 40 Hz': _vehicle(GPU, 40.0, 1.0),
        'GPU overload 120 Hz': _vehicle(GPU, 120.0, 1.0),
        'GPU one trigger 76 Hz': _vehicle(GPU, 76.0, 1.0, phases=[0.0] * 8),
        'Orin overload 100 Hz': _vehicle(orin, 100.0, 1.0),
        'deadlines collide': _vehicle(
            ONE, 30.0, 0.5, 8.0, (1.0, 1.0), (0.0, 0.05), deadline_ms=15.0
        ),
    }


def _by_arrival(waiting: Sequence[order.Entry], _now_ns: int) -> list[order.Entry]:
    return sorted(waiting, key=lambda entry: entry[1])


def _quickest_only(camera, able, now_ns, due_ns):  # type: ignore[no-untyped-def]
    quickest = min(able, key=lambda plan: plan.single_ns, default=None)
    return _choose(camera, [quickest] if quickest else [], now_ns, due_ns)


def _never_behind(
    self: order.FairQueue, cameras: Sequence[Camera], lacking: Sequence[Camera]
) -> None:
    _level(self, cameras, lacking)
    for camera in cameras:
        camera.behind = False


_choose = policy._choose
_level = order.FairQueue._level
_expect = CostModel.expect


def _without_load(self: CostModel, batch: int, _load: int = 0) -> int:
    return _expect(self, batch, 0)


def rules() -> dict[str, Callable[[], AbstractContextManager[object]]]:
    """Return what is taken away, one rule at a time."""
    patch = mock.patch.object
    return {
        'all rules': nullcontext,
        'order of arrival, not of age': lambda: patch(order, '_by_age', _by_arrival),
        'no fair queueing under overload': lambda: patch(order, 'OVERLOAD', 2.0),
        'no owed frames': lambda: patch(order, 'LOSING', 0),
        'who is behind waits like others': lambda: patch(order.FairQueue, '_level', _never_behind),
        'quickest lane only': lambda: patch(policy, '_choose', _quickest_only),
        'a backlog takes as long as it takes': lambda: patch(policy, 'BACKLOG', 1),
        'one frame a call': lambda: mock.patch.multiple(
            Quote, size=lambda *_: 1, worth_waiting=lambda *_: (1, 0)
        ),
        'batches as if never short of time': lambda: patch(
            Quote, 'size', lambda quote, n, _short: _size(quote, n, False)
        ),
        'batches as if always short of time': lambda: patch(
            Quote, 'size', lambda quote, n, _short: _size(quote, n, True)
        ),
        'no waiting for a batch under overload': lambda: patch(
            order.FairQueue, 'waits_ns', lambda *_: []
        ),
        'costs without load': lambda: patch(CostModel, 'expect', _without_load),
    }


_size = Quote.size


def measure(orin: Profile, seeds: Sequence[int]) -> dict[str, dict[str, float]]:
    """Return the weighted mean of the cameras' p99 age, ms, for each vehicle and rule."""
    return {
        vehicle: {rule: _age_ms(make, without, seeds) for rule, without in rules().items()}
        for vehicle, make in vehicles(orin).items()
    }


def _age_ms(
    make: Callable[[int], Scenario],
    without: Callable[[], AbstractContextManager[object]],
    seeds: Sequence[int],
) -> float:
    ages = []
    with without():
        for seed in seeds:
            scenario = make(seed)
            stats = camera_stats(Simulation(scenario, Dispatcher).run())
            weights = [camera.priority for camera in scenario.cameras]
            p99 = [stats[camera.name].age_ms[2] for camera in scenario.cameras]
            ages.append(float(np.average(p99, weights=weights)))
    return round(float(np.mean(ages)), 2)


def rows(ages_ms: dict[str, dict[str, float]]) -> list[tuple[str, ...]]:
    """Return how much older information gets without each rule; negative: newer."""
    table = [('weighted p99 age without …', *ages_ms)]
    for rule in next(iter(ages_ms.values())):
        cells = []
        for ages in ages_ms.values():
            first = ages['all rules']
            worse = f'{ages[rule] / first - 1:+.1%}'
            cells.append(f'{first:.1f} ms' if rule == 'all rules' else worse)
        table.append((rule, *cells))
    return table
