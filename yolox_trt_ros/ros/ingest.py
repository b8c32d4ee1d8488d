"""Image topics into the pipeline."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CompressedImage, Image

from yolox_trt_ros.core.config import CameraConfig
from yolox_trt_ros.core.errors import FrameError
from yolox_trt_ros.ros.codecs import READERS, Arrival
from yolox_trt_ros.schedule.pipeline import Pipeline

MESSAGE_TYPES = {'raw': Image, 'compressed': CompressedImage}


@dataclass(slots=True)
class IngestNotes:
    """What a camera's messages were like, beyond what the pipeline counts.

    Attributes:
        last_stamp_ns: header stamp of the newest frame, or None.
        stamp_jumps: stamps earlier than the one before.
        last_problem: why the last unusable message was unusable; empty if there was none.
    """

    last_stamp_ns: int | None = None
    stamp_jumps: int = 0
    last_problem: str = ''


class Ingest:
    """Raw subscriptions of all cameras; callbacks parse and hand over, and do nothing else.

    Args:
        node: its executor's thread becomes the ingest thread.
        cameras: what to subscribe to.
        pipeline: takes the frames and counts what never became one.
        warn: logs a problem; called once per camera and kind of problem in a row.
    """

    def __init__(
        self,
        node: Node,
        cameras: tuple[CameraConfig, ...],
        pipeline: Pipeline,
        warn: Callable[[str], None],
    ) -> None:
        self._node = node
        self._pipeline = pipeline
        self._warn = warn
        self.notes = {camera.name: IngestNotes() for camera in cameras}
        self._subscriptions = [self._subscribe(camera) for camera in cameras]

    def close(self) -> None:
        """Unsubscribe."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []

    def _subscribe(self, camera: CameraConfig) -> object:
        qos = QoSProfile(
            depth=camera.depth,
            reliability=ReliabilityPolicy[camera.reliability.upper()],
        )
        return self._node.create_subscription(
            MESSAGE_TYPES[camera.transport],
            camera.image_topic,
            self._callback(camera),
            qos,
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
            raw=True,
        )

    def _callback(self, camera: CameraConfig) -> Callable[[bytes], None]:
        read = READERS[camera.transport]
        name = camera.name
        notes = self.notes[name]
        pipeline = self._pipeline

        def received(message: bytes) -> None:
            arrival = Arrival(name, pipeline.next_sequence(name), time.monotonic_ns())
            try:
                frame = read(message, arrival)
            except FrameError as error:
                pipeline.reject(name, error.reason)
                if str(error) != notes.last_problem:
                    self._warn(f'{name}: {error.reason.value}: {error}')
                notes.last_problem = str(error)
                return
            if notes.last_stamp_ns is not None and frame.stamp_ns < notes.last_stamp_ns:
                notes.stamp_jumps += 1
            notes.last_stamp_ns = frame.stamp_ns
            pipeline.offer(frame)

        return received
