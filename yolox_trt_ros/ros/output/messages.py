"""The messages of each frame: detections, latency, and which others there are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from vision_msgs.msg import Detection2D, Detection2DArray, ObjectHypothesisWithPose

from yolox_trt_ros.core.class_names import AUTOWARE
from yolox_trt_ros.core.config import Config
from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.rules import Rules
from yolox_trt_ros.core.trace import FrameTrace
from yolox_trt_ros.msg import CameraLatency
from yolox_trt_ros.ros.output.message_kinds import STAMP as STAMP
from yolox_trt_ros.ros.output.message_kinds import TRACK_DIGITS
from yolox_trt_ros.ros.output.message_kinds import FoundMessage as FoundMessage
from yolox_trt_ros.ros.output.message_kinds import TraceMessage as TraceMessage
from yolox_trt_ros.ros.output.message_kinds import header_of as header_of
from yolox_trt_ros.ros.output.message_kinds import time_message as time_message
from yolox_trt_ros.ros.output.objects import objects_of_vehicle


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
    tracks = [-1] * len(found) if found.track_id is None else found.track_id.tolist()
    columns = (found.xyxy.tolist(), found.score.tolist(), found.class_id.tolist(), tracks)
    for (x1, y1, x2, y2), score, class_id, track_id in zip(*columns, strict=True):
        item = Detection2D(header=header)
        item.bbox.center.position.x = (x1 + x2) / 2
        item.bbox.center.position.y = (y1 + y2) / 2
        item.bbox.size_x = x2 - x1
        item.bbox.size_y = y2 - y1
        result = ObjectHypothesisWithPose()
        result.hypothesis.class_id = class_ids[class_id]
        result.hypothesis.score = score
        item.results.append(result)
        if track_id >= 0:
            item.id = f'{track_id:0{TRACK_DIGITS}}'
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


def detection_array(class_ids: Sequence[str], tracked: bool = False) -> FoundMessage:
    """Return how :func:`detections_message` is published, with numbers of tracks or without."""
    build, track = partial(detections_message, class_ids=class_ids), 'id' if tracked else ''
    return FoundMessage(build, 'detections', DETECTION, len(class_ids), track=track)


def _of_vehicle(config: Config, rules: Rules) -> FoundMessage:
    labels, tracked = rules.labels, config.tracking.method != 'none'
    if config.class_id_format == 'index':
        numbers = range(max(len(labels), len(AUTOWARE)))
        return detection_array([str(i) for i in numbers], tracked)
    track = 'id' if tracked else ''
    return FoundMessage(_named, 'detections', DETECTION, len(labels), labels=labels, track=track)


def _named(frame: Frame, found: Detections) -> Detection2DArray:
    """Return :func:`detections_message` with the classes' names."""
    return detections_message(frame, found, found.labels)


FOUND: dict[str, Callable[[Config, Rules], FoundMessage]] = {
    'detections': _of_vehicle,
    'objects': objects_of_vehicle,
}
"""Messages of detections for a vehicle and its rules, by name in :data:`topics.RESULTS`."""


def check_outputs(config: Config, rules: Rules) -> None:
    """Refuse rules that a message of the vehicle has no place for.

    Raises:
        ConfigError: a class that may be found is none that a message knows.
        MissingDependencyError: a message's package is not installed.
    """
    for name in config.outputs:
        if name in FOUND:
            FOUND[name](config, rules)


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
