"""The cameras of the soak: processes of their own, which stop, change, restart, and are killed."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import random
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rclpy
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CompressedImage, Image

CAMERAS = tuple(f'cam{i}' for i in range(8))
COMPRESSED = CAMERAS[6:]
DRIVERS = (CAMERAS[:2], CAMERAS[2:4], CAMERAS[4:6], CAMERAS[6:])
"""Cameras of each process; the first one is never killed."""
DEPTH = 5
PERIOD_S = 0.1
PATIENCE_S = 20.0
"""Time that a receiver on a busy machine may stand still."""
SPAWN = multiprocessing.get_context('spawn')


class Tally(ctypes.Structure):
    """What a camera has sent and the receiver has accounted for, in memory that outlives both."""

    _fields_ = [
        ('came', ctypes.c_uint64),
        ('begun', ctypes.c_uint64),
        ('sent', ctypes.c_uint64),
        ('replaced', ctypes.c_uint64),
        ('born', ctypes.c_uint64),
    ]


class Shared:
    """What the cameras' processes and the one that watches them have in common.

    Attributes:
        tallies: of each camera, by number.
        phase: 0: the largest images only, 1: as drivers do, 2: end.
    """

    def __init__(self) -> None:
        self.tallies = SPAWN.RawArray(Tally, len(CAMERAS))
        self.phase = SPAWN.RawValue('i', 0)


def topic(name: str) -> str:
    """Return where a camera publishes."""
    return f'/{name}/image_raw' + ('/compressed' if name in COMPRESSED else '')


@dataclass
class Camera:
    """A camera's publisher, which is sometimes replaced.

    Attributes:
        behind: images that earlier publishers sent and the receiver had not accounted for.
    """

    node: Node
    name: str
    tally: Any
    messages: list[bytes]
    publisher: Publisher[Any] | None = None
    look: int = 0
    silent_until: float = field(default=0.0)
    behind: int = 0

    def connect(self) -> None:
        """Publish from now on, heard by the receiver."""
        kind = CompressedImage if self.name in COMPRESSED else Image
        qos = QoSProfile(depth=DEPTH, reliability=ReliabilityPolicy.RELIABLE)
        self.publisher = self.node.create_publisher(kind, topic(self.name), qos)
        end = time.monotonic() + 20
        while not self.publisher.get_subscription_count():
            if time.monotonic() > end:
                raise TimeoutError(f'{self.name} found no receiver within 20 s')
            time.sleep(0.01)
        self.behind = self.tally.sent - self.tally.came
        self.tally.born += 1

    def shoot(self, now: float) -> None:
        """Publish an image unless the camera is silent."""
        if now >= self.silent_until:
            assert self.publisher is not None
            self.tally.begun += 1
            self.publisher.publish(self.messages[self.look])
            self.tally.sent += 1

    def misbehave(self, chance: random.Random, now: float) -> None:
        """Now and then restart, fall silent, or change the picture."""
        what = chance.random()
        if what < 0.004:
            self.disconnect()
            self.connect()
            self.tally.replaced += 1
        elif what < 0.01:
            self.silent_until = now + chance.uniform(0.2, 3.0)
        elif what < 0.02:
            self.look = chance.randrange(len(self.messages))

    def disconnect(self) -> None:
        """Publish no more once everything has come.

        A publisher takes what it has not delivered with it. What it has delivered, a successor's
        images replace in the middleware of a receiver that has stood still meanwhile; that nobody
        can count, for the two number their messages apart.
        """
        assert self.publisher is not None
        self.publisher.wait_for_all_acked(Duration(seconds=PATIENCE_S))
        end = time.monotonic() + PATIENCE_S
        while self.tally.sent - self.tally.came > self.behind and time.monotonic() < end:
            time.sleep(0.01)
        self.node.destroy_publisher(self.publisher)


def run_cameras(names: Sequence[str], size: tuple[int, int], shared: Shared, seed: int) -> None:
    """Be a driver's process until the phase says that it is over, or until killed."""
    rclpy.init()
    node = Node(f'soak_{names[0]}')
    looks = {True: packed_pictures(*size), False: pictures(*size)}
    cameras = [
        Camera(node, name, shared.tallies[CAMERAS.index(name)], looks[name in COMPRESSED])
        for name in names
    ]
    for camera in cameras:
        camera.connect()
    chance = random.Random(seed)
    due = time.monotonic()
    parent = os.getppid()
    while shared.phase.value < 2 and os.getppid() == parent:
        now = time.monotonic()
        for camera in cameras:
            if shared.phase.value == 1:
                camera.misbehave(chance, now)
            camera.shoot(now)
        due = max(due + PERIOD_S, time.monotonic() - PERIOD_S)
        time.sleep(max(0.0, due - time.monotonic()))
    for camera in cameras:
        camera.disconnect()
    rclpy.shutdown()


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


def packed_pictures(width: int, height: int) -> list[bytes]:
    """Return compressed ones: of noise, the largest first."""
    made = []
    for scale, kind in ((1.0, 'png'), (1.0, 'jpeg'), (0.5, 'jpeg')):
        shape = (round(height * scale), round(width * scale), 3)
        noise = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        ok, packed = cv2.imencode(f'.{kind}', noise)
        assert ok
        image = CompressedImage(format=kind, data=packed.tobytes())
        image.header.frame_id = kind
        made.append(bytes(serialize_message(image)))
    return made


class Driver:
    """A process of cameras, and how often it was killed."""

    def __init__(self, names: Sequence[str], size: tuple[int, int], shared: Shared) -> None:
        self.names = names
        self.kills = 0
        self._made_of = (names, size, shared)
        self._process = self._start(0)

    def _start(self, seed: int) -> SpawnProcess:
        process = SPAWN.Process(target=run_cameras, args=(*self._made_of, seed), daemon=True)
        process.start()
        return process

    def check(self) -> None:
        """Raise if it ended by itself."""
        if not self._process.is_alive():
            raise RuntimeError(f'the process of {", ".join(self.names)} has ended by itself')

    def kill(self, seed: int) -> None:
        """Kill the process in the midst of what it does, and start another."""
        locks = []
        for link in Path(f'/proc/{self._process.pid}/fd').iterdir():
            with suppress(OSError):  # closed meanwhile
                locks.append(os.readlink(link))
        self._process.kill()
        self._process.join()
        self.kills += 1
        # Fast DDS leaves the shared memory of killed processes where it is.
        for lock in locks:
            if re.fullmatch(r'/dev/shm/fast(dds|rtps)_[0-9a-f]{16}_el', lock):
                Path(lock).unlink(missing_ok=True)
                Path(lock.removesuffix('_el')).unlink(missing_ok=True)
        self._process = self._start(seed)

    def join(self) -> None:
        """Wait for the end."""
        self._process.join(4 * PATIENCE_S)
