"""Images in and results out: typed messages, rclpy's bytes, and this package's own C++."""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
import rclpy
import yaml
from rclpy.node import Node

from benchmarks.support.cores import on_cores
from yolox_trt_ros.bags.names import is_installed
from yolox_trt_ros.core import children
from yolox_trt_ros.core.class_names import AUTOWARE
from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.errors import YoloxTrtRosError
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.topics import RESULTS
from yolox_trt_ros.ros.dds import settings
from yolox_trt_ros.ros.node_process import NodeProcess
from yolox_trt_ros.ros.output.messages import FoundMessage, detection_array
from yolox_trt_ros.ros.output.objects import objects_message_of
from yolox_trt_ros.ros.output.publishers import Output, TemplateOutput, TypedOutput

CAMERAS = tuple(f'cam{i}' for i in range(8))
RECEIVER = 'benchmarks.support.edge_receiver'
THREADS = 8
"""Busiest threads that the table shows."""
TRIGGERS = ('staggered', 'together')
INGEST_MODES = {'typed': 'plain', 'plain': 'plain', 'native': 'auto'}
FIELDS = {
    'images_per_s': ('images/s', False),
    'cpu_ms_per_image': ('CPU, ms/image', True),
    'transit_p50_ms': ('in transit p50, ms', True),
    'transit_p99_ms': ('in transit p99, ms', True),
    'middleware_p50_ms': ('of it the middleware p50, ms', False),
    'middleware_p99_ms': ('of it the middleware p99, ms', False),
    'behind_p50_ms': ('of it behind the middleware p50, ms', True),
    'behind_p99_ms': ('of it behind the middleware p99, ms', True),
    'age_p99_ms': ('age on arrival p99, ms', True),
    'lost': ('lost', False),
    'replaced': ('passed over, a newer one was there', False),
    'never_sent': ('never sent: cameras short of CPU', False),
}
"""What is measured, how the table calls it, and whether its ratio to typed messages means anything.

"In transit" begins when the publisher hands the image to its middleware and ends where a pipeline
takes the frame; the age begins at the image's stamp, and the camera's own time is in it.
"""

OUTPUTS: tuple[type[Output], ...] = (TypedOutput, TemplateOutput)
MESSAGES = {'detections': 'Detection2DArray', 'objects': 'DetectedObjectsWithFeature'}
PACES = {'warm': 0.0, 'paced': 0.005}
"""Seconds between two results; after a pause caches and branch predictors are cold."""

PROFILE = 'orin_agx_maxn'
LANES = {'gpu': 'cuda:0', 'dla0': 'dla:0', 'dla1': 'dla:1'}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument('--size', type=int, nargs=2, default=(1920, 1280), metavar=('W', 'H'))
    parser.add_argument('--rates', type=float, nargs='+', default=[10.0, 20.0], help='Hz a camera')
    parser.add_argument('--triggers', nargs='+', default=TRIGGERS, choices=TRIGGERS)
    parser.add_argument('--seconds', type=float, default=10.0, help='length of each measurement')
    apart = 'cameras on the first core, receiver on the others; else where the kernel puts them'
    parser.add_argument('--apart', action='store_true', help=apart)
    parser.add_argument(
        '--dds',
        default='auto',
        help='middleware settings of all modes: auto, or a file such as fastdds_8cam_one_computer',
    )
    parser.add_argument('--rounds', type=int, default=1, help='times each is repeated; medians')
    parser.add_argument('--detections', type=int, default=100, help='boxes in one array; 0: none')
    parser.add_argument('--profile-rate', type=float, default=30.0, help='Hz; 0: no profile')
    parser.add_argument('--model', default='', help='ONNX file for the profile of the node')
    parser.add_argument('--labels', default='', help='its class names')


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Return every mode's cost, one after the other, under the same load.

    Raises:
        YoloxTrtRosError: ``--apart`` on a single core, or a receiver failed.
    """
    if args.apart and len(cores := os.sched_getaffinity(0)) < 2:
        raise YoloxTrtRosError(f'--apart needs two cores at least, this process has {len(cores)}')
    os.environ.setdefault('ROS_DOMAIN_ID', str(1 + os.getpid() % 100))
    # LOCALHOST adds network transports to a profile, also to one that leaves them out.
    reach = 'LOCALHOST' if args.dds == 'auto' else 'SUBNET'
    os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', reach)
    os.environ.update(settings.environment(args.dds))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pictures = folder / 'pictures'
        pictures.mkdir()
        write_picture(pictures / 'picture.png', *args.size)
        result: dict[str, Any] = {
            'image': list(args.size),
            'cameras': len(CAMERAS),
            'dds': Path(settings.active_profile()).name,
        }
        result['copy_ms'] = copy_ms(args.size[0] * args.size[1] * 3)
        for rate, trigger in itertools.product(args.rates, args.triggers):
            # The modes alternate, so that a busy minute of the machine hits all of them.
            rounds = [
                {mode: ingest(folder, rate, trigger, mode, args) for mode in INGEST_MODES}
                for _ in range(args.rounds)
            ]
            result[f'{rate:g} Hz {trigger}'] = {
                mode: {field: middle([one[mode][field] for one in rounds]) for field in FIELDS}
                for mode in INGEST_MODES
            }
        if args.detections:
            result['publication'] = publication(args.detections)
        if args.profile_rate:
            model = {'model.path': args.model, 'model.labels': args.labels}
            result['profile'] = profile(folder, args.profile_rate, args.seconds, model)
    return result


def rows(result: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return the table of a result; ratios are against typed messages."""
    lines: list[tuple[str, ...]] = [('', 'typed', 'rclpy bytes', 'native', 'native / typed')]
    for key in (key for key in result if ' Hz ' in key):
        for field, (text, of_typed) in FIELDS.items():
            values = [result[key][mode][field] for mode in INGEST_MODES]
            shown = ('–' if value is None else f'{value:.4g}' for value in values)
            ratio = f'{values[-1] / values[0]:.2f}' if of_typed else ''
            lines.append((f'8 × {key}: {text}', *shown, ratio))
        lines += floor_rows(key, result[key])
    if 'copy_ms' in result:
        lines.append(('one copy of an image, ms', '', '', f'{result["copy_ms"]:.2f}', ''))
    lines += publication_rows(result['publication']) if 'publication' in result else []
    lines += profile_rows(result['profile']) if 'profile' in result else []
    return lines


