"""Play a bag's images to a detector of its own, and watch it, for a report."""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from yolox_trt_ros.bags.reader import Bag
from yolox_trt_ros.bags.selection import remappings, selected
from yolox_trt_ros.cli.console import Console
from yolox_trt_ros.compose import load_models
from yolox_trt_ros.core.config import Config
from yolox_trt_ros.core.errors import BagError, YoloxTrtRosError
from yolox_trt_ros.core.resources import find_resource
from yolox_trt_ros.core.topics import absolute
from yolox_trt_ros.core.transports import TRANSPORT_OF_TYPE
from yolox_trt_ros.evaluation.bag_results import samples
from yolox_trt_ros.evaluation.observer import Observer
from yolox_trt_ros.report.gather import since_start
from yolox_trt_ros.report.recording import Recording
from yolox_trt_ros.ros.node_process import NodeProcess, isolate
from yolox_trt_ros.ros.replay.topics import choose_topics
from yolox_trt_ros.vehicle_files import (
    VEHICLE_SUFFIX,
    chosen_model,
    load_vehicle,
    vehicle_parameters,
)

START_S = 120.0
"""Longest time in which the detector becomes active; TensorRT may build an engine first."""
DETECTOR = '/detector'
DEPTH = 20
"""Images of a camera that may wait for the detector's process to be given time."""
ACCOUNT = 'account.json'
LAST_RESULTS_S = 1.2
"""Time for the results of the last images, and for one more status."""


def from_replay(args: argparse.Namespace, config: Config) -> Recording:
    """Return what the vehicle's detector does with the images of a bag, at the bag's own pace.

    Both run as processes of their own, away from any robot nearby; stamps and ages are in the time
    of the recording.

    Raises:
        BagError: the bag has no images of one of the vehicle's cameras.
        YoloxTrtRosError: the detector or the player ended early, or cannot do its work.
    """
    model = {'path': args.model or config.model.path, 'labels': args.labels or config.model.labels}
    given = {name: _file(value) for name, value in model.items() if value}
    labels = load_models(replace(config, model=chosen_model(config, **given))).labels
    remap = remappings(args.remap)
    with Bag(args.replay) as bag, tempfile.TemporaryDirectory() as folder:
        vehicle, config = _chosen_cameras(args, config, bag, remap, Path(folder))
        _check(bag, config, remap)
        played = choose_topics(
            bag, remap=remap, config=config
        )  # raises at once if something is missing
        isolate()
        logs = Path(folder)
        player = ['replay', str(args.replay), '--vehicle', str(vehicle), '--clock']
        player += ['--timeout', str(START_S), '--json', str(logs / ACCOUNT)]
        player += ['--remap', *args.remap] if args.remap else []
        player += ['--reliability', 'reliable']
        observer = Observer(config, labels)
        with (
            observer,
            NodeProcess(
                'yolox_trt_ros.ros.detector_node',
                [vehicle],
                _overrides(config, given),
                logs / 'detector.log',
            ) as detector,
        ):
            _play(player, detector, logs, observer)
            time.sleep(LAST_RESULTS_S)
        topics = {p.camera: p.recorded.name for p in played if p.camera}
        recording = observer.recording(
            f'{args.replay.name}, replayed', samples(bag, config, observer.judge, topics)
        )
        return replace(since_start(recording), remarks=tuple(_lost(logs / ACCOUNT)))


def _overrides(config: Config, model: Mapping[str, str]) -> dict[str, Any]:
    """Return the parameters that the detector has here and not in the vehicle file."""
    chosen: dict[str, Any] = {'autostart': True, 'use_sim_time': True}
    chosen |= {f'model.{name}': value for name, value in model.items()}
    # The way from player to detector is no part of the drive: nothing is to get lost there.
    for camera in config.cameras:
        chosen[f'cameras.{camera.name}.reliability'] = 'reliable'
        chosen[f'cameras.{camera.name}.depth'] = max(camera.depth, DEPTH)
    return chosen


def _chosen_cameras(
    args: argparse.Namespace, config: Config, bag: Bag, remap: Mapping[str, str], folder: Path
) -> tuple[Path, Config]:
    """Return the vehicle file, or one of only those of its cameras that --topics means."""
    file = find_resource('config/vehicles', args.vehicle, VEHICLE_SUFFIX)
    if not args.topics:
        return file, config
    wanted = {remap.get(name, name) for name in selected(bag, args.topics)}
    kept = [c.name for c in config.cameras if absolute(c.image_topic, DETECTOR) in wanted]
    if not kept:
        topics = ', '.join(c.image_topic for c in config.cameras)
        raise BagError(f'--topics {" ".join(args.topics)}: none is of a camera; these are {topics}')
    others = tuple(f'cameras.{c.name}.' for c in config.cameras if c.name not in kept)
    flat = {k: v for k, v in vehicle_parameters(file).items() if not k.startswith(others)}
    flat['camera_names'] = kept
    part = folder / f'part{VEHICLE_SUFFIX}'
    part.write_text(yaml.safe_dump({'/**': {'ros__parameters': flat}}), encoding='utf-8')
    return part, load_vehicle(str(part))


def _lost(account: Path) -> Iterator[str]:
    """Yield what is lost of the bag, and of which camera images did not reach the detector."""
    content = json.loads(account.read_text(encoding='utf-8'))
    yield from content['bag']
    for camera, counts in content['cameras'].items():
        if counts['received'] is None:
            yield f'How many images of {camera} reached the detector is not known.'
        elif counts['received'] < counts['sent']:
            lost = counts['sent'] - counts['received']
            yield (
                f'{lost:,} of {counts["sent"]:,} images of {camera} were lost between player and '
                'detector: the machine is too busy, or /dev/shm too small (docs/dds.md).'
            )


def _file(value: str | Path) -> str:
    path = Path(value)
    return str(path.resolve()) if path.exists() else str(value)


def _check(bag: Bag, config: Config, remap: Mapping[str, str]) -> None:
    images = {remap.get(t.name, t.name) for t in bag.topics.values() if t.type in TRANSPORT_OF_TYPE}
    if not any(absolute(camera.image_topic, DETECTOR) in images for camera in config.cameras):
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
        code = replay.stop()
        if code and not (logs / ACCOUNT).is_file():  # otherwise it was played, with losses
            raise YoloxTrtRosError(f'the player ended with exit code {code}:\n{replay.tail()}')
