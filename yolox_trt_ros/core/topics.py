"""Names of topics as ROS resolves them, and the topics that a detector publishes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


def absolute(topic: str, node: str) -> str:
    """Return a topic's full name as a node resolves it.

    Args:
        topic: as a parameter gives it: absolute, relative to the namespace, or private (``~/…``).
        node: the node's fully qualified name, such as ``/car/detector``.
    """
    if topic.startswith('/'):
        return topic
    if topic.startswith('~'):
        return f'{node}/{topic.lstrip("~/")}'
    return f'{node.rpartition("/")[0]}/{topic}'


@dataclass(frozen=True, slots=True)
class ResultTopic:
    """A topic that a detector publishes.

    Attributes:
        type: of its messages, such as ``std_msgs/msg/Header``.
        pattern: its name as the detector gives it; with ``{camera}`` there is one per camera.
        latched: whether those who subscribe later get the last message.
        output: what a vehicle's ``outputs`` has to name for it to be published; empty: it always
            is.
        parameter: of a camera, which may give the topic another name; empty: none does.
    """

    type: str
    pattern: str
    latched: bool = False
    output: str = ''
    parameter: str = ''

    @property
    def per_camera(self) -> bool:
        """Whether each camera has a topic of its own."""
        return '{camera}' in self.pattern

    def of(self, detector: str, camera: str = '') -> str:
        """Return the topic's name, for a detector of this fully qualified name."""
        return absolute(self.pattern.replace('{camera}', camera), detector)

    def named(self, camera: Any) -> str:
        """Return the topic's name for a camera's ``CameraConfig``, as the detector gives it."""
        given = getattr(camera, self.parameter) if self.parameter else ''
        return str(given or self.pattern).replace('{camera}', camera.name)


_IMAGE = 'sensor_msgs/msg/Image'
_FLOAT = 'autoware_internal_debug_msgs/msg/Float64Stamped'

RESULTS = {
    'detections': ResultTopic(
        'vision_msgs/msg/Detection2DArray', '~/{camera}/detections', output='detections'
    ),
    'objects': ResultTopic(
        'tier4_perception_msgs/msg/DetectedObjectsWithFeature',
        '~/{camera}/objects',
        output='objects',
        parameter='objects_topic',
    ),
    'mask': ResultTopic(_IMAGE, '~/{camera}/mask', output='mask', parameter='mask_topic'),
    'color_mask': ResultTopic(_IMAGE, '~/{camera}/color_mask', output='color_mask'),
    'latency': ResultTopic('yolox_trt_ros/msg/CameraLatency', '~/{camera}/latency'),
    'status': ResultTopic('yolox_trt_ros/msg/PipelineStatus', '~/status'),
    'diagnostics': ResultTopic('diagnostic_msgs/msg/DiagnosticArray', '/diagnostics'),
    'vision_info': ResultTopic('vision_msgs/msg/VisionInfo', '~/vision_info', latched=True),
    'label_info': ResultTopic('vision_msgs/msg/LabelInfo', '~/label_info', latched=True),
    **{
        name: ResultTopic(_FLOAT, f'~/{{camera}}/debug/{name}', output='debug_times')
        for name in ('cyclic_time_ms', 'processing_time_ms', 'pipeline_latency_ms')
    },
}
"""What the detector publishes; who subscribes, records or replays takes types from here."""

OUTPUTS = tuple(dict.fromkeys(result.output for result in RESULTS.values() if result.output))
"""What a vehicle may publish of each image."""

BESIDE_IMAGES = {
    'ground_truth': 'vision_msgs/msg/Detection2DArray',
    'camera_info': 'sensor_msgs/msg/CameraInfo',
}
"""Types of what is published beside a camera's images."""
