"""The whole node behind DDS, beside a plain rclpy node fed by the same cameras.

The two take turns, and medians are compared, because a machine's speed drifts. What the transport
costs is the node's CPU time beyond what the same lanes use when frames are handed over in process:
the copies out of shared memory into the message, and publishing.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from vision_msgs.msg import Detection2DArray

from benchmarks.pipeline import pipeline_rate, test_images
from benchmarks.support.identity import lane_devices
from yolox_trt_ros.compose import load_model
from yolox_trt_ros.core.config import CameraConfig
from yolox_trt_ros.core.errors import YoloxTrtRosError
from yolox_trt_ros.core.resources import find_resource
from yolox_trt_ros.msg import PipelineStatus
from yolox_trt_ros.ros.input.codecs import CdrReader
from yolox_trt_ros.ros.node_process import NodeProcess, isolate
from yolox_trt_ros.ros.watcher import Watcher, wait_for
from yolox_trt_ros.vehicle_files import chosen_model, load_vehicle, vehicle_parameters

SETTLE_S = 3.0
START_S = 60.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument('--vehicle', default='laptop_8cam', help='vehicle file or packaged name')
    parser.add_argument('--model', default='', help='ONNX file (default: the packaged model)')
    parser.add_argument('--labels', default='', help='text file, one class name a line')
    parser.add_argument('--source', default='', help='folder of images, video file, or "world"')
    parser.add_argument('--size', type=int, nargs=2, default=(1920, 1280), metavar=('W', 'H'))
    parser.add_argument('--rate', type=float, default=8.0, help='Hz of each camera')
    parser.add_argument('--seconds', type=float, default=10.0, help='length of one round')
    parser.add_argument('--rounds', type=int, default=3, help='rounds of each, alternating')


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Return results per second, latency and CPU time of both nodes, fed the same way."""
    isolate()
    with tempfile.TemporaryDirectory() as folder:
        vehicle = _vehicle(args, Path(folder))
        chosen = {
            key: str(Path(value).resolve()) if Path(value).exists() else value
            for key, value in (
                ('model.path', args.model),
                ('model.labels', args.labels),
                ('sim.source', args.source),
            )
            if value
        }
        rounds: dict[str, list[dict[str, Any]]] = {'plain': [], 'detector': []}
        for _ in range(args.rounds):
            for name, results in rounds.items():
                results.append(_measure_one(name, args, vehicle, chosen))
        config = load_vehicle(str(vehicle))
        model = load_model(chosen_model(config, args.model, args.labels))
        width, height = args.size
        images = test_images(width, height, len(config.cameras))
        in_process_rate, in_process_cpu_ms = pipeline_rate(config, model, images, args.seconds)
    plain, node = _median(rounds['plain']), _median(rounds['detector'])
    spent_ms = node['node_cpu_ms_per_result'] * node['results_per_s']
    transport_ms = spent_ms - in_process_cpu_ms * node['results_per_s']
    return {
        'lanes': lane_devices(config),
        'image': list(args.size),
        'rate_hz': args.rate,
        'plain': plain,
        'node': node,
        'in_process_results_per_s': in_process_rate,
        'transport_cpu_ms_per_image': transport_ms * args.seconds / max(1, node['received']),
        'rounds': rounds,
    }


