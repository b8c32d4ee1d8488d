"""Publish results: detections, latency and times per camera, and latched labels."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from vision_msgs.msg import VisionInfo

from yolox_trt_ros.core.config import CameraConfig, Config
from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.errors import YoloxTrtRosError
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.rules import Rules
from yolox_trt_ros.core.topics import RESULTS
from yolox_trt_ros.core.trace import FrameTrace
from yolox_trt_ros.loaded_model import Models
from yolox_trt_ros.ros.message_types import message_class
from yolox_trt_ros.ros.native import load_native
from yolox_trt_ros.ros.output.cdr_templates import check, writer_of
from yolox_trt_ros.ros.output.debug_times import DebugTimes
from yolox_trt_ros.ros.output.masks import MaskOutputs
from yolox_trt_ros.ros.output.messages import (
    FOUND,
    LATENCY,
    FoundMessage,
    TraceMessage,
    time_message,
)

try:
    from vision_msgs.msg import LabelInfo, VisionClass
except ImportError:  # vision_msgs before 4.1
    LabelInfo = None

Message = FoundMessage | TraceMessage

CLOSE_S = 5.0
"""Longest time that closing waits for a message that is being published."""
_RESULT_QOS = 10
_LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class Output(ABC):
    """One message of one camera on its topic; it is only built while somebody listens.

    Called for one result of a camera at a time.

    Args:
        node: owner of the publisher.
        kind: of its messages, such as ``std_msgs/msg/Header``.
        topic: its name.
        message: what is published.

    Raises:
        MissingDependencyError: the message's package is not installed.
    """

    encoder: str

    def __init__(self, node: Node, kind: str, topic: str, message: Message) -> None:
        found = message_class(kind)
        self._node, self._message = node, message
        self._publisher = node.create_publisher(found, topic, _RESULT_QOS)

    @property
    def heard(self) -> bool:
        """Whether somebody listens."""
        return self._publisher.get_subscription_count() > 0

    @abstractmethod
    def publish(self, *what: Any) -> None:
        """Publish what the message's ``build`` makes of this."""

    def close(self) -> None:
        """Destroy the publisher."""
        self._node.destroy_publisher(self._publisher)


class TypedOutput(Output):
    """Builds message objects and leaves their serialisation to ROS."""

    encoder = 'typed'

    def publish(self, *what: Any) -> None:
        """Publish what the message's ``build`` makes of this."""
        if self.heard:
            self._publisher.publish(self._message.build(*what))


