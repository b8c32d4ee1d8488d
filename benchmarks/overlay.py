"""What the overlay costs detection, where it has a core of its own.

The detector and its one lane are kept on one core (--detector-core), where they have more images
than they can process; cameras, overlay and viewer have the others. Results are counted in turn
without an overlay node, with one that nobody looks at, and with a viewer of the mosaic's compressed
twin (or of everything, raw); detections and latencies have a reader throughout. That the other
cores have time left is measured, too. States are compared within a round, since
a machine's speed drifts, by results per second and per second of the detector's CPU time.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from sensor_msgs.msg import CompressedImage, Image
from vision_msgs.msg import Detection2DArray

from benchmarks.support.cores import Cores, on_cores
from yolox_trt_ros.core.config import Config
from yolox_trt_ros.core.resources import find_resource
from yolox_trt_ros.msg import CameraLatency, PipelineStatus
from yolox_trt_ros.ros.node_process import NodeProcess, isolate
from yolox_trt_ros.ros.watcher import Watcher, wait_for
from yolox_trt_ros.vehicle_files import load_vehicle, vehicle_parameters

STATES = ('off', 'unseen', 'seen')
START_S = 90.0
SETTLE_S = 1.5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument('--vehicle', default='laptop_8cam', help='vehicle file or packaged name')
    parser.add_argument('--model', default='', help='ONNX file (default: the packaged model)')
    parser.add_argument('--labels', default='', help='text file, one class name a line')
    parser.add_argument('--source', default='', help='folder of images, video file, or "world"')
    parser.add_argument(
        '--rate', type=float, default=6.0, help='Hz of each camera; more than the core can detect'
    )
    parser.add_argument(
        '--detector-core',
        type=int,
        metavar='N',
        help='the core that the detector is kept on (default: the first one)',
    )
    parser.add_argument(
        '--look',
        choices=('mosaic', 'all'),
        default='mosaic',
        help='all: every camera’s overlay too',
    )
    parser.add_argument('--seconds', type=float, default=4.0, help='length of one measurement')
    parser.add_argument('--rounds', type=int, default=5, help='measurements of each state, in turn')


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Return results per second in each state, and the overlay's CPU time.

    Raises:
        ConfigError: there are no two cores.
    """
    cores = Cores.divide(args.detector_core)
    isolate()
    rounds: dict[str, list[Round]] = {state: [] for state in STATES}
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        vehicle = _vehicle(folder, args)
        detector, cameras = _nodes(stack, cores, vehicle, folder)
        viewer = stack.enter_context(Viewer(load_vehicle(str(vehicle)), args.look))
        wait_for(lambda: viewer.working, [detector, cameras], START_S, 'results of every camera')
        overlay, running = None, stack.enter_context(contextlib.ExitStack())
        for state in _states(args.rounds):
            if (state == 'off') == (overlay is not None):
                running.close()
                overlay = None if state == 'off' else running.enter_context(_overlay(vehicle))
                time.sleep(SETTLE_S)
            with viewer.looking(state == 'seen'):
                time.sleep(SETTLE_S)
                measured = viewer.measure(args.seconds, cores, detector, overlay)
                rounds[state].append(measured)
        pictures = viewer.pictures
    return {
        'cores': asdict(cores),
        'results_per_s': {s: _median([r.rate for r in rounds[s]]) for s in STATES},
        'results_per_cpu_s': {s: _median([r.per_cpu_s for r in rounds[s]]) for s in STATES},
        'fewer_percent': {s: _fewer(rounds, s, 'rate') for s in STATES[1:]},
        'fewer_per_cpu_percent': {s: _fewer(rounds, s, 'per_cpu_s') for s in STATES[1:]},
        'detector_cores': {s: _median([r.rate / r.per_cpu_s for r in rounds[s]]) for s in STATES},
        'others_busy': {s: _median([r.others_busy for r in rounds[s]]) for s in STATES},
        'overlay_cores': {s: _median([r.overlay_cores for r in rounds[s]]) for s in STATES[1:]},
        'pictures': pictures,
        'rounds': {state: [asdict(r) for r in values] for state, values in rounds.items()},
    }


@dataclass(frozen=True, slots=True)
class Round:
    """What one round measured.

    Attributes:
        rate: results per second.
        per_cpu_s: results per second of the detector's CPU time.
        overlay_cores: CPU time of the overlay per second.
        others_busy: share of the other cores' time in which they did anything.
    """

    rate: float
    per_cpu_s: float
    overlay_cores: float
    others_busy: float


def _median(values: list[float]) -> float:
    return float(np.median(values))


def _fewer(rounds: dict[str, list[Round]], state: str, figure: str) -> list[float]:
    """Return by how many percent a state falls behind "off": quartiles over the rounds."""
    pairs = zip(rounds[state], rounds['off'], strict=True)
    fewer = [100 * (1 - getattr(a, figure) / getattr(b, figure)) for a, b in pairs]
    return [float(q) for q in np.percentile(fewer, (25, 50, 75))]


