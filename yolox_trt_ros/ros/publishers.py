"""Results out: detections and latency per camera, labels for whoever joins late."""

from __future__ import annotations

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from vision_msgs.msg import Detection2DArray, VisionInfo

from yolox_trt_ros.core.config import Config
from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.model import ModelSpec
from yolox_trt_ros.core.trace import FrameTrace
from yolox_trt_ros.msg import CameraLatency
from yolox_trt_ros.ros.messages import detections_message, latency_message, time_message

try:
    from vision_msgs.msg import LabelInfo, VisionClass
except ImportError:  # vision_msgs before 4.1
    LabelInfo = None

_RESULT_QOS = 10
_LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class ResultPublishers:
    """Publishers of one configured node. Methods may be called from any lane's thread."""

    def __init__(self, node: Node, config: Config, spec: ModelSpec) -> None:
        self._node = node
        self._clock = node.get_clock()
        by_name = config.class_id_format == 'name'
        self._class_ids = spec.labels if by_name else [str(i) for i in range(len(spec.labels))]
        self._detections = {
            c.name: node.create_publisher(Detection2DArray, f'~/{c.name}/detections', _RESULT_QOS)
            for c in config.cameras
        }
        self._latency = {
            c.name: node.create_publisher(CameraLatency, f'~/{c.name}/latency', _RESULT_QOS)
            for c in config.cameras
        }
        self._vision_info = node.create_publisher(VisionInfo, '~/vision_info', _LATCHED)
        self._label_info = LabelInfo and node.create_publisher(LabelInfo, '~/label_info', _LATCHED)
        self._publish_labels(config, spec)

    def detections(self, frame: Frame, found: Detections, _draft: FrameTrace) -> None:
        """Publish one frame's detections, empty ones too."""
        publisher = self._detections[frame.camera]
        if publisher.get_subscription_count():
            publisher.publish(detections_message(frame, found, self._class_ids))

    def latency(self, frame: Frame, trace: FrameTrace) -> None:
        """Publish one frame's finished trace."""
        publisher = self._latency[frame.camera]
        if publisher.get_subscription_count():
            publisher.publish(latency_message(frame, trace, self._clock.now().nanoseconds))

    def close(self) -> None:
        """Destroy the publishers."""
        publishers = [*self._detections.values(), *self._latency.values(), self._vision_info]
        for publisher in publishers:
            self._node.destroy_publisher(publisher)
        if self._label_info:
            self._node.destroy_publisher(self._label_info)

    def _publish_labels(self, config: Config, spec: ModelSpec) -> None:
        stamp = time_message(self._clock.now().nanoseconds)
        info = VisionInfo(method='YOLOX', database_location=f'{self._node.get_name()}/label_info')
        info.header.stamp = stamp
        self._vision_info.publish(info)
        if self._label_info is None:
            self._node.get_logger().warn(
                'this vision_msgs has no LabelInfo: class names are not published; '
                'set class_id_format to "name" to have them in the detections'
            )
            return
        labels = LabelInfo(threshold=config.model.score_threshold)
        labels.header.stamp = stamp
        labels.class_map = [
            VisionClass(class_id=i, class_name=name) for i, name in enumerate(spec.labels)
        ]
        self._label_info.publish(labels)
