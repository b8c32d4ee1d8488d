"""The times of each result on the topics of Autoware's detector, while somebody listens."""

from __future__ import annotations

from rclpy.node import Node

from yolox_trt_ros.core.config import CameraConfig
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.topics import RESULTS
from yolox_trt_ros.core.trace import FrameTrace
from yolox_trt_ros.ros.message_types import message_class
from yolox_trt_ros.ros.output.message_kinds import time_message

DEPTH = 1
"""As Autoware's."""


class DebugTimes:
    """Publishes the three times of one camera's results, in ms.

    ``cyclic_time_ms`` is the time since the camera's result before, ``processing_time_ms`` that
    from a lane's taking the image to the result's publication, and ``pipeline_latency_ms`` the
    age of the image against its stamp.

    Args:
        node: owner of the publishers.
        camera: whose results.

    Raises:
        MissingDependencyError: the package of the messages is not installed.
    """

    def __init__(self, node: Node, camera: CameraConfig) -> None:
        self._node = node
        self._before_ns: int | None = None
        self._publishers = {}
        for name, result in RESULTS.items():
            if result.output == 'debug_times':
                self._kind = message_class(result.type)
                self._publishers[name] = node.create_publisher(
                    self._kind, result.named(camera), DEPTH
                )

    def publish(self, frame: Frame, trace: FrameTrace, now_ns: int) -> None:
        """Publish the times of a result.

        Args:
            frame: the image.
            trace: its finished trace.
            now_ns: the node's clock at publication.
        """
        times_ns = {
            'processing_time_ms': trace.published_ns - trace.taken_ns,
            'pipeline_latency_ms': now_ns - frame.stamp_ns,
        }
        if self._before_ns is not None:
            times_ns['cyclic_time_ms'] = trace.published_ns - self._before_ns
        self._before_ns = trace.published_ns
        for name, time_ns in times_ns.items():
            publisher = self._publishers[name]
            if publisher.get_subscription_count():
                publisher.publish(self._kind(stamp=time_message(now_ns), data=time_ns / 1e6))

    def close(self) -> None:
        """Destroy the publishers."""
        for publisher in self._publishers.values():
            self._node.destroy_publisher(publisher)
