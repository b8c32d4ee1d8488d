"""Cameras, one input mode, and a real pipeline behind it, all in this process."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.utilities import get_rmw_implementation_identifier
from sensor_msgs.msg import CompressedImage, Image

from yolox_trt_ros.core.config import Config
from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.detector import Detected
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.host_memory import PinnedMemory
from yolox_trt_ros.core.snapshot import CameraSnapshot
from yolox_trt_ros.ros.input.intake import Ingest
from yolox_trt_ros.ros.input.native_ingest import DIRECT_MIDDLEWARES, NativeIngest
from yolox_trt_ros.ros.input.plain_ingest import PlainIngest
from yolox_trt_ros.schedule.pipeline import LaneSpec, Pipeline

DOMAIN = 1 + (os.getpid() + 50) % 100
PATIENCE_S = 20.0
BUFFERS = 6


class Keeper:
    """A detector that finds nothing and keeps what it is shown; it may be asked to wait."""

    max_batch, about = 1, 'a keeper'

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.go = threading.Event()
        self.go.set()

    def submit(self, frames: Sequence[Frame]) -> Keeper:
        self.frames += frames
        return self

    def wait(self) -> list[Detected]:
        self.go.wait(PATIENCE_S)
        now = time.monotonic_ns()
        return [Detected(Detections.empty(), now, now, now, now)]

    def close(self) -> None:
        self.go.set()


class Rig:
    """Cameras ``a`` (raw) and ``b`` (compressed), reliable, queues of five messages."""

    def __init__(self, mode: str, context: Context) -> None:
        self.context = context
        self.warnings: list[str] = []
        self.keeper = Keeper()
        self.config = Config.from_parameters(
            {
                'camera_names': ['a', 'b'],
                'lane_names': ['lane'],
                'cameras.b.transport': 'compressed',
                'cameras.a.reliability': 'reliable',
                'cameras.b.reliability': 'reliable',
            }
        )
        self.node = Node('edge', context=context)
        self.driver = Node('driver', context=context)
        self.pipeline = Pipeline(
            self.config.cameras,
            [LaneSpec(self.config.lanes[0], lambda: self.keeper)],
            lambda *_: None,
        )
        self.pipeline.start()
        self.keeper.frames.clear()  # those of the warm-up
        self.executor = SingleThreadedExecutor(context=context)
        self.executor.add_node(self.node)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._spin)
        self._thread.start()
        self.mode = mode
        self.ingest = self.open()
        self.front = self.camera(Image, '/a/image_raw')
        self.packed = self.camera(CompressedImage, '/b/image_raw/compressed')

    def open(self, pinned_memory: PinnedMemory | None = None) -> Ingest:
        """Take images in the rig's mode."""
        node, cameras, warn = self.node, self.config.cameras, self.warnings.append
        if self.mode == 'plain':
            return PlainIngest(node, cameras, self.pipeline, warn)
        direct = self.mode == 'direct'
        return NativeIngest(
            node, cameras, self.pipeline, warn, BUFFERS, direct=direct, pinned_memory=pinned_memory
        )

    def camera(self, kind: type, topic: str) -> Publisher[Any]:
        """Return a camera's publisher, known to the subscription."""
        qos = QoSProfile(depth=50, reliability=ReliabilityPolicy.RELIABLE)
        publisher = self.driver.create_publisher(kind, topic, qos)
        self.until(publisher.get_subscription_count)
        return publisher

    def account(self, camera: str = 'a') -> CameraSnapshot:
        """Return a camera's counts."""
        (found,) = (c for c in self.pipeline.snapshot().cameras if c.name == camera)
        return found

    def until(self, condition: Callable[[], Any]) -> Any:
        """Return the condition's value once it is true."""
        end = time.monotonic() + PATIENCE_S
        while not (value := condition()):
            assert time.monotonic() < end, f'not in {PATIENCE_S} s; {self.account()}'
            time.sleep(0.005)
        return value

    def close(self) -> None:
        """End everything."""
        self.keeper.go.set()
        self.ingest.close()
        self.pipeline.stop()
        self._stop.set()
        self._thread.join()
        self.executor.shutdown()
        self.node.destroy_node()
        self.driver.destroy_node()

    def _spin(self) -> None:
        while not self._stop.is_set():
            self.executor.spin_once(timeout_sec=0.05)


@contextmanager
def open_rig(mode: str) -> Iterator[Rig]:
    """Open a rig in a context of its own."""
    middleware = get_rmw_implementation_identifier()
    if mode == 'direct' and middleware not in DIRECT_MIDDLEWARES:
        pytest.skip(f'the node does not reach into the memory of {middleware}')
    context = Context()
    rclpy.init(context=context, domain_id=DOMAIN)
    rig = Rig(mode, context)
    try:
        yield rig
    finally:
        rig.close()
        rclpy.shutdown(context=context)


def image(number: int, height: int = 24, width: int = 32, encoding: str = 'bgr8') -> Image:
    """Return a picture that no other number gives."""
    channels = 3 if encoding == 'bgr8' else 1
    pixels = np.random.default_rng(number).integers(0, 256, (height, width * channels), np.uint8)
    message = Image(height=height, width=width, step=width * channels, encoding=encoding)
    message.data = pixels.tobytes()
    message.header.stamp.sec = number
    message.header.frame_id = 'optical' * (number % 4)
    return message