def floor_rows(key: str, modes: dict[str, dict[str, float]]) -> list[tuple[str, ...]]:
    """Return what transit would take for a receiver that costs nothing at all."""
    lines: list[tuple[str, ...]] = []
    for percent in (50, 99):
        least = modes['native'][f'middleware_p{percent}_ms']
        ratio = f'{least / modes["typed"][f"transit_p{percent}_ms"]:.2f}'
        text = f'8 × {key}: a free receiver p{percent}, ms'
        lines.append((text, '', '', f'{least:.4g}', ratio))
    return lines


def profile_rows(node: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return the table's lines on the whole node."""
    rates = f'{node["received_per_s"]:.0f} in, {node["published_per_s"]:.0f} out'
    lines: list[tuple[str, ...]] = [('whole node, images/s', '', '', rates, '')]
    for name, share in list(node['threads'].items())[:THREADS]:
        each = share * 1e3 / max(node['received_per_s'], 1.0)
        text = f'{share:.3f}, {each:.3f}'
        lines.append((f'its thread {name}: share of a core, CPU ms/image', '', '', text, ''))
    for stage, p50_ms in node['stages_p50_ms'].items():
        lines.append((f'its stage {stage}: p50, ms', '', '', f'{p50_ms:.2f}', ''))
    return lines


def publication_rows(sent: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return the table's lines on publication."""
    lines: list[tuple[str, ...]] = []
    for message, title in MESSAGES.items():
        for name, pause_s in PACES.items() if f'{message}_typed_warm_us' in sent else ():
            typed, templates = (sent[f'{message}_{o.encoder}_{name}_us'] for o in OUTPUTS)
            label = f'{title} of {sent["detections"]} every {pause_s * 1e3:g} ms, CPU µs'
            ratio = f'1 / {typed / templates:.1f}'
            lines.append((label, f'{typed:.0f}', '–', f'{templates:.0f}', ratio))
    return lines


def write_picture(path: Path, width: int, height: int) -> None:
    """Write a picture whose pixels differ."""
    y, x = np.mgrid[:height, :width]
    cv2.imwrite(str(path), np.stack((x % 256, y % 256, (x + y) % 256), axis=2).astype(np.uint8))


def write_vehicle(path: Path, pictures: Path, rate: float, **more: Any) -> Path:
    """Write the parameters of cameras, receiver and node."""
    flat: dict[str, Any] = {
        'camera_names': list(CAMERAS),
        'lane_names': ['cpu0'],
        'sim.source': str(pictures),
        'sim.camera_info': False,
        'sim.ground_truth': False,
        **{f'cameras.{camera}.rate_hz': float(rate) for camera in CAMERAS},
        **more,
    }
    path.write_text(yaml.safe_dump({'/**': {'ros__parameters': flat}}))
    return path


def middle(values: list[Any]) -> Any:
    """Return the median; None if nobody knows."""
    return None if None in values else median(values)


def copy_ms(size: int) -> float:
    """Return how long copying a block takes that lies, like its destination, in no cache."""
    blocks = np.ones((32, size), np.uint8)
    times = []
    for number in range(3 * len(blocks)):
        source, to = number % len(blocks), (number + len(blocks) // 2) % len(blocks)
        start = time.perf_counter()
        np.copyto(blocks[to], blocks[source])
        times.append(time.perf_counter() - start)
    return median(times) * 1e3


def ingest(
    folder: Path, rate: float, trigger: str, mode: str, args: argparse.Namespace
) -> dict[str, Any]:
    """Measure one mode of receiving, in a process of its own."""
    more = {'ingest': INGEST_MODES[mode], 'sim.trigger': trigger}
    vehicle = write_vehicle(folder / f'{mode}.param.yaml', folder / 'pictures', rate, **more)
    options = ('--mode', mode, '--vehicle', str(vehicle), '--seconds', str(args.seconds))
    cores = sorted(os.sched_getaffinity(0))
    with on_cores(cores[:1] if args.apart else cores):
        cameras = camera_sim(vehicle)
    with cameras as source, on_cores(cores[1:] if args.apart else cores):
        measured = receiver(*options)
    # Told when it ends; of the whole run, so more than was skipped during the measurement.
    skipped = sum(int(n) for n in re.findall(r'skipped (\d+)\)', source.log.read_text()))
    return {**measured, 'never_sent': skipped}


def profile(folder: Path, rate: float, seconds: float, model: dict[str, str]) -> dict[str, Any]:
    """Return the share of a core that each thread of a whole node uses, lanes being simulated."""
    lanes: dict[str, Any] = {'lane_names': list(LANES), 'profile': PROFILE}
    for name, device in LANES.items():
        lanes |= {f'lanes.{name}.device': device, f'lanes.{name}.backend': 'simulated'}
    chosen = {key: str(Path(value).resolve()) for key, value in model.items() if value}
    path = folder / 'profile.param.yaml'
    vehicle = write_vehicle(path, folder / 'pictures', rate, **lanes, **chosen)
    with camera_sim(vehicle):
        return receiver('--mode', 'node', '--vehicle', str(vehicle), '--seconds', str(seconds))


def camera_sim(vehicle: Path) -> NodeProcess:
    """Start the cameras."""
    log = vehicle.with_suffix('.sim.log')
    return NodeProcess('yolox_trt_ros.ros.camera_sim_node', [vehicle], {}, log)


def receiver(*arguments: str) -> dict[str, Any]:
    """Run a receiver and return what it measured.

    Raises:
        YoloxTrtRosError: it failed; with what it said.
    """
    command = [sys.executable, '-m', RECEIVER, *arguments]
    done = children.run(command)
    if done.returncode:
        raise YoloxTrtRosError(f'{" ".join(command)} failed:\n{done.stderr[-2000:]}')
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measured


def publication(count: int) -> dict[str, Any]:
    """Return the CPU time to build and publish an array of detections, with a reader elsewhere."""
    random = np.random.default_rng(0)
    corner = random.random((count, 2), np.float32) * 1000
    size = random.random((count, 2), np.float32) * 200
    found = Detections(
        np.concatenate([corner, corner + size], axis=1),
        random.random(count, np.float32),
        random.integers(0, len(AUTOWARE), count).astype(np.int32),
    )
    pixels = np.zeros(1, np.uint8)  # nobody looks at them
    frame = Frame('c', 0, 10**18, 0, 'front_optical_frame', 'mono8', 1280, 1920, 1920, pixels)
    context = rclpy.Context()
    rclpy.init(context=context)
    node = Node('edge_publisher', context=context)
    outputs = {
        f'{name}_{output.encoder}': output(node, kind, f'~/{output.encoder}/{name}', message)
        for name, (kind, message) in published().items()
        for output in OUTPUTS
    }
    command = [sys.executable, '-m', RECEIVER, '--mode', 'listen', '--seconds', '600']
    listener = children.start(command, stdout=subprocess.DEVNULL, start_new_session=True)
    result: dict[str, Any] = {'detections': count}
    try:
        _wait(lambda: all(output.heard for output in outputs.values()))
        for output in outputs.values():
            output.publish(frame, found)  # makes its templates
        for which, output in outputs.items():
            for name, pause_s in PACES.items():
                times = _times(partial(output.publish, frame, found), pause_s)
                result[f'{which}_{name}_us'] = median(times) * 1e6
    finally:
        children.stop(listener)
        node.destroy_node()
        rclpy.shutdown(context=context)
    return result


def published() -> dict[str, tuple[str, FoundMessage]]:
    """Return type and content of the messages that are published: Autoware's where it is there."""
    messages = {'detections': detection_array([str(i) for i in range(80)])}
    if is_installed(RESULTS['objects'].type):
        messages['objects'] = objects_message_of(AUTOWARE)
    return {name: (RESULTS[name].type, message) for name, message in messages.items()}


def _times(publish: Callable[[], None], pause_s: float) -> list[float]:
    times = []
    for _ in range(200):
        start = time.thread_time()
        publish()
        times.append(time.thread_time() - start)
        time.sleep(pause_s)
    return times


def _wait(ready: Callable[[], bool]) -> None:
    end = time.monotonic() + 30.0
    while not ready():
        if time.monotonic() > end:
            raise YoloxTrtRosError('the listener did not connect within 30 s')
        time.sleep(0.05)
