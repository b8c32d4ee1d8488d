"""Subscribe to image topics, and to results that anybody may publish."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription

from yolox_trt_ros.core.config import CameraConfig
from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.transports import TRANSPORTS
from yolox_trt_ros.ros import message_types


def message_type(transport: str) -> type:
    """Return the class of a transport's messages."""
    found: type = message_types.message_class(TRANSPORTS[transport].type_name)
    return found


def subscribe(
    node: Node,
    camera: CameraConfig,
    callback: Callable[[Any], None],
    *,
    message_class: type | None = None,
    group: CallbackGroup | None = None,
) -> Subscription:
    """Subscribe to a camera's serialised images with the QoS of its configuration.

    Args:
        node: the subscription's node.
        camera: topic, transport and QoS.
        callback: gets each message's bytes.
        message_class: another class for the same ROS type than the transport's own.
        group: decides which executor takes the messages.

    Raises:
        ConfigError: the middleware or an override of the QoS forbids it.
    """
    qos = QoSProfile(
        depth=camera.depth,
        reliability=ReliabilityPolicy[camera.reliability.upper()],
    )
    topic = camera.image_topic
    try:
        return node.create_subscription(
            message_class or message_type(camera.transport),
            topic,
            callback,
            qos,
            callback_group=group,
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
            raw=True,
        )
    except RuntimeError as error:
        raise ConfigError(
            f'{camera.name}: {topic} cannot be subscribed: {str(error).strip()}; check the '
            f'parameters qos_overrides.{topic}.subscription'
        ) from error
