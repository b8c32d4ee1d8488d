"""Show what a vehicle's cameras get from a machine's lanes, without the machine.

The vehicle's cameras and lanes run in a simulation with the figures of an engine profile and the
scheduler of the node. The plan shows where each camera is placed, how old its information gets, how
much faster it could run, what happens when a lane fails, and how near all this is to the limit.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

from rich.progress import Progress

from yolox_trt_ros.cli.arrangement import phases_of, pinned
from yolox_trt_ros.cli.console import Console
from yolox_trt_ros.cli.gantt import check_suffix, draw_gantt
from yolox_trt_ros.cli.numbers import number
from yolox_trt_ros.cli.plan_figures import (
    CameraStats,
    all_sustained,
    at_rate,
    camera_stats,
    drop_ratio,
    fluid_bound_hz,
    highest_sustained_hz,
    lane_utilisation,
    spare_hz,
    work_of,
)
from yolox_trt_ros.cli.plan_tables import print_plan
from yolox_trt_ros.core.config import CameraConfig, Config
from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.output_files import write_whole
from yolox_trt_ros.core.profile import Profile
from yolox_trt_ros.core.resources import resource_names
from yolox_trt_ros.packaged_models import find_model
from yolox_trt_ros.schedule.simulation import Outage, Record, Scenario, Simulation
from yolox_trt_ros.vehicle_files import load_profile, load_vehicle

LEVELS = ('p50', 'p95', 'p99', 'max')
SEARCH_S = 4.0
"""Simulated time of each step of a search; longer where calls take long …"""
SEARCH_CALLS = 60
"""… so that the slowest lane makes about this many."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument('--vehicle', required=True, help='vehicle file or packaged name')
    parser.add_argument(
        '--profile', default='', help='engine profile or packaged name (default: the vehicle’s)'
    )
    parser.add_argument(
        '--model',
        default='',
        help='ONNX file or packaged model: estimate its times, if the profile is of another model',
    )
    parser.add_argument('--duration', type=number(0), default=20.0, help='simulated seconds')
    parser.add_argument('--seed', type=int, default=0, help='of random phases, and of jitter')
    parser.add_argument(
        '--phases',
        default='',
        help='when cameras expose: together, staggered, random, or one part of its period for each '
        'camera, such as 0,0.25,0.5 (default: sim.trigger of the vehicle)',
    )
    parser.add_argument(
        '--pin',
        default='',
        help='pin so many cameras, in their order, to each lane, such as 4,2,2 (default: lane of '
        'each camera)',
    )
    parser.add_argument(
        '--no-slowdown', action='store_true', help='as if lanes did not slow each other down'
    )
    parser.add_argument('--json', type=Path, help='write the plan to this file')
    parser.add_argument('--gantt', type=Path, help='draw two frame periods to this .png or .svg')


def run(args: argparse.Namespace) -> int:
    """Simulate, print the plan, and write what was asked for."""
    config = load_vehicle(args.vehicle)
    name = args.profile or config.profile
    if not name:
        packaged = ', '.join(resource_names('config/profiles', '.yaml'))
        raise ConfigError(
            '--profile: the vehicle file names no engine profile: give a file here, or a packaged '
            f'one: {packaged}'
        )
    if args.duration <= 1:
        raise ConfigError(f'--duration: expected more than 1 s, got {args.duration:g}')
    if args.gantt:
        check_suffix(args.gantt)
    profile, estimate = _for_model(load_profile(name), args.model)
    profile, further = with_models(profile, config)
    if args.no_slowdown:
        profile = profile.without_slowdown()
    cameras = pinned(config.cameras, config.lanes, args.pin) if args.pin else config.cameras
    phases = phases_of(args.phases or config.sim.trigger, len(cameras))
    scenario = Scenario(cameras, config.lanes, profile, args.duration, args.seed, phases)
    console = Console()
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task('planning', total=3 + len(config.cameras) + len(config.lanes))
        plan, record = make_plan(scenario, lambda: progress.advance(task))
    plan |= estimate
    if further:
        plan['models'] = further
    print_plan(console, plan, profile)
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        write_whole(args.json, json.dumps(plan, indent=1) + '\n')
        console.print(f'written to {args.json}')
    if args.gantt:
        draw(args.gantt, record, config, profile)
        console.print(f'drawn to {args.gantt}')
    return 0


