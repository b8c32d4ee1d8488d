"""Damaged image messages through the running middleware into each input mode of the node.

A case publishes damaged messages, then a sound one, which has to become a frame: whatever the
middleware or the reader makes of damage costs those messages alone. In native mode each message is
received, or known as lost. ``RMW_IMPLEMENTATION`` chooses the middleware.
"""

from __future__ import annotations

import os
import random
import sys
import threading
import time
from functools import partial
from typing import Any

import rclpy
from fuzz_pictures import make_raw
from harness import Target
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CompressedImage, Image

from yolox_trt_ros.core.config import Config
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.ros.input.native_ingest import NativeIngest
from yolox_trt_ros.ros.input.plain_ingest import PlainIngest

MESSAGES = 20
"""Damaged ones of a case."""
TRIES, WAIT_S = 20, 0.5
"""How often a sound image is sent again, and how long it is waited for each time."""
JPEG = b'\xff\xd8\xff\xc0\0\x11\x08\0\x02\0\x03' + bytes(9)


class Sink:
    """Counts messages of each camera, in place of a pipeline."""

    def __init__(self) -> None:
        self.settled = {'raw': 0, 'compressed': 0}
        self.newest = dict.fromkeys(self.settled, -1)
        self._changed = threading.Condition()

    def next_sequence(self, camera: str) -> int:
        return self.settled[camera]

    def offer(self, frame: Frame) -> None:
        with self._changed:
            self.settled[frame.camera] += 1
            self.newest[frame.camera] = frame.stamp_ns // 10**9
            self._changed.notify_all()

    def reject(self, camera: str, reason: object, n: int = 1) -> None:
        self.settled[camera] += n

    def wait_for(self, camera: str, mark: int) -> bool:
        """Return whether the image with that stamp came in time."""
        with self._changed:
            return self._changed.wait_for(lambda: self.newest[camera] == mark, WAIT_S)


class Wire:
    """A driver and an input in one process, a camera of each transport."""

    def __init__(self, native: bool) -> None:
        os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
        context = Context()
        rclpy.init(context=context, domain_id=1 + os.getpid() % 100)
        names = ('raw', 'compressed')
        config = Config.from_parameters(
            {
                'camera_names': list(names),
                'lane_names': ['lane'],
                'cameras.compressed.transport': 'compressed',
                **{f'cameras.{name}.reliability': 'reliable' for name in names},
                **{f'cameras.{name}.depth': 2 * MESSAGES for name in names},
            }
        )
        self.sink, self.native = Sink(), native
        self.sent = dict.fromkeys(names, 0)
        self._node = Node('fuzzed', context=context)
        self._driver = Node('driver', context=context)
        options: tuple[Any, ...] = (self._node, config.cameras, self.sink, lambda _: None)
        self._ingest = NativeIngest(*options, 8) if native else PlainIngest(*options)
        qos = QoSProfile(depth=2 * MESSAGES, reliability=ReliabilityPolicy.RELIABLE)
        self._publishers = {
            c.name: self._driver.create_publisher(kind, c.image_topic, qos)
            for c, kind in zip(config.cameras, (Image, CompressedImage), strict=True)
        }
        executor = SingleThreadedExecutor(context=context)
        executor.add_node(self._node)
        threading.Thread(target=executor.spin, daemon=True).start()
        for publisher in self._publishers.values():
            while not publisher.get_subscription_count():
                time.sleep(0.01)

    def publish(self, camera: str, message: bytes) -> None:
        """Publish a serialised message."""
        self._publishers[camera].publish(message)
        self.sent[camera] += 1

    def check(self, camera: str, mark: int) -> None:
        """Publish a sound image and see it come, with every message before it accounted for.

        Raises:
            RuntimeError: it does not come, or messages are missing.
        """
        for _ in range(TRIES):
            self.publish(camera, sound(camera, mark))
            if self.sink.wait_for(camera, mark):
                break
        else:
            raise RuntimeError(f'{camera}: no sound image came through after damaged ones')
        lost = self._ingest.notes[camera].lost
        if self.native and self.sink.settled[camera] + (lost or 0) != self.sent[camera]:
            raise RuntimeError(
                f'{camera}: sent {self.sent[camera]}, received {self.sink.settled[camera]}, '
                f'lost {lost}'
            )


wire: Wire
"""Of this process; made by the target's setup."""


def sound(camera: str, mark: int) -> bytes:
    """Return a serialised image that carries a number."""
    if camera == 'raw':
        message: Any = Image(height=2, width=2, step=6, encoding='bgr8', data=bytes(12))
    else:
        message = CompressedImage(format='jpeg', data=JPEG)
    message.header.stamp.sec = mark
    return bytes(serialize_message(message))


def make_messages(source: random.Random) -> tuple[list[tuple[str, bytes]], int]:
    """Return damaged messages, each with its camera, and a number for the sound ones."""
    made = [make_raw(source) for _ in range(MESSAGES)]
    # Shorter ones than their header no middleware sends.
    return [(camera, raw.ljust(4, b'\0')) for camera, raw in made], source.randrange(1, 2**31)


def feed(made: tuple[list[tuple[str, bytes]], int]) -> None:
    """Publish a case and see what comes of it."""
    messages, mark = made
    for camera, message in messages:
        wire.publish(camera, message)
    for camera in wire.sent:
        wire.check(camera, mark)


def open_wire(native: bool) -> None:
    """Make this process's nodes; what the middleware says of damage stays out of the table."""
    global wire
    sys.stderr = os.fdopen(os.dup(2), 'w')
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    wire = Wire(native)


TARGETS = [
    Target(
        f'wire_{"native" if native else "plain"}', make_messages, feed, (), 60.0, 4096,
        partial(open_wire, native), 1 / MESSAGES,
    )
    for native in (True, False)
]  # fmt: skip
