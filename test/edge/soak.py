#!/usr/bin/env python3
"""Eight cameras that stop, restart, change size and encoding: memory flat, counts exact.

The cameras publish from this process, a child receives natively with a real pipeline behind.
Ends with status 1 and a sentence if a message is unaccounted for or the child's memory grows.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image

from yolox_trt_ros.core.config import Config
from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.detector import Detected
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.ros import dds
from yolox_trt_ros.ros.native_ingest import NativeIngest
from yolox_trt_ros.ros.process import keep_large_buffers
from yolox_trt_ros.schedule.pipeline import LaneSpec, Pipeline

CAMERAS = tuple(f'cam{i}' for i in range(8))
SIZE = (1920, 1280)
WARM_UP = 0.3
"""Part of the time after which every look has been seen and memory must be flat."""
GROWTH_MB = 40.0
PERIOD_S = 0.1


class Instant:
    """A detector that finds nothing, at once."""

    max_batch = 4

    def submit(self, frames: Sequence[Frame]) -> Instant:
        self._count = len(frames)
        return self

    def wait(self) -> list[Detected]:
        now = time.monotonic_ns()
        return [Detected(Detections.empty(), now, now, now)] * self._count

    def close(self) -> None:
        pass


def receive(pipe: Connection) -> None:
    """Receive until told to stop; answer each question with the accounts and the memory in use."""
    keep_large_buffers()
    rclpy.init()
    config = Config.from_parameters(
        {
            'camera_names': list(CAMERAS),
            'lane_names': ['lane'],
            'lanes.lane.max_batch': 4,
            **{f'cameras.{name}.reliability': 'reliable' for name in CAMERAS},
        }
    )
    node = Node('soak_receiver')
    lane = LaneSpec(config.lanes[0], Instant)
    with Pipeline(config.cameras, [lane], lambda *_: None) as pipeline:
        ingest = NativeIngest(node, config.cameras, pipeline, print, buffers=6)
        while pipe.recv():
            accounts = {
                c.name: {
                    'received': c.received,
                    'settled': c.published + sum(c.dropped.values()) + c.waiting + c.in_flight,
                    'lost': ingest.notes[c.name].lost or 0,
                }
                for c in pipeline.snapshot().cameras
            }
            pipe.send((accounts, resident_mb()))
        ingest.close()
    rclpy.shutdown()


def resident_mb() -> float:
    """Return the memory this process holds."""
    pages = int(Path('/proc/self/statm').read_text().split()[1])
    return pages * os.sysconf('SC_PAGE_SIZE') / 1e6


@dataclass
class Camera:
    """A camera driver: a publisher that is sometimes replaced, and what it has sent."""

    node: Node
    name: str
    publisher: Publisher[Any] | None = None
    look: int = 0
    sent: int = 0
    silent_until: float = 0.0
    restarts: int = field(default=0)

    def connect(self) -> None:
        """Publish from now on, heard by the receiver."""
        qos = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
        self.publisher = self.node.create_publisher(Image, f'/{self.name}/image_raw', qos)
        end = time.monotonic() + 20
        while not self.publisher.get_subscription_count():
            if time.monotonic() > end:
                raise TimeoutError(f'{self.name} found no receiver within 20 s')
            time.sleep(0.01)

    def shoot(self, messages: list[bytes], now: float) -> None:
        """Publish an image unless the camera is silent."""
        if now >= self.silent_until:
            assert self.publisher is not None
            self.publisher.publish(messages[self.look])
            self.sent += 1

    def misbehave(self, chance: random.Random, now: float, looks: int) -> None:
        """Now and then restart, fall silent, or change the picture."""
        what = chance.random()
        if what < 0.004:
            # A publisher takes what it has not delivered with it.
            assert self.publisher is not None
            self.publisher.wait_for_all_acked(Duration(seconds=10))
            self.node.destroy_publisher(self.publisher)
            self.connect()
            self.restarts += 1
        elif what < 0.01:
            self.silent_until = now + chance.uniform(0.2, 3.0)
        elif what < 0.02:
            self.look = chance.randrange(looks)


def pictures(width: int, height: int) -> list[bytes]:
    """Return a serialised message of every look: sizes and encodings up to the given size."""
    looks = (
        (width, height, 'bgr8', 3),
        (width * 2 // 3, height * 2 // 3, 'bgr8', 3),
        (width, height, 'mono8', 1),
    )
    made = []
    for width, height, encoding, channels in looks:
        image = Image(width=width, height=height, encoding=encoding, step=width * channels)
        image.data = np.full(height * width * channels, 7, np.uint8).tobytes()
        image.header.frame_id = encoding
        made.append(bytes(serialize_message(image)))
    return made


def drive(pipe: Connection, messages: list[bytes], seconds: float, seed: int) -> list[str]:
    """Run the cameras and return what is wrong."""
    chance = random.Random(seed)
    node = Node('soak_cameras')
    cameras = [Camera(node, name) for name in CAMERAS]
    for camera in cameras:
        camera.connect()
    memory: list[tuple[float, float]] = []
    start = time.monotonic()
    told = due = start
    while (now := time.monotonic()) < start + seconds:
        for camera in cameras:
            camera.misbehave(chance, now, len(messages))
            camera.shoot(messages, now)
        if now > told + max(1.0, seconds / 60):
            accounts, held = ask(pipe)
            memory.append((now - start, held))
            report(now - start, cameras, accounts, held)
            told = now
        due = max(due + PERIOD_S, time.monotonic() - PERIOD_S)
        time.sleep(max(0.0, due - time.monotonic()))
    time.sleep(1.0)
    accounts, held = ask(pipe)
    report(time.monotonic() - start, cameras, accounts, held)
    return [*miscounts(cameras, accounts), *growth(memory, seconds)]


def ask(pipe: Connection) -> tuple[dict[str, dict[str, int]], float]:
    """Return the receiver's accounts and memory."""
    pipe.send(True)
    answer: tuple[dict[str, dict[str, int]], float] = pipe.recv()
    return answer


