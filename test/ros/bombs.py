"""A node of two CPU lanes while one of three cameras sends what takes a decoder long.

    python test/ros/bombs.py --seconds 120

Every camera is a process of its own. First all of them send ordinary pictures, then one sends
``image_bombs`` and a few ordinary pictures between them. The others have to get their results as
before, no lane may fail, and every image has to be accounted for.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import struct
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import numpy as np  # noqa: E402
import rclpy  # noqa: E402
from image_bombs import bombs, good_jpeg  # noqa: E402
from peer import DOMAIN, Peer, compressed_message, detector, image_message  # noqa: E402
from rclpy.qos import QoSProfile  # noqa: E402
from rclpy.serialization import serialize_message  # noqa: E402
from rclpy.signals import SignalHandlerOptions  # noqa: E402
from sensor_msgs.msg import CompressedImage, Image  # noqa: E402
from tiny_models import write_yolox  # noqa: E402

from yolox_trt_ros.msg import CameraStatus, LaneStatus, PipelineStatus  # noqa: E402
from yolox_trt_ros.ros.dds.settings import environment  # noqa: E402

SPAWN = multiprocessing.get_context('spawn')
RATE_HZ = 6.0
OTHERS = ('front', 'rear')
BOMBER = 'bomber'
SHARE = 0.9
GOOD = 0.15
"""Part of the bomber's images that are ordinary ones."""
STAMP = struct.Struct('<iI')
IDLE, ORDINARY, BOMBS = range(3)
SETTLE_S = 40.0


@dataclass
class Driver:
    """One camera: a process that publishes at a rate while it is asked to.

    Attributes:
        name: the camera's.
        phase: what is to be done.
        hostile: what it sends in place of ordinary images, now and then.
        sent: how many images went out; -1: the detector is not known yet.
    """

    name: str
    phase: Synchronized[int]
    hostile: list[bytes]
    sent: Synchronized[int] = field(default_factory=lambda: SPAWN.Value('q', -1))

    def start(self, seed: int) -> None:
        """Start the process."""
        arguments = (self.name, self.phase, self.sent, seed, self.hostile, DOMAIN)
        self.process = SPAWN.Process(target=drive, args=arguments, daemon=True)
        self.process.start()


