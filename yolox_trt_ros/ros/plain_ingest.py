"""Images through rclpy: works with every middleware, and on every Python."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING

from rclpy.node import Node
from rclpy.subscription import Subscription

from yolox_trt_ros.core.config import CameraConfig
from yolox_trt_ros.ros.codecs import READERS
from yolox_trt_ros.ros.intake import FrameSink, Intake
from yolox_trt_ros.ros.subscribe import subscribe

if TYPE_CHECKING:
    from rclpy.subscription import MessageInfo


class PlainIngest:
    """Raw subscriptions of all cameras; callbacks parse and hand over, and do nothing else.

    Args:
        node: its executor's thread becomes the ingest thread.
        cameras: what to subscribe to.
        pipeline: takes the frames and counts what never became one.
        warn: logs a problem.
        way: what the notes say.
    """

    def __init__(
        self,
        node: Node,
        cameras: tuple[CameraConfig, ...],
        pipeline: FrameSink,
        warn: Callable[[str], None],
        way: str = 'plain',
    ) -> None:
        self.way = way
        intakes = [Intake(camera, pipeline, warn, way) for camera in cameras]
        self.notes = {intake.name: intake.notes for intake in intakes}
        with ExitStack() as undo:
            for camera, intake in zip(cameras, intakes, strict=True):
                subscription = subscribe(node, camera, _callback(camera, intake))
                undo.callback(node.destroy_subscription, subscription)
            self._undo = undo.pop_all()

    def close(self) -> None:
        """Unsubscribe."""
        self._undo.close()


def _callback(camera: CameraConfig, intake: Intake) -> Callable[..., None]:
    read = READERS[camera.transport]

    def received(message: bytes) -> None:
        intake.receive(message, read, time.monotonic_ns())

    def received_with_times(message: bytes, info: MessageInfo) -> None:
        intake.receive(message, read, time.monotonic_ns(), info['source_timestamp'])

    # rclpy looks at how many arguments a callback takes; that of Humble always gives one.
    return received_with_times if hasattr(Subscription, 'CallbackType') else received
