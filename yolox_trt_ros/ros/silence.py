"""Why no images come: what the ROS graph says about a camera's topic."""

from __future__ import annotations

from rclpy.node import Node
from rclpy.qos import ReliabilityPolicy

from yolox_trt_ros.core.config import CameraConfig

TYPES = {'raw': 'sensor_msgs/msg/Image', 'compressed': 'sensor_msgs/msg/CompressedImage'}


def why_silent(node: Node, camera: CameraConfig) -> str:
    """Return why nothing can arrive from a camera, or '' if the graph knows no reason.

    Args:
        node: the subscriber; its remappings hold.
        camera: topic, transport and reliability that were asked for.
    """
    topic, wanted = camera.image_topic, TYPES[camera.transport]
    publishers = node.get_publishers_info_by_topic(topic)
    if not publishers:
        return f'nobody publishes {topic}'
    types = {publisher.topic_type for publisher in publishers}
    if wanted not in types:
        return (
            f'{topic} is published as {", ".join(sorted(types))}, expected {wanted}: see '
            f'cameras.{camera.name}.topic and transport'
        )
    weak = ReliabilityPolicy.BEST_EFFORT
    if camera.reliability == 'reliable' and all(
        publisher.qos_profile.reliability == weak for publisher in publishers
    ):
        return (
            f'{topic} is published best effort, and cameras.{camera.name}.reliability asks for '
            'reliable'
        )
    return ''