class TemplateOutput(Output):
    """Writes serialised messages from templates, and publishes them from where they were written.

    :func:`cdr_templates.check` has passed. After a pause little of this is in any cache, so that
    what counts is how little it is: readers are asked for, and messages handed over, in C++.
    """

    encoder = 'templates'

    def __init__(self, node: Node, kind: str, topic: str, message: Message) -> None:
        super().__init__(node, kind, topic, message)
        self._native = load_native()
        self._write: Any = writer_of(message).write
        # Held, so that whoever destroys the node cannot free what is published to.
        self._held = ExitStack()
        self._held.enter_context(self._publisher.handle)
        self._to = self._publisher.handle.pointer
        # Costs some 0.3 µs. C++ lets go of the interpreter's lock while it publishes.
        self._publishing = threading.Lock()

    def publish(self, *what: Any) -> None:
        """Publish what the message's ``build`` makes of this."""
        with self._publishing:
            if self._native.wanted(self._to):
                self._native.publish(self._to, self._write(*what))

    def close(self) -> None:
        """Destroy the publisher, once nobody publishes to it any more."""
        ended = self._publishing.acquire(timeout=CLOSE_S)
        # A lane that hung and goes on later is refused, and does not use what is gone.
        self._to = 0
        if not ended:
            self._node.get_logger().error(
                f'{self._publisher.topic_name} is left open: the middleware has not taken a '
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

    Args:
        node: owner of the publishers.
        config: the vehicle.
        rules: what of the model's answer counts, and what that is called.
        by_camera: the same of each camera's own model, where they have several.
        found: which messages of the detections are published, by name in ``messages.FOUND``; None:
            those of the vehicle's ``outputs``.
        models: of the cameras, whose class masks are published; None: no masks are.

    Raises:
        MissingDependencyError: a message's package is not installed.
        ConfigError: a message has no place for a class that may be found.
    """

    def __init__(
        self,
        node: Node,
        config: Config,
        rules: Rules,
        by_camera: Mapping[str, Rules] | None = None,
        found: Sequence[str] | None = None,
        models: Models | None = None,
    ) -> None:
        self._node = node
        self._clock = node.get_clock()
        self._typed: dict[str, None] = {}  # why, in order
        names = config.outputs if found is None else found
        messages = {name: FOUND[name](config, rules) for name in names if name in FOUND}
        writes = {name: self._encoder_of(message) for name, message in messages.items()}

        def open_output(name: str, camera: CameraConfig, message: Message) -> Output:
            result = RESULTS[name]
            return writes[name](node, result.type, result.named(camera), message)

        self._found = {
            c.name: [open_output(name, c, message) for name, message in messages.items()]
            for c in config.cameras
        }
        writes['latency'] = self._encoder_of(LATENCY)
        self._latency = {c.name: open_output('latency', c, LATENCY) for c in config.cameras}
        timed = config.cameras if 'debug_times' in names else ()
        self._times = {camera.name: DebugTimes(node, camera) for camera in timed}
        self._masks = MaskOutputs(node, config, models) if models else None
        self._vision_info = node.create_publisher(VisionInfo, '~/vision_info', _LATCHED)
        self._label_info = LabelInfo and node.create_publisher(LabelInfo, '~/label_info', _LATCHED)
        self._labels_of = {
            name: node.create_publisher(LabelInfo, f'~/{name}/label_info', _LATCHED)
            for name in (by_camera or ())
            if LabelInfo
        }
        self.publish_labels(config, rules, by_camera or {})

    @classmethod
    def of(cls, node: Node, config: Config, models: Models) -> ResultPublishers:
        """Return those of a vehicle's detections and class masks."""
        return cls(node, config, models.rules, models.by_camera, models=models)

    @property
    def encoder(self) -> str:
        """How messages are written, for people."""
        return '; '.join(self._typed) or TemplateOutput.encoder

    def detections(self, frame: Frame, found: Detections) -> None:
        """Publish one frame's detections, empty ones too."""
        for output in self._found[frame.camera]:
            output.publish(frame, found)
        if self._masks and found.segmentation is not None:
            self._masks.publish(frame, found)

    def latency(self, frame: Frame, trace: FrameTrace) -> None:
        """Publish one frame's finished trace."""
        now_ns = self._clock.now().nanoseconds
        self._latency[frame.camera].publish(frame, trace, now_ns)
        if self._times:
            self._times[frame.camera].publish(frame, trace, now_ns)

    def close(self) -> None:
        """Destroy the publishers."""
        for outputs in self._found.values():
            for output in outputs:
                output.close()
        for output in self._latency.values():
            output.close()
        for times in self._times.values():
            times.close()
        if self._masks:
            self._masks.close()
        self._node.destroy_publisher(self._vision_info)
        if self._label_info:
            self._node.destroy_publisher(self._label_info)
        for publisher in self._labels_of.values():
            self._node.destroy_publisher(publisher)

    def _encoder_of(self, message: Message) -> type[Output]:
        try:
            check(message)
        except YoloxTrtRosError as error:
            self._node.get_logger().warning(
                f'results are published as typed messages, at many times the CPU time: {error}'
            )
            self._typed[f'{TypedOutput.encoder}: {error}'] = None
            return TypedOutput
        return TemplateOutput

    def publish_labels(self, config: Config, rules: Rules, by_camera: Mapping[str, Rules]) -> None:
        """Say which classes there are and the threshold, to whoever listens now or later."""
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
        scores = {c.name: config.used_models[c.model].score_threshold for c in config.cameras}
        self._label_info.publish(_label_info(stamp, min(scores.values()), rules))
        for camera, own in by_camera.items():
            self._labels_of[camera].publish(_label_info(stamp, scores[camera], own))


def _label_info(stamp: Any, threshold: float, rules: Rules) -> LabelInfo:
    labels = LabelInfo(threshold=threshold)
    labels.header.stamp = stamp
    labels.class_map = [VisionClass(class_id=i, class_name=rules.labels[i]) for i in rules.wanted]
    return labels
