"""A node's subscriptions to what a detector publishes, and to ground truth."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from rclpy.subscription import Subscription

from yolox_trt_ros.core.config import CameraConfig
from yolox_trt_ros.core.errors import ConfigError, MissingDependencyError
from yolox_trt_ros.core.messages import names_of
from yolox_trt_ros.core.printing import one_line
from yolox_trt_ros.core.topics import BESIDE_IMAGES, RESULTS, absolute
from yolox_trt_ros.ros.message_types import message_class

MOST_BYTES = 5 << 20
"""Of a message: 10,000 detections. Ten times as many keep Python busy for ten seconds."""
DEPTH = 50
_LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
_TRUTH = QoSProfile(depth=DEPTH, reliability=ReliabilityPolicy.BEST_EFFORT)


class ResultSubscriptions:
    """Subscriptions to one detector. Messages that are too large or damaged are left out.

    Args:
        node: the subscriptions' node.
        detector: the detector's name, as topics of this node write it.
        unusable: called with the camera (or what it is, if it is of no camera) and why a message is
            left out.
    """

    def __init__(self, node: Node, detector: str, unusable: Callable[[str, str], None]) -> None:
        self._node, self._detector, self._unusable = node, detector, unusable
        self._subscriptions: list[Subscription] = []

    def add(
        self,
        name: str,
        callback: Callable[[Any], None],
        camera: str | CameraConfig = '',
        *,
        depth: int = DEPTH,
        raw: bool = False,
    ) -> None:
        """Subscribe to a topic of the detector.

        Args:
            name: in :data:`topics.RESULTS`.
            callback: gets each message that can be used.
            camera: whose, of what there is one of per camera; its configuration if that may give
                the topic another name.
            depth: of the queue, of what is not latched.
            raw: whether the callback gets serialised messages, whatever they are.

        Raises:
            MissingDependencyError: the message's package is not installed.
        """
        result = RESULTS[name]
        qos = _LATCHED if result.latched else depth
        if isinstance(camera, CameraConfig):
            topic = absolute(result.named(camera), self._detector)
            camera = camera.name
        else:
            topic = result.of(self._detector, camera)
        self._subscribe(result.type, topic, callback, qos, camera or name, raw)

    def add_truth(
        self, callback: Callable[[Any], None], camera: CameraConfig, pattern: str = ''
    ) -> None:
        """Subscribe to the ground truth of a camera.

        Args:
            callback: gets each message that can be used.
            camera: whose.
            pattern: topic with ``{camera}`` for its name; empty: beside the camera's images.
        """
        beside = absolute(camera.sibling_topic('ground_truth'), self._detector)
        topic = pattern.replace('{camera}', camera.name) or beside
        kind = BESIDE_IMAGES['ground_truth']
        self._subscribe(kind, topic, callback, _TRUTH, camera.name, raw=False)

    def add_names(self, callback: Callable[[dict[int, str]], None]) -> None:
        """Subscribe to the names of classes, by number; vision_msgs before 4.1 has none."""

        def take(message: Any) -> None:
            try:
                names = names_of(message)
            except ConfigError as error:
                self._unusable('label_info', str(error))
            else:
                callback(names)

        with suppress(MissingDependencyError):
            self.add('label_info', take)

    def close(self) -> None:
        """Unsubscribe from everything."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []

    def _subscribe(
        self,
        type_name: str,
        topic: str,
        callback: Callable[[Any], None],
        qos: QoSProfile | int,
        key: str,
        raw: bool,
    ) -> None:
        kind = message_class(type_name)

        def take(cdr: bytes) -> None:
            if len(cdr) > MOST_BYTES:
                text = f'{kind.__name__} of {len(cdr)} bytes: expected at most {MOST_BYTES}'
                self._unusable(key, text)
                return
            try:
                message = deserialize_message(cdr, kind)
            except Exception as error:  # of the middleware, or of text that is none
                self._unusable(key, f'{kind.__name__} cannot be read: {one_line(str(error))}')
                return
            callback(message)

        taken = callback if raw else take
        self._subscriptions.append(
            self._node.create_subscription(kind, topic, taken, qos, raw=True)
        )