def _median(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the median of every figure over the rounds."""
    return {key: float(np.median([r[key] for r in rounds])) for key in rounds[0]}


def rows(result: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return the table of a result."""
    plain, node = result['plain'], result['node']
    lines: list[tuple[str, ...]] = [('lane', '', lane, '') for lane in result['lanes']]
    lines.append(('', 'plain node', 'this node', 'ratio'))
    for key, text in (
        ('results_per_s', 'results/s'),
        ('latency_p50_ms', 'latency p50, ms'),
        ('latency_p95_ms', 'latency p95, ms'),
        ('latency_p99_ms', 'latency p99, ms'),
        ('node_cpu_ms_per_result', 'CPU of the node, ms/result'),
        ('source_cpu_ms_per_image', 'CPU of the cameras, ms/image'),
    ):
        ratio = f'{node[key] / plain[key]:.2f}'
        lines.append((text, f'{plain[key]:.1f}', f'{node[key]:.1f}', ratio))
    in_process = result['in_process_results_per_s']
    share = f'{node["results_per_s"] / in_process:.2f}'
    lines += [
        ('images due (rate × time)', f'{plain["due"]:.0f}', f'{node["due"]:.0f}', ''),
        ('images received', '–', f'{node["received"]:.0f}', ''),
        ('results/s, against frames in process', f'{in_process:.1f}', '', share),
        ('transport, CPU ms/image', '–', f'{result["transport_cpu_ms_per_image"]:.1f}', ''),
    ]
    return lines


def _vehicle(args: argparse.Namespace, folder: Path) -> Path:
    """Write the vehicle with the benchmark's image size and rate."""
    flat = vehicle_parameters(find_resource('config/vehicles', args.vehicle, '.param.yaml'))
    width, height = args.size
    for name in flat['camera_names']:
        flat |= {
            f'cameras.{name}.rate_hz': args.rate,
            f'cameras.{name}.transport': 'raw',
            f'cameras.{name}.encoding': 'bgr8',
            f'cameras.{name}.width': width,
            f'cameras.{name}.height': height,
            f'cameras.{name}.rig.width': width,
            f'cameras.{name}.rig.height': height,
        }
    path = folder / 'bench.param.yaml'
    path.write_text(yaml.safe_dump({'/**': {'ros__parameters': flat}}))
    return path


def _measure_one(
    name: str, args: argparse.Namespace, vehicle: Path, chosen: dict[str, Any]
) -> dict[str, Any]:
    cameras = load_vehicle(str(vehicle)).cameras
    folder = vehicle.parent
    with contextlib.ExitStack() as stack:
        watch = stack.enter_context(_Watch(cameras, f'/{name}'))
        if name == 'plain':
            arguments = ['--vehicle', str(vehicle), '--model', args.model, '--labels', args.labels]
            node = NodeProcess.command_line(
                'benchmarks.support.plain_node', arguments, folder / 'plain.log'
            )
        else:
            node = NodeProcess(
                'yolox_trt_ros.ros.detector_node', [vehicle], chosen, folder / 'detector.log'
            )
        stack.enter_context(node)
        source = stack.enter_context(
            NodeProcess('yolox_trt_ros.ros.camera_sim_node', [vehicle], chosen, folder / 'sim.log')
        )
        wait_for(lambda: watch.latencies, (node, source), START_S, 'a result')
        time.sleep(SETTLE_S)
        return _count(watch, node, source, args, len(cameras))


def _count(
    watch: _Watch, node: NodeProcess, source: NodeProcess, args: argparse.Namespace, cameras: int
) -> dict[str, Any]:
    watch.latencies.clear()
    before = watch.received()
    cpu_node, cpu_source, start = node.cpu_s(), source.cpu_s(), time.monotonic()
    time.sleep(args.seconds)
    seconds = time.monotonic() - start
    latencies = list(watch.latencies)
    if not latencies:
        raise YoloxTrtRosError(f'no result in {seconds:.0f} s:\n{node.tail()}\n{source.tail()}')
    due = round(args.rate * seconds) * cameras
    p50, p95, p99 = np.percentile(latencies, (50, 95, 99))
    return {
        'results_per_s': len(latencies) / seconds,
        'latency_p50_ms': float(p50),
        'latency_p95_ms': float(p95),
        'latency_p99_ms': float(p99),
        'node_cpu_ms_per_result': (node.cpu_s() - cpu_node) * 1e3 / len(latencies),
        'node_cpu_share': (node.cpu_s() - cpu_node) / seconds,
        'source_cpu_ms_per_image': (source.cpu_s() - cpu_source) * 1e3 / due,
        'due': due,
        'received': watch.received() - before,
    } | watch.stages_ms()


class _Watch(Watcher):
    """Counts a node's results and their age on arrival, at little cost: messages stay bytes."""

    def __init__(self, cameras: tuple[CameraConfig, ...], node: str) -> None:
        super().__init__('watch')
        self.latencies: list[float] = []
        self._status: PipelineStatus | None = None
        for camera in cameras:
            self.node.create_subscription(
                Detection2DArray, f'{node}/{camera.name}/detections', self._on_result, 50, raw=True
            )
        self.node.create_subscription(PipelineStatus, f'{node}/status', self._on_status, 1)

    def received(self) -> int:
        return sum(c.received for c in self._status.cameras) if self._status else 0

    def stages_ms(self) -> dict[str, float]:
        """Return the median over cameras of each stage's p95; nothing of the plain node."""
        cameras = self._status.cameras if self._status else []
        stages = cameras[0].stages if cameras else []
        return {
            f'{stage}_p95_ms': float(np.median([c.p95_ns[i] for c in cameras])) / 1e6
            for i, stage in enumerate(stages)
        }

    def _on_result(self, message: bytes) -> None:
        reader = CdrReader(message)
        stamp_ns = reader.number('i') * 1_000_000_000 + reader.number('I')
        self.latencies.append((time.time_ns() - stamp_ns) / 1e6)

    def _on_status(self, message: PipelineStatus) -> None:
        self._status = message
