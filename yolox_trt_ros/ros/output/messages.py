"""The messages of each frame: how they are built, and where in them the numbers are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from builtin_interfaces.msg import Time
from std_msgs.msg import Header
from vision_msgs.msg import Detection2D, Detection2DArray, ObjectHypothesisWithPose

from yolox_trt_ros.core.class_names import AUTOWARE
from yolox_trt_ros.core.config import Config
from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.messages import seconds_and_rest
from yolox_trt_ros.core.model import ModelSpec
from yolox_trt_ros.core.trace import FrameTrace
from yolox_trt_ros.msg import CameraLatency

STAMP = {'header.stamp.sec': 'seconds', 'header.stamp.nanosec': 'nanoseconds'}


@dataclass(frozen=True, slots=True)
class FoundMessage:
    """A message of a frame's detections, with one element for each of them.

    Attributes:
        build: returns the message. The header is its first member, and the elements are its last.
        elements: path of the sequence of elements, such as ``detections``.
        numbers: what the numbers of an element are, by path, such as ``bbox.size_x``: ``score``;
            ``center_x``, ``center_y``, ``width``, ``height``, ``left``, ``top``, ``right`` or
            ``bottom`` of the box, pixels of the source image; ``seconds`` or ``nanoseconds`` of the
            image's stamp. All others depend on the class and its name only. Fractions are cut off
            where the message has whole numbers.
        classes: how many classes the model has.
        labels: names of classes for which the message is tried out; those of the detections may
            change while the node runs.
        prepare: what ``build`` does to the detections before it takes numbers of them, such as
            ending boxes at the image's border; nothing without one.
    """

    build: Callable[[Frame, Detections], Any]
    elements: str
    numbers: Mapping[str, str]
    classes: int
    prepare: Callable[[Frame, Detections], Detections] | None = None
    labels: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class TraceMessage:
    """A message of a frame's trace: a header, and strings and numbers without a structure.

    Attributes:
        kind: class of the message.
        strings, numbers: return the members, by name, of a frame, its trace and the node's clock at
            publication, nanoseconds.
    """

    kind: type
    strings: Callable[[Frame, FrameTrace, int], dict[str, str]]
    numbers: Callable[[Frame, FrameTrace, int], dict[str, int]]

    def build(self, frame: Frame, trace: FrameTrace, now_ns: int) -> Any:
        """Return the message."""
        strings, numbers = self.strings(frame, trace, now_ns), self.numbers(frame, trace, now_ns)
        return self.kind(header=header_of(frame), **strings, **numbers)


def time_message(ns: int) -> Time:
    """Return nanoseconds since the ROS clock's zero as a message."""
    seconds, nanoseconds = seconds_and_rest(ns)
    return Time(sec=seconds, nanosec=nanoseconds)


def header_of(frame: Frame) -> Header:
    """Return the header of the frame's image, as it was."""
    return Header(stamp=time_message(frame.stamp_ns), frame_id=frame.frame_id)


def detections_message(
    frame: Frame, found: Detections, class_ids: Sequence[str]
) -> Detection2DArray:
    """Return a frame's detections; boxes are centre and size in source-image pixels.

    Args:
        frame: the image they were found in; its header is on the array and on every element.
        found: the detections.
        class_ids: what ``class_id`` says for each class.
    """
    header = header_of(frame)
    message = Detection2DArray(header=header)
    rows = zip(found.xyxy.tolist(), found.score.tolist(), found.class_id.tolist(), strict=True)
    for (x1, y1, x2, y2), score, class_id in rows:
        item = Detection2D(header=header)
        item.bbox.center.position.x = (x1 + x2) / 2
        item.bbox.center.position.y = (y1 + y2) / 2
        item.bbox.size_x = x2 - x1
        item.bbox.size_y = y2 - y1
        result = ObjectHypothesisWithPose()
        result.hypothesis.class_id = class_ids[class_id]
        result.hypothesis.score = score
        item.results.append(result)
        message.detections.append(item)
    return message


DETECTION = {
    **STAMP,
    'results.0.hypothesis.score': 'score',
    'bbox.center.position.x': 'center_x',
    'bbox.center.position.y': 'center_y',
    'bbox.size_x': 'width',
    'bbox.size_y': 'height',
}


def detection_array(class_ids: Sequence[str]) -> FoundMessage:
    """Return how :func:`detections_message` is published."""
    build = partial(detections_message, class_ids=class_ids)
    return FoundMessage(build, 'detections', DETECTION, len(class_ids))


def _of_vehicle(config: Config, spec: ModelSpec) -> FoundMessage:
    if config.class_id_format == 'name':
        return FoundMessage(_named, 'detections', DETECTION, len(spec.labels), labels=spec.labels)
    return detection_array([str(i) for i in range(max(len(spec.labels), len(AUTOWARE)))])


def _named(frame: Frame, found: Detections) -> Detection2DArray:
    """Return :func:`detections_message` with the classes' names."""
    return detections_message(frame, found, found.labels)


FOUND: dict[str, Callable[[Config, ModelSpec], FoundMessage]] = {'detections': _of_vehicle}
"""Messages of detections for a vehicle and its model, by name in :data:`topics.RESULTS`."""


def _latency_strings(_frame: Frame, trace: FrameTrace, _now_ns: int) -> dict[str, str]:
    return {'camera': trace.camera, 'lane': trace.lane}


def _latency_numbers(frame: Frame, trace: FrameTrace, now_ns: int) -> dict[str, int]:
    return {
        'batch_size': trace.batch_size,
        'drops': trace.drops,
        'total_ns': trace.total_ns,
        'age_ns': now_ns - frame.stamp_ns,
        **{f'{stage}_ns': duration for stage, duration in trace.stages_ns().items()},
    }


LATENCY = TraceMessage(CameraLatency, _latency_strings, _latency_numbers)
"""Where a frame's milliseconds went."""
