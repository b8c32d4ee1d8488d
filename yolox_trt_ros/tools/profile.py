"""Measure what a vehicle's lanes cost on this machine and write it as an engine profile.

Every lane is measured alone for each batch size, and then while one, two … of the others are kept
busy. The profile goes into config/profiles; `plan` and lanes with backend "simulated" read it.
"""

from __future__ import annotations

import argparse
import platform
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import yaml

from yolox_trt_ros.cli.console import Console
from yolox_trt_ros.cli.numbers import number
from yolox_trt_ros.compose import Model, lane_specs, load_models
from yolox_trt_ros.core.config import Config, ModelConfig
from yolox_trt_ros.core.detector import LaneDetector
from yolox_trt_ros.core.errors import ConfigError, MissingDependencyError, ModelError
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.output_files import write_whole
from yolox_trt_ros.core.parameters import build
from yolox_trt_ros.core.printing import one_line
from yolox_trt_ros.core.profile import LaneProfile, Profile, Workload
from yolox_trt_ros.schedule.lane import LaneSpec
from yolox_trt_ros.schedule.warmup import sizes_to_measure, warmup_frame
from yolox_trt_ros.vehicle_files import load_vehicle

UNTIMED_RUNS = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument('--vehicle', required=True, help='vehicle file or packaged name')
    parser.add_argument('--model', default='', help='ONNX file (default: the vehicle’s model)')
    parser.add_argument('--labels', default='', help='text file, one class name a line')
    parser.add_argument(
        '--out', type=Path, required=True, help='write the profile to this file (.yaml)'
    )
    parser.add_argument('--name', default='', help='name of the machine (default: the file’s name)')
    parser.add_argument('--size', type=int, nargs=2, default=(1280, 720), metavar=('W', 'H'))
    parser.add_argument(
        '--runs',
        type=number(1, 1e6, int),
        default=30,
        help='number of timed calls in each measurement',
    )


def run(args: argparse.Namespace) -> int:
    """Measure all lanes and write the profile."""
    if args.runs < 1:
        raise ConfigError(f'--runs: expected at least 1, got {args.runs}')
    config = load_vehicle(args.vehicle)
    wanted = {'path': args.model, 'labels': args.labels}
    if args.model:
        cameras = tuple(replace(camera, model='') for camera in config.cameras)
        config = replace(config, model=build(ModelConfig, wanted), cameras=cameras)
    models = load_models(config)
    frames = _frames(config, args.size)
    console = Console()
    lanes = {}
    with ExitStack() as stack:
        specs = lane_specs(config, models)
        workers = []
        for spec in specs:
            with console.status(f'building {spec.config.name} …'):
                workers.append(stack.enter_context(_worker(spec, frames)))
        for worker in workers:
            name = worker.spec.config.name
            with console.status(f'measuring {name} …'):
                others = [other for other in workers if other is not worker]
                lanes[name] = measure_lane(worker, others, args.runs)
            console.print(f'{name}: {_cost_text(lanes[name])}')
    names = ', '.join(model.path.name for model in models.by_name.values())
    profile = Profile(
        args.name or args.out.stem,
        f'{names} on images of {args.size[0]}x{args.size[1]}.',
        (f'Measured on {platform.node()} ({platform.machine()}), {args.runs} calls each.',),
        lanes,
        measured_with=_measured_with(models.by_name, console),
    )
    args.out.parent.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(profile.to_dict(), sort_keys=False, allow_unicode=True)
    write_whole(args.out, text)
    console.print(f'written to {one_line(args.out)}', markup=False)
    return 0


def _frames(config: Config, size: Sequence[int]) -> dict[str, Frame]:
    """Return an image for each model, of one of its cameras."""
    frame = warmup_frame(size[1], size[0])
    return {c.model: replace(frame, camera=c.name) for c in reversed(config.cameras)}


