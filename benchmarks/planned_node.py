"""The real node with simulated lanes, behind DDS, against what the plan predicts for it.

Small images, so that the transport's copies do not hide the scheduling; what the node measured of
its lanes when it started, and when each camera's images arrive, goes into the plan.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

from yolox_trt_ros.core.config import CameraConfig, Config
from yolox_trt_ros.core.resources import find_resource
from yolox_trt_ros.msg import CameraLatency, PipelineStatus
from yolox_trt_ros.ros.node_process import NodeProcess, isolate
from yolox_trt_ros.ros.watcher import Watcher, wait_for
from yolox_trt_ros.schedule.simulation import Scenario, Simulation
from yolox_trt_ros.vehicle_files import load_profile, load_vehicle, vehicle_parameters

SETTLE_S = 3.0
START_S = 60.0
PLANNED_S = 20.0
WOKEN = 5
"""Percentile of the waiting times that stands for frames which met an idle lane."""
LEVELS = (50, 95, 99)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument('--vehicle', default='orin_8cam', help='vehicle file or packaged name')
    parser.add_argument('--profile', default='orin_agx_maxn', help='engine profile')
    parser.add_argument('--rate', type=float, default=20.0, help='Hz of each camera')
    parser.add_argument('--seconds', type=float, default=15.0, help='length of the measurement')


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Return the node's latencies and those planned."""
    isolate()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        vehicle = _vehicle(args, folder)
        config = load_vehicle(str(vehicle))
        with contextlib.ExitStack() as stack:
            watch = stack.enter_context(_Watch(config))
            # The lanes' costs are read while they are idle: a lane under load reports the cost
            # under that load, which the plan would slow down once more.
            node = _start('detector_node', vehicle, stack)
            wait_for(lambda: watch.solo_ns, [node], START_S, 'a status')
            cameras = _start('camera_sim_node', vehicle, stack)
            wait_for(lambda: watch.latencies, [node, cameras], START_S, 'a result')
            time.sleep(SETTLE_S)
            watch.latencies.clear()
            time.sleep(args.seconds)
            latencies = list(watch.latencies)
    arrivals = [_arrivals(camera, latencies) for camera in config.cameras]
    planned = _plan(config, args.profile, watch.solo_ns, latencies, arrivals)
    measured = [message.total_ns for message in latencies]
    return {
        'rate_hz': args.rate,
        'results_per_s': round(len(latencies) / args.seconds, 1),
        'solo_ms': {lane: round(ns / 1e6, 3) for lane, ns in watch.solo_ns.items()},
        'jitter_ms': [round(jitter_ms, 3) for _, jitter_ms in arrivals],
        'measured_ms': _levels(measured),
        'planned_ms': _levels(planned),
        'transport_ms': _levels([message.age_ns - message.total_ns for message in latencies]),
        'load_average': round(os.getloadavg()[0], 2),
    }


def _start(name: str, vehicle: Path, stack: contextlib.ExitStack) -> NodeProcess:
    log = vehicle.parent / f'{name}.log'
    return stack.enter_context(NodeProcess(f'yolox_trt_ros.ros.{name}', [vehicle], {}, log))


