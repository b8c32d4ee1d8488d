#!/usr/bin/env python3
"""Eight cameras that stop, restart, change size and encoding: memory flat, counts exact.

The cameras publish from this process, a child receives natively with a real pipeline behind. At
first the child holds every image until no buffer is left, in its rings and in the middleware: from
then on a step in its memory is a leak and no buffer made late. Ends with status 1 and a sentence if
a message is unaccounted for or the child's memory grows.
"""

from __future__ import annotations

import argparse
import ctypes
import multiprocessing
import os
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

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
BUFFERS = 6
DEPTH = 5
FILL = 3 * (BUFFERS + DEPTH)
"""Images of each camera while the child holds them: more than its rings and the middleware take."""
WARM_UP = 0.2
"""Part of the time after which memory must be flat."""
GROWTH_MB = 8.0
"""Most growth over the rest of the time: by the line that fits the memory in use best."""
PERIOD_S = 0.1


class Memory(NamedTuple):
    """What a process holds, MB.

    Attributes:
        own: resident pages of its own.
        used: of them, what the C allocator has given out: rings, the middleware's histories, NumPy.
        shared: resident pages of segments that it shares; the middleware's size bounds them.
    """

    own: float
    used: float
    shared: float


class Instant:
    """A detector that finds nothing, at once, and may be told to hold what it was shown."""

    max_batch = 4

    def __init__(self) -> None:
        self.holding = False
        self.held: list[Frame] = []

    def submit(self, frames: Sequence[Frame]) -> Instant:
        self._count = len(frames)
        if self.holding:
            self.held += frames
        return self

    def wait(self) -> list[Detected]:
        now = time.monotonic_ns()
        return [Detected(Detections.empty(), now, now, now, now)] * self._count

    def close(self) -> None:
        pass


def receive(pipe: Connection) -> None:
    """Receive until told to stop; answer ``report`` with the accounts and the memory in use."""
    keep_large_buffers()
    rclpy.init()
    config = Config.from_parameters(
        {
            'camera_names': list(CAMERAS),
            'lane_names': ['lane'],
            'lanes.lane.max_batch': 4,
            **{f'cameras.{name}.reliability': 'reliable' for name in CAMERAS},
            **{f'cameras.{name}.depth': DEPTH for name in CAMERAS},
        }
    )
    node = Node('soak_receiver')
    detector = Instant()
    lane = LaneSpec(config.lanes[0], lambda: detector)
    with Pipeline(config.cameras, [lane], lambda *_: None) as pipeline:
        ingest = NativeIngest(node, config.cameras, pipeline, print, BUFFERS)
        while (told := pipe.recv()) != 'stop':
            detector.holding = told == 'hold'
            if told == 'release':
                detector.held.clear()
            if told == 'report':
                pipe.send((accounts(pipeline, ingest), memory()))
        ingest.close()
    rclpy.shutdown()


def accounts(pipeline: Pipeline, ingest: NativeIngest) -> dict[str, dict[str, int]]:
    """Return what became of each camera's messages."""
    return {
        c.name: {
            'received': c.received,
            'settled': c.published + sum(c.dropped.values()) + c.waiting + c.in_flight,
            'lost': ingest.notes[c.name].lost or 0,
        }
        for c in pipeline.snapshot().cameras
    }


class MallInfo(ctypes.Structure):
    """``struct mallinfo2`` of the C library."""

    _fields_ = [
        *((f'other_{index}', ctypes.c_size_t) for index in range(4)),
        ('hblkhd', ctypes.c_size_t),
        *((f'other_{index}', ctypes.c_size_t) for index in range(4, 6)),
        ('uordblks', ctypes.c_size_t),
        *((f'other_{index}', ctypes.c_size_t) for index in range(6, 8)),
    ]