def report(after_s: float, cameras: list[Camera], accounts: dict[str, Any], held: float) -> None:
    """Print one line of progress."""
    sent = sum(camera.sent for camera in cameras)
    restarts = sum(camera.restarts for camera in cameras)
    received, lost = (sum(a[key] for a in accounts.values()) for key in ('received', 'lost'))
    print(
        f'{after_s:6.0f} s: sent {sent}, received {received}, overtaken in the middleware {lost}, '
        f'restarts {restarts}, memory {held:.0f} MB',
        flush=True,
    )


def miscounts(cameras: list[Camera], accounts: dict[str, dict[str, int]]) -> list[str]:
    """Return every camera whose counts do not add up."""
    wrong = []
    for camera in cameras:
        account = accounts[camera.name]
        if account['received'] != account['settled']:
            wrong.append(f'{camera.name}: the pipeline does not add up: {account}')
        if account['received'] + account['lost'] != camera.sent:
            wrong.append(f'{camera.name}: sent {camera.sent}, accounted for {account}')
    return wrong


def growth(memory: list[tuple[float, float]], seconds: float) -> list[str]:
    """Return whether memory still grew after the warm-up."""
    flat = [held for after, held in memory if after > WARM_UP * seconds]
    if len(flat) < 4:
        return [f'{seconds:g} s are too few to judge memory by']
    half = len(flat) // 2
    first, second = statistics.median(flat[:half]), statistics.median(flat[half:])
    grown = second - first
    return [f'memory grew from {first:.0f} to {second:.0f} MB'] if grown > GROWTH_MB else []


def main() -> int:
    """Run for a while; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').partition('\n')[0])
    parser.add_argument('--seconds', type=float, default=3600.0)
    parser.add_argument('--seed', type=int, default=1)
    size = 'of the largest images; smaller ones cost less CPU time'
    parser.add_argument('--size', type=int, nargs=2, default=SIZE, metavar=('W', 'H'), help=size)
    arguments = parser.parse_args()
    os.environ.setdefault('ROS_DOMAIN_ID', str(1 + os.getpid() % 100))
    os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    os.environ.update(dds.environment())
    keep_large_buffers()
    here, there = multiprocessing.get_context('spawn').Pipe()
    child = multiprocessing.get_context('spawn').Process(target=receive, args=(there,), daemon=True)
    child.start()
    rclpy.init()
    try:
        wrong = drive(here, pictures(*arguments.size), arguments.seconds, arguments.seed)
        here.send(False)
        child.join(20)
    except KeyboardInterrupt:
        return 130
    finally:
        rclpy.try_shutdown()
    for sentence in wrong:
        print(f'soak: {sentence}', file=sys.stderr)
    return bool(wrong)


if __name__ == '__main__':
    sys.exit(main())