def rows(result: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return the table of a result."""
    lines: list[tuple[str, ...]] = [('latency, ms', 'planned', 'measured', 'ratio')]
    for level, planned in result['planned_ms'].items():
        measured = result['measured_ms'][level]
        lines.append((level, f'{planned:.2f}', f'{measured:.2f}', f'{measured / planned:.2f}'))
    transport = result['transport_ms']
    lines += [
        ('image stamp to arrival, p50 p95', f'{transport["p50"]:.2f} {transport["p95"]:.2f}'),
        ('results/s', f'{result["results_per_s"]:.1f}'),
        ('load average of the machine', f'{result["load_average"]:.1f}'),
    ]
    return lines


def _vehicle(args: argparse.Namespace, folder: Path) -> Path:
    """Write the vehicle with simulated lanes and small grey images at one rate."""
    flat = vehicle_parameters(find_resource('config/vehicles', args.vehicle, '.param.yaml'))
    images = folder / 'images'
    images.mkdir()
    cv2.imwrite(str(images / 'grey.png'), np.full((120, 160, 3), 114, np.uint8))
    flat |= {'profile': args.profile, 'model.path': 'edge_n', 'sim.source': str(images)}
    for name in flat['lane_names']:
        flat |= {
            f'lanes.{name}.backend': 'simulated',
            f'lanes.{name}.max_batch': 1,
            f'lanes.{name}.in_flight': 1,
        }
    for name in flat['camera_names']:
        flat |= {
            f'cameras.{name}.rate_hz': args.rate,
            f'cameras.{name}.deadline_ms': 0.0,
            f'cameras.{name}.sim.encoding': 'mono8',
            f'cameras.{name}.sim.jitter_ms': 0.0,
        }
    path = folder / 'planned.param.yaml'
    path.write_text(yaml.safe_dump({'/**': {'ros__parameters': flat}}))
    return path


def _plan(
    config: Config,
    name: str,
    solo_ns: Mapping[str, int],
    latencies: list[CameraLatency],
    arrivals: Sequence[tuple[float, float]],
) -> list[int]:
    """Return the latencies that the simulation predicts, nanoseconds."""
    profile = load_profile(name)
    # A lane is occupied for longer than its detector's call: a thread wakes up for the frame, which
    # is all the waiting of a frame that meets an idle lane, and hands it to the detector.
    wake_ns = round(float(np.percentile([message.queue_ns for message in latencies], WOKEN)))
    submit_ns, publish_ns = (
        round(float(np.median([getattr(message, stage) for message in latencies])))
        for stage in ('submit_ns', 'publish_ns')
    )
    occupied_ns = wake_ns + submit_ns
    lanes = {
        lane.name: replace(
            profile.lane(lane), cost_ms={1: (solo_ns[lane.name] + occupied_ns) / 1e6}
        )
        for lane in config.lanes
    }
    cameras = [
        replace(camera, sim=replace(camera.sim, jitter_ms=jitter_ms))
        for camera, (_, jitter_ms) in zip(config.cameras, arrivals, strict=True)
    ]
    scenario = Scenario(
        cameras,
        config.lanes,
        replace(profile, lanes=lanes),
        PLANNED_S,
        phases=[phase for phase, _ in arrivals],
        publish_ns=publish_ns,
    )
    record = Simulation(scenario).run()
    return [result.published_ns - result.received_ns for result in record.results]


def _arrivals(camera: CameraConfig, latencies: list[CameraLatency]) -> tuple[float, float]:
    """Return when a camera's images come, as a part of its period, and their jitter in ms.

    The jitter is half of what 68 % of them deviate by, so that a few late ones do not set it.
    """
    phases = np.array(
        [
            (message.header.stamp.sec % 1000 + message.header.stamp.nanosec / 1e9
             + (message.age_ns - message.total_ns) / 1e9) * camera.rate_hz
            for message in latencies
            if message.camera == camera.name
        ]
    )  # fmt: skip
    phase = float(np.angle(np.exp(2j * np.pi * phases).mean()) / (2 * np.pi)) % 1.0
    low, high = np.percentile((phases - phase + 0.5) % 1.0, (16, 84))
    return phase, float(high - low) / 2 * 1e3 / camera.rate_hz


def _levels(values_ns: list[int]) -> dict[str, float]:
    values = np.percentile(np.array(values_ns) / 1e6, LEVELS).round(2).tolist()
    return {f'p{level}': value for level, value in zip(LEVELS, values, strict=True)}


class _Watch(Watcher):
    """Collects a node's latency messages and what its lanes cost while it was idle."""

    def __init__(self, config: Config) -> None:
        super().__init__('watch')
        self.latencies: list[CameraLatency] = []
        self.solo_ns: dict[str, int] = {}
        for camera in config.cameras:
            self.node.create_subscription(
                CameraLatency, f'/detector/{camera.name}/latency', self.latencies.append, 50
            )
        self.node.create_subscription(PipelineStatus, '/detector/status', self._on_status, 1)

    def _on_status(self, message: PipelineStatus) -> None:
        # The least cost reported is that of a lane whose neighbours were idle.
        for lane in message.lanes:
            for size, cost_ns in zip(lane.cost_batch_sizes, lane.cost_ns, strict=True):
                if size == 1:
                    self.solo_ns[lane.name] = min(cost_ns, self.solo_ns.get(lane.name, cost_ns))