def rows(result: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return the table of a result."""
    states, cores = STATES[1:], result['cores']
    others = ', '.join(map(str, cores['others']))
    return [
        ('', 'no overlay node', 'nobody looks', 'looked at'),
        ('results/s', *(f'{result["results_per_s"][s]:.2f}' for s in STATES)),
        ('fewer, % (quartiles)', '', *(_spread(result['fewer_percent'][s]) for s in states)),
        ('results per CPU second', *(f'{result["results_per_cpu_s"][s]:.2f}' for s in STATES)),
        (
            'fewer per CPU second, %',
            '',
            *(_spread(result['fewer_per_cpu_percent'][s]) for s in states),
        ),
        (
            f'core {cores["detector"]}, the detector’s: used by it',
            *(f'{result["detector_cores"][s]:.2f}' for s in STATES),
        ),
        (f'core {others}: busy', *(f'{result["others_busy"][s]:.2f}' for s in STATES)),
        ('cores used by the overlay', '', *(f'{result["overlay_cores"][s]:.3f}' for s in states)),
        ('pictures that the viewer got', '', '', str(result['pictures'])),
    ]


def _spread(quartiles: list[float]) -> str:
    low, median, high = quartiles
    return f'{median:.1f} ({low:.1f} to {high:.1f})'


class Viewer(Watcher):
    """Looks at overlays, and counts the detector's results by its status."""

    def __init__(self, config: Config, look: str) -> None:
        super().__init__('viewer')
        self.pictures = 0
        self._topics: dict[str, type] = {'/detector/overlay/compressed': CompressedImage}
        if look == 'all':
            self._topics = {f'/detector/{c.name}/overlay': Image for c in config.cameras}
            self._topics['/detector/overlay'] = Image
        self._status: PipelineStatus | None = None
        self.node.create_subscription(PipelineStatus, '/detector/status', self._on_status, 5)
        for camera in config.cameras:
            for kind, topic in ((Detection2DArray, 'detections'), (CameraLatency, 'latency')):
                name = f'/detector/{camera.name}/{topic}'
                self.node.create_subscription(kind, name, lambda _: None, 10, raw=True)

    @property
    def working(self) -> bool:
        """Whether every camera has results."""
        return bool(self._status and all(c.published for c in self._status.cameras))

    @contextlib.contextmanager
    def looking(self, really: bool) -> Iterator[None]:
        """Subscribe to all overlays for a while."""
        subscriptions = [
            self.node.create_subscription(kind, topic, self._on_picture, 1, raw=True)
            for topic, kind in (self._topics.items() if really else ())
        ]
        self.executor.wake()
        try:
            yield
        finally:
            for subscription in subscriptions:
                self.node.destroy_subscription(subscription)

    def measure(
        self, seconds: float, cores: Cores, detector: NodeProcess, overlay: NodeProcess | None
    ) -> Round:
        """Count the detector's results for a while."""
        meters = [cores.others_busy_s, detector.cpu_s, *([overlay.cpu_s] if overlay else [])]
        first, before = self._next_status(), [read() for read in meters]
        time.sleep(seconds)
        last, after = self._next_status(), [read() for read in meters]
        busy, spent, *drawing = (b - a for a, b in zip(before, after, strict=True))
        count = sum(c.published for c in last.cameras) - sum(c.published for c in first.cameras)
        elapsed = _time_s(last) - _time_s(first)
        return Round(
            count / elapsed,
            count / spent,
            sum(drawing) / elapsed,
            busy / elapsed / len(cores.others),
        )

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
    stack: contextlib.ExitStack, cores: Cores, vehicle: Path, folder: Path
) -> tuple[NodeProcess, NodeProcess]:
    """Start the detector on its core, and cameras on the others, where this process stays too."""

    def start(module: str) -> NodeProcess:
        log = folder / f'{module}.log'
        return stack.enter_context(NodeProcess(f'yolox_trt_ros.ros.{module}', [vehicle], {}, log))

    with on_cores([cores.detector]):
        detector = start('detector_node')
    stack.enter_context(on_cores(cores.others))
    return detector, start('camera_sim_node')


def _states(rounds: int) -> Iterator[str]:
    """Yield the states there and back, so that neither is always the first of a round."""
    for number in range(rounds):
        yield from STATES if number % 2 == 0 else STATES[::-1]


@contextlib.contextmanager
def _overlay(vehicle: Path) -> Iterator[NodeProcess]:
    module, log = 'yolox_trt_ros.ros.overlay_node', vehicle.with_name('overlay.log')
    with NodeProcess(module, [vehicle], {}, log) as overlay:
        yield overlay
        overlay.check()


def _vehicle(folder: Path, args: argparse.Namespace) -> Path:
    """Write the vehicle with one lane of one thread."""
    flat = vehicle_parameters(find_resource('config/vehicles', args.vehicle, '.param.yaml'))
    flat = {k: v for k, v in flat.items() if not k.startswith(('lanes.', 'lane_names'))}
    flat |= {'lane_names': ['cpu0'], 'lanes.cpu0.threads': 1}
    flat |= {f'cameras.{name}.rate_hz': args.rate for name in flat['camera_names']}
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
