"""Plain input mode: images through rclpy, with every middleware and on every Python."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.node import Node
from rclpy.subscription import Subscription

from yolox_trt_ros.core.config import CameraConfig
from yolox_trt_ros.ros.input.intake import FrameSink, Intake, PacedSink, image_taker
from yolox_trt_ros.ros.input.readers import new_reader
from yolox_trt_ros.ros.input.subscribe import subscribe
from yolox_trt_ros.ros.input.video_intake import video_taker
from yolox_trt_ros.ros.input.video_messages import VideoReader

if TYPE_CHECKING:
    from rclpy.subscription import MessageInfo


class PlainIngest:
    """Raw subscriptions of all cameras; callbacks parse and hand over, and do nothing else.

    Video is decoded in a thread of each camera; in lockstep by the callbacks.

    Args:
        node: its executor's thread becomes the ingest thread.
        cameras: what to subscribe to.
        pipeline: takes the frames and counts what never became one.
        warn: logs a problem.
        mode: what the notes say.
        room: the pipeline again, in lockstep: while it has no room for a camera's image, none is
            taken from the middleware, and the executor goes on with everything else.
    """

    def __init__(
        self,
        node: Node,
        cameras: tuple[CameraConfig, ...],
        pipeline: FrameSink,
        warn: Callable[[str], None],
        mode: str = 'plain',
        *,
        room: PacedSink | None = None,
    ) -> None:
        self.mode = mode
        intakes = [Intake(camera, pipeline, warn, mode) for camera in cameras]
        self.notes = {intake.name: intake.notes for intake in intakes}
        with ExitStack() as undo:
            if room:
                room.when_room(partial(_wake, node))
                undo.callback(room.when_room, None)
            for camera, intake in zip(cameras, intakes, strict=True):
                group = _WhenRoom(room, camera.name) if room else None
                read = new_reader(camera.transport)
                take = image_taker(intake, read)
                if isinstance(read, VideoReader):
                    take, end = video_taker(intake, read, threaded=room is None)
                    undo.callback(end)
                subscription = subscribe(node, camera, _callback(take), group=group)
                undo.callback(node.destroy_subscription, subscription)
            self._undo = undo.pop_all()

    def close(self) -> None:
        """Unsubscribe."""
        self._undo.close()


class _WhenRoom(MutuallyExclusiveCallbackGroup):
    """Lets executors take a camera's images only while the pipeline has room for one."""

    def __init__(self, pipeline: PacedSink, camera: str) -> None:
        super().__init__()
        self._pipeline, self._camera = pipeline, camera

    def can_execute(self, entity: Any) -> bool:
        has_room = self._pipeline.wait_for_room(self._camera, 0.0)
        return has_room and bool(super().can_execute(entity))


def _wake(node: Node) -> None:
    """Have a node's executor look again at what it may take."""
    executor = node.executor
    if executor is not None:
        executor.wake()


def _callback(take: Callable[[bytes, int, int], None]) -> Callable[..., None]:
    def received(message: bytes) -> None:
        take(message, time.monotonic_ns(), 0)

    def received_with_times(message: bytes, info: MessageInfo) -> None:
        take(message, time.monotonic_ns(), info['source_timestamp'])

    # rclpy looks at how many arguments a callback takes; that of Humble always gives one.
    return received_with_times if hasattr(Subscription, 'CallbackType') else received
