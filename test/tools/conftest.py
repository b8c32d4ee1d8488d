"""A detector that publishes a known drive, for tools that listen."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import pytest

PATIENCE_S = 180.0


class LiveDetector:
    """Publishes the drive of ``drive.py`` over and over in real time, and remembers the bytes."""

    def __init__(self) -> None:
        import rclpy
        from rclpy.qos import DurabilityPolicy, QoSProfile

        from yolox_trt_ros.ros.dds.settings import environment

        domain = {'ROS_DOMAIN_ID': str(1 + os.getpid() % 100)}
        self.env = {**os.environ, **environment(), **domain}
        self.sent: dict[str, set[bytes]] = defaultdict(set)
        self._context = rclpy.Context()
        with mock.patch.dict(os.environ, self.env):
            self._context.init(domain_id=int(domain['ROS_DOMAIN_ID']))
            self._node = rclpy.create_node('detector', context=self._context)
        self._latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._publishers: dict[str, Any] = {}

    def publish_until(self, done: Callable[[], bool]) -> None:
        from drive import PERIOD, drive
        from rclpy.serialization import serialize_message

        from yolox_trt_ros.core.messages import stamp_ns_of
        from yolox_trt_ros.ros.output.messages import time_message

        messages, start, shift = drive(), time.time_ns(), 0
        first, span = messages[0][0], messages[-1][0] - messages[0][0] + PERIOD
        end = time.monotonic() + PATIENCE_S
        while not done():
            assert time.monotonic() < end, 'the tools do not end'
            for t_ns, topic, message in messages:
                due = start + shift + t_ns - first
                while time.time_ns() < due and not done():
                    time.sleep(0.005)
                if topic.endswith('label_info'):
                    data = serialize_message(message)
                    if topic not in self._publishers:
                        self._publisher(topic, message).publish(data)
                    continue
                old = message.header.stamp
                moved = stamp_ns_of(message) - first + start + shift
                message.header.stamp = time_message(moved)
                data = bytes(serialize_message(message))
                message.header.stamp = old
                self.sent[topic].add(data)
                self._publisher(topic, message).publish(data)
            shift += span

    def close(self) -> None:
        self._node.destroy_node()
        self._context.try_shutdown()

    def _publisher(self, topic: str, message: Any) -> Any:
        if topic not in self._publishers:
            qos = self._latched if topic.endswith('label_info') else 50
            self._publishers[topic] = self._node.create_publisher(type(message), topic, qos)
        return self._publishers[topic]


@pytest.fixture
def live_detector() -> Iterator[LiveDetector]:
    detector = LiveDetector()
    yield detector
    detector.close()