def drive(
    name: str,
    phase: Synchronized[int],
    sent: Synchronized[int],
    seed: int,
    contents: list[bytes],
    domain: int,
) -> None:
    """Publish a camera's images."""
    chance, parent = random.Random(seed), os.getppid()
    rclpy.init(domain_id=domain, signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node(f'driver_{name}')
    raw = name == 'rear'
    kind, topic = (Image, 'image_raw') if raw else (CompressedImage, 'image_raw/compressed')
    publisher = node.create_publisher(kind, f'/{name}/{topic}', QoSProfile(depth=20))
    ordinary = [
        image_message(np.random.default_rng(i).integers(0, 256, (480, 640, 3), np.uint8), 1)
        if raw
        else compressed_message(good_jpeg(i), 1)
        for i in range(4)
    ]
    pictures = [bytearray(serialize_message(message)) for message in ordinary]
    hostile = [bytearray(serialize_message(compressed_message(content, 1))) for content in contents]
    while not publisher.get_subscription_count() and os.getppid() == parent:
        time.sleep(0.05)
    sent.value = 0
    due_s, number = time.monotonic(), 0
    while os.getppid() == parent:
        if phase.value != IDLE:
            throws = hostile and phase.value == BOMBS and chance.random() > GOOD
            message = chance.choice(hostile if throws else pictures)
            stamp_ns = time.time_ns()
            STAMP.pack_into(message, 4, stamp_ns // 10**9, stamp_ns % 10**9)
            publisher.publish(bytes(message))
            number += 1
            sent.value = number
        due_s += 1 / RATE_HZ
        time.sleep(max(0.0, due_s - time.monotonic()))
        due_s = max(due_s, time.monotonic() - 1 / RATE_HZ)


@dataclass
class Moment:
    """What had been sent, and what the node said of it."""

    sent: dict[str, int]
    cameras: dict[str, CameraStatus]
    lanes: list[LaneStatus]


class Arena:
    """A node, its cameras, and an ear on its status."""

    def __init__(self, peer: Peer, node: str, drivers: list[Driver], phase: Any) -> None:
        self._peer, self._drivers, self.phase = peer, drivers, phase
        self._statuses = peer.listen(PipelineStatus, f'{node}/status')

    def settled(self) -> Moment:
        """Return a moment at which everything that was sent has been settled; nobody sends."""
        self.phase.value = IDLE
        self._peer.spin(1.0)

        def settled() -> Moment | None:
            self._statuses.clear()
            status = self._peer.until(lambda: self._statuses and self._statuses[-1], 'status')
            cameras = {c.name: c for c in status.cameras}
            sent = {d.name: d.sent.value for d in self._drivers}
            open_ = any(c.waiting or c.in_flight for c in cameras.values())
            missing = any(cameras[name].received < n for name, n in sent.items())
            return None if open_ or missing else Moment(sent, cameras, list(status.lanes))

        moment: Moment = self._peer.until(settled, 'every image accounted for', SETTLE_S)
        return moment

    def run(self, phase: int, seconds: float) -> None:
        """Let the cameras send."""
        self.phase.value = phase
        self._peer.spin(seconds)


@contextmanager
def arena(peer: Peer, folder: Path, seed: int, hostile: list[bytes]) -> Any:
    """Open a node of two CPU lanes with three cameras."""
    names = [*OTHERS, BOMBER]
    parameters: dict[str, Any] = {
        'camera_names': names,
        'lane_names': ['cpu0', 'cpu1'],
        'lanes.cpu0.threads': 1,
        'lanes.cpu1.threads': 1,
        'model.path': str(write_yolox(folder / 'tiny.onnx')),
        'model.score_threshold': 0.95,
    }
    for name in names:
        parameters[f'cameras.{name}.rate_hz'] = RATE_HZ
        parameters[f'cameras.{name}.depth'] = 20
        if name != 'rear':
            parameters[f'cameras.{name}.transport'] = 'compressed'
    phase = SPAWN.Value('i', IDLE)
    drivers = [Driver(name, phase, hostile if name == BOMBER else []) for name in names]
    with detector(peer, folder, 'bombs', parameters) as node:
        os.environ.update(environment())
        for number, driver in enumerate(drivers):
            driver.start(seed + number)
        try:
            peer.until(lambda: all(d.sent.value == 0 for d in drivers), 'the cameras', 60.0)
            yield Arena(peer, node.name, drivers, phase), node
        finally:
            for driver in drivers:
                driver.process.terminate()
                driver.process.join(10)


def faults(before: Moment, after: Moment, log: str) -> list[str]:
    """Print what became of each camera's images and return what is wrong."""
    wrong = []
    print(f'{"camera":8} {"sent":>6} {"received":>9} {"results":>8} {"share":>6}  dropped')
    for name, now in after.cameras.items():
        then = before.cameras[name]
        sent = after.sent[name] - before.sent[name]
        received, published = now.received - then.received, now.published - then.published
        reasons = zip(now.drop_reasons, now.drop_counts, then.drop_counts, strict=True)
        dropped = {reason: new - old for reason, new, old in reasons if new > old}
        message = ', '.join(f'{n} {reason}' for reason, n in dropped.items())
        share = published / max(1, sent)
        print(f'{name:8} {sent:6} {received:9} {published:8} {share:6.1%}  {message}')
        if received != published + sum(dropped.values()) or received != sent:
            wrong.append(f'{name}: the account does not add up')
        if name in OTHERS and share < SHARE:
            wrong.append(f'{name}: {share:.1%} of its results, expected {SHARE:.0%}')
    for lane in after.lanes:
        print(f'lane {lane.name}: {lane.state}, {lane.failures} failures, {lane.processed} frames')
        if lane.failures:
            wrong.append(f'lane {lane.name} failed {lane.failures} times: {lane.note}')
    if 'Traceback' in log:
        wrong.append('the node has told of a traceback')
    if not {'oversized', 'slowed'} <= {
        reason
        for reason, n in zip(
            after.cameras[BOMBER].drop_reasons, after.cameras[BOMBER].drop_counts, strict=True
        )
        if n
    }:
        wrong.append('no bomb was refused for its size, or none has slowed its camera down')
    return wrong


def attack(
    peer: Peer, folder: Path, seconds: float, seed: int, peace_s: float, largest: int = 6200
) -> list[str]:
    """Run the cameras and return what is wrong."""
    with arena(peer, folder, seed, [*bombs(largest).values()]) as (cameras, node):
        if peace_s:
            cameras.run(ORDINARY, peace_s)
        before = cameras.settled()
        shares = {name: f'{c.published}/{before.sent[name]}' for name, c in before.cameras.items()}
        print(f'ordinary images of all cameras, {peace_s:g} s: results {shares}')
        cameras.run(BOMBS, seconds)
        after = cameras.settled()
        print(f'{seconds:g} s of bombs from {BOMBER}:')
        return faults(before, after, node.log)


def main() -> int:
    """Run for a while; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').partition('\n')[0])
    parser.add_argument('--seconds', type=float, default=120.0)
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--largest', type=int, default=6200, help='side of the largest bombs')
    parser.add_argument('--from-start', action='store_true', help='no ordinary images before')
    given = parser.parse_args()
    peer = Peer()
    try:
        with tempfile.TemporaryDirectory() as folder:
            peace_s = 0.0 if given.from_start else max(4.0, given.seconds / 8)
            wrong = attack(peer, Path(folder), given.seconds, given.seed, peace_s, given.largest)
    finally:
        peer.close()
    for sentence in wrong:
        print(f'bombs: {sentence}', file=sys.stderr)
    return bool(wrong)


if __name__ == '__main__':
    sys.exit(main())