def memory() -> Memory:
    """Return what this process holds."""
    lines = Path('/proc/self/status').read_text().splitlines()
    status = dict(line.split(':', 1) for line in lines)
    own, shared = (int(status[name].split()[0]) / 1e3 for name in ('RssAnon', 'RssShmem'))
    mallinfo = ctypes.CDLL(None).mallinfo2
    mallinfo.restype = MallInfo
    info = mallinfo()
    return Memory(own, (info.uordblks + info.hblkhd) / 1e6, shared)


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
        qos = QoSProfile(depth=DEPTH, reliability=ReliabilityPolicy.RELIABLE)
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
    fill(pipe, cameras, messages)
    held: list[tuple[float, float]] = []
    start = time.monotonic()
    told = due = start
    while (now := time.monotonic()) < start + seconds:
        for camera in cameras:
            camera.misbehave(chance, now, len(messages))
            camera.shoot(messages, now)
        if now > told + max(1.0, seconds / 60):
            counts, has = ask(pipe)
            held.append((now - start, has.own))
            report(now - start, cameras, counts, has)
            told = now
        due = max(due + PERIOD_S, time.monotonic() - PERIOD_S)
        time.sleep(max(0.0, due - time.monotonic()))
    time.sleep(1.0)
    counts, has = ask(pipe)
    report(time.monotonic() - start, cameras, counts, has)
    return [*miscounts(cameras, counts), *growth(held, seconds)]


def fill(pipe: Connection, cameras: list[Camera], messages: list[bytes]) -> None:
    """Send the largest images to a receiver that holds them, until every buffer has been made."""
    pipe.send('hold')
    for _ in range(FILL):
        for camera in cameras:
            camera.shoot(messages, time.monotonic())
        time.sleep(PERIOD_S)
    pipe.send('release')


def ask(pipe: Connection) -> tuple[dict[str, dict[str, int]], Memory]:
    """Return the receiver's accounts and memory."""
    pipe.send('report')
    answer: tuple[dict[str, dict[str, int]], Memory] = pipe.recv()
    return answer


def report(after_s: float, cameras: list[Camera], counts: dict[str, Any], has: Memory) -> None:
    """Print one line of progress."""
    sent = sum(camera.sent for camera in cameras)
    restarts = sum(camera.restarts for camera in cameras)
    received, lost = (sum(a[key] for a in counts.values()) for key in ('received', 'lost'))
    print(
        f'{after_s:6.0f} s: sent {sent}, received {received}, overtaken in the middleware {lost}, '
        f'restarts {restarts}, memory {has.own:.1f} MB (allocated {has.used:.1f}), '
        f'shared {has.shared:.0f} MB',
        flush=True,
    )


def miscounts(cameras: list[Camera], counts: dict[str, dict[str, int]]) -> list[str]:
    """Return every camera whose counts do not add up."""
    wrong = []
    for camera in cameras:
        account = counts[camera.name]
        if account['received'] != account['settled']:
            wrong.append(f'{camera.name}: the pipeline does not add up: {account}')
        if account['received'] + account['lost'] != camera.sent:
            wrong.append(f'{camera.name}: sent {camera.sent}, accounted for {account}')
    return wrong


def growth(held: list[tuple[float, float]], seconds: float) -> list[str]:
    """Return whether memory still grew after the warm-up.

    Args:
        held: times in seconds after the start, and the memory held then, MB.
        seconds: how long it went on.
    """
    flat = np.array([point for point in held if point[0] > WARM_UP * seconds])
    if len(flat) < 10:
        return [f'{seconds:g} s are too few to judge memory by']
    slope, _ = np.polyfit(*flat.T, 1)
    grown = slope * (flat[-1, 0] - flat[0, 0])
    print(f'growth {grown:+.1f} MB, {slope * 3600:+.1f} MB/h; at most {flat[:, 1].max():.1f} MB')
    return [f'memory grew by {grown:.1f} MB, at most {GROWTH_MB:g}'] if grown > GROWTH_MB else []


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
        here.send('stop')
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