def _for_model(profile: Profile, model: str) -> tuple[Profile, dict[str, Any]]:
    """Return the profile with a model's times, and what the plan says of them."""
    if not model:
        return profile, {}
    # Counting a network needs the package onnx, which a plan without it does not.
    from yolox_trt_ros.cli.model_costs import for_model, off, workload_of

    path = find_model(model)
    known = profile.measured_with
    work = workload_of(path)
    scaled, estimates = for_model(profile, work)
    lanes = {
        name: {'factor': round(estimate.factor, 4), 'off': off(estimate.error, work)}
        for name, estimate in estimates.items()
    }
    measured = known.model if known else ''
    about = {'model': path.name, 'measured_with': measured, 'estimated_lanes': lanes}
    return scaled, {'model': about}


def with_models(profile: Profile, config: Config) -> tuple[Profile, dict[str, Any]]:
    """Return the profile with times of all models of a vehicle, and which of them are estimates.

    Raises:
        ConfigError: the profile has no times of a model, and does not say of which it has.
    """
    further: dict[str, Any] = {}
    for name, model in config.used_models.items():
        if not name or all(name in profile.lane(lane).models for lane in config.lanes):
            continue
        scaled, estimate = _for_model(profile, model.path)
        measured = [lane for lane, own in profile.lanes.items() if name in own.models]
        lanes = {
            lane: replace(own, models={name: scaled.lanes[lane].cost_ms, **own.models})
            for lane, own in profile.lanes.items()
        }
        profile = replace(profile, lanes=lanes)
        further[name] = estimate['model']
        for lane in measured:
            further[name]['estimated_lanes'].pop(lane, None)
    return profile, further


def make_plan(scenario: Scenario, step: Callable[[], None]) -> tuple[dict[str, Any], Record]:
    """Return the plan as it goes into JSON, and the record of its simulation.

    Args:
        scenario: the vehicle on the machine.
        step: called after each part of the work.
    """
    record = Simulation(scenario).run()
    stats = camera_stats(record)
    step()
    bound_hz = fluid_bound_hz(
        scenario.lanes, scenario.profile, work_of(scenario.cameras, scenario.lanes)
    )
    # Searches tolerate a few drops, so that they may end a little above what is possible for ever.
    most_hz = min(bound_hz, _highest_uniform_hz(scenario, bound_hz))
    step()
    headroom = {}
    for camera in scenario.cameras:
        runs = all_sustained({camera.name: stats[camera.name]}, [camera])
        now_hz = camera.processed_hz if runs else 0.0
        headroom[camera.name] = _highest_camera_hz(scenario, camera, now_hz)
        step()
    failures = {}
    if len(scenario.lanes) > 1:
        for lane in scenario.lanes:
            failures[lane.name] = _without(scenario, lane.name)
            step()
    used = lane_utilisation(record)
    seconds = scenario.duration_s
    plan = {
        'profile': scenario.profile.name,
        'simulated_s': seconds,
        'placement_reason': record.final.placement_reason if record.final else '',
        'lanes': {
            lane.name: {
                'utilisation': round(used[lane.name], 4),
                'results_hz': round(
                    sum(len(r.cameras) for r in record.runs if r.lane == lane.name) / seconds, 2
                ),
                'cost_ms': round(scenario.profile.lane(lane).cost_ns(1) / 1e6, 3),
                'energy_mj': scenario.profile.lane(lane).energy_mj or None,
            }
            for lane in scenario.lanes
        },
        'cameras': {
            camera.name: _camera(camera, record, stats[camera.name], headroom[camera.name])
            for camera in scenario.cameras
        },
        'energy_w': watts(scenario, record),
        'without_lane': failures,
        'max_uniform_rate_hz': round(most_hz, 2),
        'fluid_bound_hz': round(bound_hz, 2),
    }
    step()
    return plan, record


def crops_of(camera: CameraConfig, record: Record) -> dict[str, Any]:
    """Return which extra crops a camera has, and how many of them lanes ran a second."""
    counts = [
        crops
        for run in record.runs
        for name, crops in zip(run.cameras, run.crops, strict=False)
        if name == camera.name
    ]
    return {'parts': list(camera.crops), 'hz': round(sum(counts) * 1e9 / record.duration_ns, 2)}


