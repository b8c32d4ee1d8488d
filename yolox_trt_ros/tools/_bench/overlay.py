"""What the overlay costs detection, where it has a core of its own.

The detector is kept on one core, where it has more images than it can process; cameras, overlay
and viewer share another. Results per second are measured in turn without an overlay node, with one
that nobody looks at, and with a viewer of the mosaic and of every camera's overlay.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from sensor_msgs.msg import Image

from yolox_trt_ros.compose import available_cores, load_vehicle, vehicle_parameters
from yolox_trt_ros.core.config import Config
from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.resources import find_resource
from yolox_trt_ros.msg import PipelineStatus
from yolox_trt_ros.tools._processes import NodeProcess, isolate
from yolox_trt_ros.tools._watcher import Watcher, wait_for

STATES = ('off', 'unseen', 'seen')
START_S = 90.0
SETTLE_S = 3.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument('--vehicle', default='laptop_8cam', help='vehicle file or packaged name')
    parser.add_argument('--model', default='', help='ONNX file (default: the packaged model)')
    parser.add_argument('--labels', default='', help='text file, one class name a line')
    parser.add_argument('--source', default='', help='folder of images, video file, or "world"')
    parser.add_argument('--seconds', type=float, default=10.0, help='length of one round')
    parser.add_argument('--rounds', type=int, default=4, help='rounds of each state, in turn')


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Return results per second in each state, and the overlay's CPU time.

    Raises:
        ConfigError: there are no two cores.
    """
    if available_cores() < 2:
        raise ConfigError('this needs two cores: one for the detector, one for everything else')
    isolate()
    rounds: dict[str, list[float]] = {state: [] for state in STATES}
    cpu: dict[str, list[float]] = {state: [] for state in STATES}
    pictures = 0
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        vehicle = _vehicle(folder, args)
        detector, cameras = _nodes(stack, vehicle, folder)
        viewer = stack.enter_context(Viewer(load_vehicle(str(vehicle))))
        wait_for(lambda: viewer.working, [detector, cameras], START_S, 'results of every camera')
        for _ in range(args.rounds):
            for state in STATES:
                with _overlay(state, vehicle, folder) as overlay, viewer.looking(state == 'seen'):
                    time.sleep(SETTLE_S)
                    rate, spent_s = viewer.rate(args.seconds, overlay)
                rounds[state].append(rate)
                cpu[state].append(spent_s / args.seconds)
        pictures = viewer.pictures
    medians = {state: float(np.median(values)) for state, values in rounds.items()}
    return {
        'results_per_s': medians,
        'lost_percent': {
            state: 100 * (1 - medians[state] / medians['off']) for state in STATES[1:]
        },
        'overlay_cores': {state: float(np.median(cpu[state])) for state in STATES[1:]},
        'pictures': pictures,
        'rounds': rounds,
    }


def rows(result: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return the table of a result."""
    rate, lost, cores = (result[k] for k in ('results_per_s', 'lost_percent', 'overlay_cores'))
    return [
        ('', 'no overlay node', 'nobody looks', 'mosaic and all cameras seen'),
        ('results/s', *(f'{rate[state]:.2f}' for state in STATES)),
        ('fewer results, %', '', *(f'{lost[state]:.1f}' for state in STATES[1:])),
        ('cores used by the overlay', '', *(f'{cores[state]:.3f}' for state in STATES[1:])),
        ('pictures that the viewer got', '', '', str(result['pictures'])),
    ]


class Viewer(Watcher):
    """Looks at overlays, and counts the detector's results by its status."""

    def __init__(self, config: Config) -> None:
        super().__init__('viewer')
        self.pictures = 0
        self._topics = [f'/detector/{c.name}/overlay' for c in config.cameras]
        self._topics.append('/detector/overlay')
        self._status: PipelineStatus | None = None
        self.node.create_subscription(PipelineStatus, '/detector/status', self._on_status, 5)

    @property
    def working(self) -> bool:
        """Whether every camera has results."""
        return bool(self._status and all(c.published for c in self._status.cameras))

    @contextlib.contextmanager
    def looking(self, really: bool) -> Iterator[None]:
        """Subscribe to all overlays for a while."""
        subscriptions = [
            self.node.create_subscription(Image, topic, self._on_picture, 1, raw=True)
            for topic in (self._topics if really else ())
        ]
        self.executor.wake()
        try:
            yield
        finally:
            for subscription in subscriptions:
                self.node.destroy_subscription(subscription)

    def rate(self, seconds: float, overlay: NodeProcess | None) -> tuple[float, float]:
        """Return results per second, and the overlay's CPU seconds meanwhile."""
        first, spent_s = self._next_status(), overlay.cpu_s() if overlay else 0.0
        time.sleep(seconds)
        last = self._next_status()
        spent_s = overlay.cpu_s() - spent_s if overlay else 0.0
        published = [sum(c.published for c in status.cameras) for status in (first, last)]
        return (published[1] - published[0]) / (_time_s(last) - _time_s(first)), spent_s

    def _next_status(self) -> PipelineStatus:
        self._status = None
        wait_for(lambda: self._status, [], 10.0, 'status')
        assert self._status is not None
        return self._status

    def _on_status(self, message: PipelineStatus) -> None:
        self._status = message

    def _on_picture(self, cdr: bytes) -> None:
        self.pictures += len(cdr) > 0


def _time_s(status: PipelineStatus) -> float:
    return float(status.header.stamp.sec + status.header.stamp.nanosec / 1e9)


def _nodes(
    stack: contextlib.ExitStack, vehicle: Path, folder: Path
) -> tuple[NodeProcess, NodeProcess]:
    """Start the detector on one core, and cameras on another, where this process stays too."""
    detector_core, other_core, *_ = sorted(os.sched_getaffinity(0))
    nodes = []
    everywhere = os.sched_getaffinity(0)
    stack.callback(os.sched_setaffinity, 0, everywhere)
    for module, core in (('detector_node', detector_core), ('camera_sim_node', other_core)):
        os.sched_setaffinity(0, {core})  # which the child inherits
        node = NodeProcess(f'yolox_trt_ros.ros.{module}', [vehicle], {}, folder / f'{module}.log')
        nodes.append(stack.enter_context(node))
    return nodes[0], nodes[1]


@contextlib.contextmanager
def _overlay(state: str, vehicle: Path, folder: Path) -> Iterator[NodeProcess | None]:
    if state == 'off':
        yield None
        return
    module, log = 'yolox_trt_ros.ros.overlay_node', folder / 'overlay.log'
    with NodeProcess(module, [vehicle], {}, log) as overlay:
        yield overlay
        overlay.check()


def _vehicle(folder: Path, args: argparse.Namespace) -> Path:
    """Write the vehicle with one lane of one thread."""
    flat = vehicle_parameters(find_resource('config/vehicles', args.vehicle, '.param.yaml'))
    flat = {k: v for k, v in flat.items() if not k.startswith(('lanes.', 'lane_names'))}
    flat |= {'lane_names': ['cpu0'], 'lanes.cpu0.threads': 1}
    for key, value in (
        ('model.path', args.model),
        ('model.labels', args.labels),
        ('sim.source', args.source),
    ):
        if value:
            flat[key] = str(Path(value).resolve()) if Path(value).exists() else value
    path = folder / 'vehicle.param.yaml'
    path.write_text(yaml.safe_dump({'/**': {'ros__parameters': flat}}))
    return path
