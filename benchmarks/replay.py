"""Replay of eight raw cameras: whether it keeps the recorded pace, and lockstep is complete.

A bag is written in each storage and played at rate 1 by the replay tool's own process to a process
that takes the images as the detector does and only counts them. In lockstep it is played to the
detector itself, with a network so small that the images are the load.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from benchmarks.pipeline import test_images
from yolox_trt_ros.bags.writer import BagWriter
from yolox_trt_ros.core import children
from yolox_trt_ros.core.errors import YoloxTrtRosError
from yolox_trt_ros.ros.node_process import NodeProcess, isolate
from yolox_trt_ros.ros.output.serialize_images import SerializedImage
from yolox_trt_ros.sim.encode import encode

CAMERAS = 8
KINDS = {
    'mcap': ('mcap', 'none'),
    'mcap, zstd': ('mcap', 'chunk'),
    'sqlite3': ('sqlite3', 'none'),
}
LONGEST_S = 300.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument('--size', type=int, nargs=2, default=(1920, 1280), metavar=('W', 'H'))
    parser.add_argument('--rate', type=float, default=10.0, help='Hz of each camera')
    parser.add_argument('--seconds', type=float, default=5.0, help='length of the bags')
    parser.add_argument('--model', default='', help='also lockstep, with this ONNX file')
    parser.add_argument('--labels', default='', help='text file, one class name a line')


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Return per storage what was sent, what arrived, and how late and expensive it was."""
    isolate()
    results: dict[str, Any] = {'image': list(args.size), 'rate_hz': args.rate, 'paced': {}}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        vehicle = _vehicle(folder, args)
        for kind, how in KINDS.items():
            bag = _record(folder / 'bag', args, *how)
            os.sync()  # a bag is seldom still being written to the disk while it is played
            results['paced'][kind] = _paced(bag, vehicle, folder, args)
            if kind == 'mcap' and args.model:
                results['lockstep'] = _lockstep(bag, vehicle, folder)
            for file in bag.iterdir():
                file.unlink()
            bag.rmdir()
    return results


def rows(result: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return the table of a result."""
    paced = result['paced']
    lines: list[tuple[str, ...]] = [('rate 1', *paced)]
    for key, text in (
        ('due', 'images recorded'),
        ('received', 'images received'),
        ('lost', 'lost in transit'),
        ('late', 'sent more than 5 ms late'),
        ('worst_late_ms', 'worst, ms'),
        ('player_cpu_ms', 'CPU of the player, ms/image'),
        ('receiver_cpu_ms', 'CPU of the receiver, ms/image'),
    ):
        lines.append((text, *(f'{r[key]:.1f}'.removesuffix('.0') for r in paced.values())))
    if lockstep := result.get('lockstep'):
        share = f'{lockstep["answered"]} of {lockstep["due"]} in {lockstep["seconds"]:.1f} s'
        lines.append(('lockstep, mcap: images answered', share))
    return lines


def _names() -> list[str]:
    return [f'camera_{i}' for i in range(CAMERAS)]


def _vehicle(folder: Path, args: argparse.Namespace) -> Path:
    width, height = args.size
    flat: dict[str, Any] = {'camera_names': _names(), 'lane_names': ['cpu0', 'cpu1']}
    for name in _names():
        flat |= {
            f'cameras.{name}.rate_hz': args.rate,
            f'cameras.{name}.width': width,
            f'cameras.{name}.height': height,
        }
    for key, value in (('model.path', args.model), ('model.labels', args.labels)):
        if value:
            flat[key] = str(Path(value).resolve()) if Path(value).exists() else value
    path = folder / 'vehicle.param.yaml'
    path.write_text(yaml.safe_dump({'/**': {'ros__parameters': flat}}))
    return path


def _record(path: Path, args: argparse.Namespace, storage: str, compression: str) -> Path:
    width, height = args.size
    pictures = [encode(image, 'bgr8') for image in test_images(width, height, 2)]
    start_ns = 1_700_000_000_000_000_000
    with BagWriter(path, storage, compression) as bag:
        heads = {name: SerializedImage(name) for name in _names()}
        for name in heads:
            bag.add_topic(f'/{name}/image_raw', 'sensor_msgs/msg/Image')
        for number in range(_due(args)):
            tick, camera = divmod(number, CAMERAS)
            name = _names()[camera]
            stamp_ns = start_ns + round(number / CAMERAS / args.rate * 1e9)
            cdr = heads[name].write(pictures[(tick + camera) % 2], stamp_ns)
            bag.write(f'/{name}/image_raw', stamp_ns, cdr.data)
    return path


def _due(args: argparse.Namespace) -> int:
    return CAMERAS * round(args.rate * args.seconds)


def _play(bag: Path, vehicle: Path, *words: str) -> tuple[str, float]:
    """Play a bag to its end; return what the tool said, and its CPU seconds."""
    command = [sys.executable, '-m', 'yolox_trt_ros', 'replay', str(bag), '--vehicle', str(vehicle)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = children.run([*command, *words], LONGEST_S)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise YoloxTrtRosError(f'the replay failed:\n{done.stderr}')
    cpu_s = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return ' '.join(done.stderr.split()), cpu_s


def _paced(bag: Path, vehicle: Path, folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    out, due = folder / 'counted.json', _due(args)
    out.unlink(missing_ok=True)
    log = folder / 'counter.log'
    module = 'benchmarks.support.image_counter'
    with NodeProcess.command_line(module, [str(vehicle), str(out)], log) as counter:
        output, cpu_s = _play(bag, vehicle)
        end = time.monotonic() + 30.0
        while not out.is_file() and time.monotonic() < end:
            time.sleep(0.1)
        time.sleep(0.2)
        if not out.is_file():
            raise YoloxTrtRosError(f'nothing was counted:\n{counter.tail()}')
        counted = json.loads(out.read_text())
    late = re.search(r'(\d+) were late, the worst one by (\d+) ms', output)
    received = sum(counted['received'].values())
    return {
        'due': due,
        'received': received,
        'lost': due - received,
        'rejected': counted['rejected'],
        'mode': counted['mode'],
        'late': int(late[1]) if late else 0,
        'worst_late_ms': float(late[2]) if late else 0.0,
        'player_cpu_ms': cpu_s * 1e3 / due,
        'receiver_cpu_ms': counted['cpu_s'] * 1e3 / max(1, received),
    }


def _lockstep(bag: Path, vehicle: Path, folder: Path) -> dict[str, Any]:
    with contextlib.ExitStack() as stack:
        node = NodeProcess(
            'yolox_trt_ros.ros.detector_node',
            [vehicle],
            {'lockstep': True},
            folder / 'detector.log',
        )
        stack.enter_context(node)
        output, _ = _play(bag, vehicle, '--lockstep')
        node.check()
    answers = [(int(a), int(b)) for a, b in re.findall(r'(\d+) of (\d+) images answered', output)]
    seconds = re.search(r'in (\d+\.\d) s', output)
    return {
        'answered': sum(a for a, _ in answers),
        'due': sum(b for _, b in answers),
        'seconds': float(seconds[1]) if seconds else float('nan'),
    }