def _camera(
    camera: CameraConfig, record: Record, stats: CameraStats, highest_hz: float
) -> dict[str, Any]:
    runs = Counter(run.lane for run in record.runs if camera.name in run.cameras)
    total = max(1, sum(runs.values()))
    return {
        'ran_on': {lane: round(count / total, 3) for lane, count in runs.most_common()},
        'rate_hz': camera.rate_hz,
        **({'model': camera.model} if camera.model else {}),
        **({'crops': crops_of(camera, record)} if camera.crops else {}),
        'priority': camera.priority,
        'deadline_ms': camera.deadline_ms,
        'results_hz': round(stats.rate_hz, 2),
        'dropped': {reason.value: count for reason, count in stats.dropped.items()},
        'latency_ms': _levels(stats.latency_ms),
        'age_ms': _levels(stats.age_ms),
        'max_rate_hz': round(highest_hz, 1),
    }


def watts(scenario: Scenario, record: Record) -> float | None:
    """Return what the frames of all lanes take; None where the profile does not say it of each.

    It says it of the vehicle's own model only.
    """
    if any(camera.model for camera in scenario.cameras):
        return None
    each_mj = {lane.name: scenario.profile.lane(lane).energy_mj for lane in scenario.lanes}
    if not all(each_mj.values()):
        return None
    total_mj = sum(run.images * each_mj[run.lane] for run in record.runs)
    return round(total_mj / 1e3 / scenario.duration_s, 3)


def _levels(values: Sequence[float]) -> dict[str, float | None]:
    return {
        name: None if math.isnan(value) else round(value, 2)
        for name, value in zip(LEVELS, values, strict=True)
    }


def _highest_uniform_hz(scenario: Scenario, bound_hz: float) -> float:
    def run_at(rate_hz: float) -> bool:
        cameras = at_rate(scenario.cameras, rate_hz)
        return _sustained(replace(scenario, cameras=cameras))

    return highest_sustained_hz(run_at, 1.05 * bound_hz)


def _highest_camera_hz(scenario: Scenario, camera: CameraConfig, now_hz: float) -> float:
    """Return how fast one camera could run while the others stay as they are.

    Args:
        scenario: the vehicle on the machine.
        camera: one of its cameras.
        now_hz: a rate that it is known to keep.
    """
    high_hz = spare_hz(scenario.lanes, scenario.profile, scenario.cameras, camera)

    def run_at(rate_hz: float) -> bool:
        cameras = [
            replace(other, rate_hz=rate_hz, max_rate_hz=0.0) if other.name == camera.name else other
            for other in scenario.cameras
        ]
        return _sustained(replace(scenario, cameras=cameras))

    if high_hz <= now_hz:
        return now_hz
    return highest_sustained_hz(run_at, 1.05 * high_hz, steps=6, low_hz=now_hz)


def _sustained(scenario: Scenario) -> bool:
    models = {camera.model for camera in scenario.cameras}
    slowest_ns = max(
        scenario.profile.lane(lane).cost_ns(1, len(scenario.lanes) - 1, model)
        for lane, model in product(scenario.lanes, models)
    )
    scenario = replace(scenario, duration_s=max(SEARCH_S, SEARCH_CALLS * slowest_ns / 1e9))
    return all_sustained(camera_stats(Simulation(scenario).run()), scenario.cameras)


def _without(scenario: Scenario, lane: str) -> dict[str, Any]:
    record = Simulation(replace(scenario, outages=[Outage(lane, 0.5)])).run()
    stats = camera_stats(record)
    return {
        'drop_ratio': round(drop_ratio(stats), 4),
        'missing': {
            camera.name: {
                'results_hz': round(stats[camera.name].rate_hz, 2),
                'age_ms_p99': round(stats[camera.name].age_ms[2], 2),
            }
            for camera in scenario.cameras
            if not all_sustained({camera.name: stats[camera.name]}, [camera])
        },
    }


def draw(path: Path, record: Record, config: Config, profile: Profile) -> None:
    """Draw what the lanes do in two frame periods of the slowest camera."""
    period_ms = max(1000 / camera.rate_hz for camera in config.cameras)
    draw_gantt(
        path,
        record,
        {camera.name: camera.deadline_ms for camera in config.cameras},
        start_ms=1500.0 if record.duration_ns > 2e9 else 0.0,
        span_ms=2 * period_ms,
        title=f'{profile.name}: two frame periods of {len(config.cameras)} cameras',
    )
