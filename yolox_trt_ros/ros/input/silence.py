"""Why no images come: what the ROS graph says about a camera's topic."""

from __future__ import annotations

from rclpy.node import Node
from rclpy.qos import ReliabilityPolicy

from yolox_trt_ros.core.config import CameraConfig
from yolox_trt_ros.core.errors import did_you_mean
from yolox_trt_ros.core.printing import one_line

TYPES = {'raw': 'sensor_msgs/msg/Image', 'compressed': 'sensor_msgs/msg/CompressedImage'}


def resolved(node: Node, topic: str) -> str:
    """Return a topic's full name: the node's namespace and remappings applied."""
    return str(node.resolve_topic_name(topic))


def why_silent(node: Node, camera: CameraConfig) -> str:
    """Return why nothing can arrive from a camera, or '' if the graph knows no reason.

    Args:
        node: the subscriber; its remappings hold.
        camera: topic, transport and reliability that were asked for.
    """
    topic, wanted = resolved(node, camera.image_topic), TYPES[camera.transport]
    publishers = node.get_publishers_info_by_topic(camera.image_topic)
    if not publishers:
        return f'nobody publishes {topic}{_near(node, topic, wanted)}'
    types = {publisher.topic_type for publisher in publishers}
    if wanted not in types:
        return (
            f'{topic} is published as {", ".join(map(one_line, sorted(types)))}, expected '
            f'{wanted}: see cameras.{camera.name}.topic and transport'
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


def _near(node: Node, topic: str, wanted: str) -> str:
    """Return the image topic that may be meant, of the camera's own transport if there is one."""
    topics = node.get_topic_names_and_types()
    for kind in (wanted, *(t for t in TYPES.values() if t != wanted)):
        published = [
            name
            for name, types in topics
            if kind in types and node.get_publishers_info_by_topic(name)
        ]
        near = did_you_mean(topic, published)
        if near.startswith(' —'):
            transport = next(t for t, name in TYPES.items() if name == kind)
            return near if kind == wanted else f'{near} (transport: {transport})'
    return ''
