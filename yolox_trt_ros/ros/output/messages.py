"""Build the messages this package publishes from its own data."""

from __future__ import annotations

from collections.abc import Sequence

from builtin_interfaces.msg import Time
from std_msgs.msg import Header
from vision_msgs.msg import Detection2D, Detection2DArray, ObjectHypothesisWithPose

from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.trace import FrameTrace
from yolox_trt_ros.msg import CameraLatency


def time_message(ns: int) -> Time:
    """Return nanoseconds since the ROS clock's zero as a message."""
    seconds, nanoseconds = divmod(ns, 1_000_000_000)
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


def latency_message(frame: Frame, trace: FrameTrace, now_ns: int) -> CameraLatency:
    """Return where a frame's milliseconds went.

    Args:
        frame: the image.
        trace: its finished trace.
        now_ns: the node's clock at publication, for the age against the header stamp.
    """
    stages = {f'{name}_ns': duration for name, duration in trace.stages_ns().items()}
    return CameraLatency(
        header=header_of(frame),
        camera=trace.camera,
        lane=trace.lane,
        batch_size=trace.batch_size,
        drops=trace.drops,
        total_ns=trace.total_ns,
        age_ns=now_ns - frame.stamp_ns,
        **stages,
    )