def _measured_with(models: Mapping[str, Model], console: Console) -> Workload | None:
    """Return what ``model`` asks of a lane, or None and say why it is not known."""
    if '' not in models:
        return None
    try:
        from yolox_trt_ros.cli.model_costs import workload_of

        return workload_of(models[''].path)
    except (MissingDependencyError, ModelError) as error:
        console.print(f'`plan --model` will not take this profile, GFLOPs are unknown: {error}')
        return None


def measure_lane(worker: Worker, others: Sequence[Worker], runs: int) -> LaneProfile:
    """Return one lane's figures.

    Args:
        worker: the lane.
        others: lanes that can be kept busy meanwhile.
        runs: timed calls of each measurement.
    """
    spec = worker.spec.config
    sizes = sizes_to_measure(spec.max_batch)
    times = {m: {size: worker.time(size, runs, m) for size in sizes} for m in worker.models}
    first = worker.models[0]
    alone, solo_ns = times[first], float(np.median(times[first][1]))
    slowdown = [1.0]
    for busy in range(1, len(others) + 1):
        with ExitStack() as stack:
            for other in others[:busy]:
                stack.enter_context(other.kept_busy())
            loaded_ns = float(np.median(worker.time(1, runs, first)))
        slowdown.append(max(slowdown[-1], round(loaded_ns / solo_ns, 3)))
    costs = {
        model: {size: round(float(np.median(ns)) / 1e6, 3) for size, ns in by_size.items()}
        for model, by_size in times.items()
    }
    # Where no camera has the vehicle's own model, the first one's times stand in its place.
    own = costs.pop('') if '' in costs else costs[first]
    return LaneProfile(spec.device, own, tuple(slowdown), _spread(alone[1]), models=costs)


def _spread(samples_ns: Sequence[int]) -> float:
    """Return a robust standard deviation as a part of the median, at most 1."""
    low, middle, high = np.percentile(samples_ns, (16, 50, 84))
    return min(1.0, round(float((high - low) / 2 / middle), 4))


def _cost_text(lane: LaneProfile) -> str:
    costs = ', '.join(f'{size}: {cost_ms:.2f} ms' for size, cost_ms in lane.cost_ms.items())
    factors = ', '.join(f'{factor:.2f}' for factor in lane.slowdown)
    for name, cost in lane.models.items():
        costs += f'; {name} ' + ', '.join(f'{size}: {ms:.2f} ms' for size, ms in cost.items())
    return f'batch {costs}; with 0, 1 … others busy x {factors}'


class Worker:
    """A lane's detector, used by one thread at a time.

    Args:
        spec: the lane.
        detector: its detector.
        frames: the image that is used, by model.
    """

    def __init__(self, spec: LaneSpec, detector: LaneDetector, frames: Mapping[str, Frame]) -> None:
        self.spec = spec
        self._detector = detector
        self._frames = frames
        self.models = sorted(frames)

    def time(self, size: int, runs: int, model: str) -> list[int]:
        """Return the times of ``runs`` calls of a model with ``size`` frames, nanoseconds."""
        times = []
        for index in range(UNTIMED_RUNS + runs):
            begin_ns = time.monotonic_ns()
            self._call(size, model)
            if index >= UNTIMED_RUNS:
                times.append(time.monotonic_ns() - begin_ns)
        return times

    @contextmanager
    def kept_busy(self) -> Iterator[None]:
        """Run calls one after the other, on a thread, until the block is left."""
        stop = threading.Event()
        failed: list[BaseException] = []

        def loop() -> None:
            try:
                while not stop.is_set():
                    self._call(1, self.models[0])
            except Exception as error:
                failed.append(error)

        thread = threading.Thread(target=loop)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
        if failed:
            raise failed[0]

    def _call(self, size: int, model: str) -> None:
        self._detector.submit([self._frames[model]] * size).wait()


@contextmanager
def _worker(spec: LaneSpec, frames: Mapping[str, Frame]) -> Iterator[Worker]:
    detector = spec.factory()
    try:
        yield Worker(spec, detector, frames)
    finally:
        detector.close()
