"""Results out: detections and latency per camera, labels for whoever joins late."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import ExitStack

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from vision_msgs.msg import Detection2DArray, VisionInfo

from yolox_trt_ros.core.config import Config
from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.errors import YoloxTrtRosError
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.model import ModelSpec
from yolox_trt_ros.core.trace import FrameTrace
from yolox_trt_ros.msg import CameraLatency
from yolox_trt_ros.ros.native import load_native
from yolox_trt_ros.ros.output.cdr_templates import DetectionsWriter, LatencyWriter, check
from yolox_trt_ros.ros.output.messages import detections_message, latency_message, time_message

try:
    from vision_msgs.msg import LabelInfo, VisionClass
except ImportError:  # vision_msgs before 4.1
    LabelInfo = None

CLOSE_S = 5.0
"""Longest time that closing waits for a message that is being published."""
_RESULT_QOS = 10
_LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class CameraOutput(ABC):
    """The two topics of one camera; a message is only built while somebody listens.

    Called for one result of a camera at a time.

    Args:
        node: owner of the publishers.
        camera: its name.
        class_ids: what ``class_id`` says for each class.
    """

    way: str

    def __init__(self, node: Node, camera: str, class_ids: Sequence[str]) -> None:
        self._node = node
        self._class_ids = class_ids
        self._detections = node.create_publisher(
            Detection2DArray, f'~/{camera}/detections', _RESULT_QOS
        )
        self._latency = node.create_publisher(CameraLatency, f'~/{camera}/latency', _RESULT_QOS)

    @property
    def heard(self) -> bool:
        """Whether somebody listens to the detections."""
        return self._detections.get_subscription_count() > 0

    @abstractmethod
    def detections(self, frame: Frame, found: Detections) -> None:
        """Publish one frame's detections."""

    @abstractmethod
    def latency(self, frame: Frame, trace: FrameTrace, now_ns: int) -> None:
        """Publish one frame's finished trace; ``now_ns`` is the node's clock."""

    def close(self) -> None:
        """Destroy the publishers."""
        self._node.destroy_publisher(self._detections)
        self._node.destroy_publisher(self._latency)


class TypedOutput(CameraOutput):
    """Builds message objects and leaves their serialisation to ROS."""

    way = 'typed'

    def detections(self, frame: Frame, found: Detections) -> None:
        """Publish one frame's detections."""
        if self.heard:
            self._detections.publish(detections_message(frame, found, self._class_ids))

    def latency(self, frame: Frame, trace: FrameTrace, now_ns: int) -> None:
        """Publish one frame's finished trace; ``now_ns`` is the node's clock."""
        if self._latency.get_subscription_count():
            self._latency.publish(latency_message(frame, trace, now_ns))


class TemplateOutput(CameraOutput):
    """Writes serialised messages from templates, and publishes them from where they were written.

    :func:`cdr_templates.check` has passed. After a pause little of this is in any cache, so that
    what counts is how little it is: readers are asked for, and messages handed over, in C++.
    """

    way = 'templates'

    def __init__(self, node: Node, camera: str, class_ids: Sequence[str]) -> None:
        super().__init__(node, camera, class_ids)
        self._native = load_native()
        self._write_detections = DetectionsWriter(class_ids).write
        self._write_latency = LatencyWriter().write
        # Held, so that whoever destroys the node cannot free what is published to.
        self._held = ExitStack()
        for publisher in (self._detections, self._latency):
            self._held.enter_context(publisher.handle)
        self._to_detections = self._detections.handle.pointer
        self._to_latency = self._latency.handle.pointer
        # Costs some 0.3 µs. C++ lets go of the interpreter's lock while it publishes.
        self._publishing = threading.Lock()

    def detections(self, frame: Frame, found: Detections) -> None:
        """Publish one frame's detections."""
        with self._publishing:
            if self._native.wanted(self._to_detections):
                self._write_detections(frame, found).publish(self._to_detections)

    def latency(self, frame: Frame, trace: FrameTrace, now_ns: int) -> None:
        """Publish one frame's finished trace; ``now_ns`` is the node's clock."""
        with self._publishing:
            if self._native.wanted(self._to_latency):
                self._native.publish(self._to_latency, self._write_latency(frame, trace, now_ns))

    def close(self) -> None:
        """Destroy the publishers, once nobody publishes to them any more."""
        ended = self._publishing.acquire(timeout=CLOSE_S)
        # A lane that hung and goes on later is refused, and does not use what is gone.
        self._to_detections = self._to_latency = 0
        if not ended:
            self._node.get_logger().error(
                f'{self._detections.topic_name} is left open: the middleware has not taken a '
                f'message within {CLOSE_S:g} s'
            )
            return
        self._publishing.release()
        self._held.close()
        super().close()


class ResultPublishers:
    """Publishers of one configured node. Methods may be called from any lane's thread.

    Messages are written from templates unless the installed definitions do not allow it, which is
    logged.

    Attributes:
        way: how messages are written, for people.
    """

    def __init__(self, node: Node, config: Config, spec: ModelSpec) -> None:
        self._node = node
        self._clock = node.get_clock()
        by_name = config.class_id_format == 'name'
        class_ids = spec.labels if by_name else [str(i) for i in range(len(spec.labels))]
        output, self.way = self._choose_output(class_ids)
        self._outputs = {c.name: output(node, c.name, class_ids) for c in config.cameras}
        self._vision_info = node.create_publisher(VisionInfo, '~/vision_info', _LATCHED)
        self._label_info = LabelInfo and node.create_publisher(LabelInfo, '~/label_info', _LATCHED)
        self._labels = spec.labels
        self.publish_labels(config)

    def detections(self, frame: Frame, found: Detections) -> None:
        """Publish one frame's detections, empty ones too."""
        self._outputs[frame.camera].detections(frame, found)

    def latency(self, frame: Frame, trace: FrameTrace) -> None:
        """Publish one frame's finished trace."""
        self._outputs[frame.camera].latency(frame, trace, self._clock.now().nanoseconds)

    def close(self) -> None:
        """Destroy the publishers."""
        for output in self._outputs.values():
            output.close()
        self._node.destroy_publisher(self._vision_info)
        if self._label_info:
            self._node.destroy_publisher(self._label_info)

    def _choose_output(self, class_ids: Sequence[str]) -> tuple[type[CameraOutput], str]:
        try:
            check(class_ids)
        except YoloxTrtRosError as error:
            self._node.get_logger().warning(
                f'results are published as typed messages, at many times the CPU time: {error}'
            )
            return TypedOutput, f'{TypedOutput.way}: {error}'
        return TemplateOutput, TemplateOutput.way

    def publish_labels(self, config: Config) -> None:
        """Say what class ids mean, and the threshold, to whoever listens now or later."""
        stamp = time_message(self._clock.now().nanoseconds)
        info = VisionInfo(
            method='YOLOX',
            database_location=self._label_info.topic_name if self._label_info else '',
        )
        info.header.stamp = stamp
        self._vision_info.publish(info)
        if self._label_info is None:
            self._node.get_logger().warning(
                'this vision_msgs has no LabelInfo: class names are not published; '
                'set class_id_format to "name" to have them in the detections'
            )
            return
        labels = LabelInfo(threshold=config.model.score_threshold)
        labels.header.stamp = stamp
        labels.class_map = [
            VisionClass(class_id=i, class_name=name) for i, name in enumerate(self._labels)
        ]
        self._label_info.publish(labels)
