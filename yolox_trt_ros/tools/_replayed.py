"""Play a bag's images to a detector of one's own, and watch it, for a report."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from yolox_trt_ros.bags.reader import Bag
from yolox_trt_ros.compose import load_model
from yolox_trt_ros.core.config import Config, ModelConfig
from yolox_trt_ros.core.errors import BagError, YoloxTrtRosError
from yolox_trt_ros.core.parameters import build
from yolox_trt_ros.core.resources import find_resource
from yolox_trt_ros.report.recording import Recording
from yolox_trt_ros.tools._bag_results import image_topic, samples
from yolox_trt_ros.tools._judge import Judge
from yolox_trt_ros.tools._observer import Observer
from yolox_trt_ros.tools._processes import NodeProcess, isolate
from yolox_trt_ros.vehicle_files import VEHICLE_SUFFIX

START_S = 120.0
"""Longest time in which the detector becomes active; TensorRT may build an engine first."""
LAST_RESULTS_S = 1.2
"""Time for the results of the last images, and for one more status."""


def from_replay(args: argparse.Namespace, config: Config) -> Recording:
    """Return what the vehicle's detector does with the images of a bag, at the bag's own pace.

    Both run as processes of their own, away from any robot nearby; stamps and ages are in the time
    of the recording.

    Raises:
        BagError: the bag has no images of the vehicle's cameras.
        YoloxTrtRosError: the detector or the player ended early.
    """
    chosen: dict[str, Any] = {'autostart': True, 'use_sim_time': True}
    model = {'path': args.model or config.model.path, 'labels': args.labels or config.model.labels}
    given = {name: _file(value) for name, value in model.items() if value}
    chosen |= {f'model.{name}': value for name, value in given.items()}
    labels = load_model(build(ModelConfig, given)).spec.labels
    vehicle = find_resource('config/vehicles', args.vehicle, VEHICLE_SUFFIX)
    with Bag(args.replay) as bag, tempfile.TemporaryDirectory() as folder:
        _check(bag, config)
        isolate()
        logs = Path(folder)
        player = ['replay', str(args.replay), '--vehicle', str(vehicle), '--clock']
        player += ['--timeout', str(START_S)]
        observer = Observer(config, labels)
        with (
            observer,
            NodeProcess(
                'yolox_trt_ros.ros.detector_node', [vehicle], chosen, logs / 'detector.log'
            ) as detector,
        ):
            _play(player, detector, logs, observer)
            time.sleep(LAST_RESULTS_S)
        judge = Judge(labels, labels)
        for camera, seen in observer.seen.items():
            for stamp_ns, found in seen.detections:
                judge.keep(judge.found, camera, stamp_ns, found)
        pictures = samples(bag, config, judge)
    return observer.recording(f'{args.replay.name}, replayed', pictures)


def _file(value: str | Path) -> str:
    path = Path(value)
    return str(path.resolve()) if path.exists() else str(value)


def _check(bag: Bag, config: Config) -> None:
    if not any(image_topic(bag, camera.name, config) for camera in config.cameras):
        there = ', '.join(f'{t.name} ({t.type})' for t in bag.topics.values()) or 'nothing'
        wanted = ', '.join(camera.image_topic for camera in config.cameras)
        raise BagError(f'{bag.path}: expected images on one of {wanted}; it has {there}')


def _play(player: list[str], detector: NodeProcess, logs: Path, observer: Observer) -> None:
    console = Console(stderr=True)
    with (
        console.status('starting the detector …') as status,
        NodeProcess.command_line('yolox_trt_ros', player, logs / 'replay.log') as replay,
    ):
        started = time.monotonic()
        while replay.running():
            detector.check()
            if observer.gathered.results:
                status.update(f'replaying: {observer.gathered.results} results')
            elif time.monotonic() - started > START_S:
                raise YoloxTrtRosError(f'no result within {START_S:g} s:\n{detector.tail()}')
            time.sleep(0.2)
        if code := replay.stop():
            raise YoloxTrtRosError(f'the player ended with exit code {code}:\n{replay.tail()}')
