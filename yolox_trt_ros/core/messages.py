"""Result messages as plain data, whichever library made the objects: rclpy or rosbags."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.errors import ConfigError, did_you_mean


def header_stamp_ns(cdr: bytes) -> int:
    """Return the header stamp of a serialised message whose first member is the header.

    Returns:
        Nanoseconds; -1 of a message that is too short to have one.
    """
    if len(cdr) < 12:
        return -1
    seconds, nanoseconds = struct.unpack_from('<iI' if cdr[1] & 1 else '>iI', cdr, 4)
    return int(seconds) * 1_000_000_000 + int(nanoseconds)


def stamp_ns_of(message: Any) -> int:
    """Return a message's header stamp in nanoseconds."""
    stamp = message.header.stamp
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def detections_of(message: Any, class_ids: Mapping[str, int] | None = None) -> Detections:
    """Return what a ``vision_msgs/Detection2DArray`` says, in its own order.

    Args:
        message: with one hypothesis or more per detection; the first one counts.
        class_ids: the number of each ``class_id``; None: it is the number itself.

    Raises:
        ConfigError: a ``class_id`` is no number, or none of ``class_ids``; or a detection has no
            hypothesis.
    """
    n = len(message.detections)
    xyxy = np.empty((n, 4), np.float32)
    score = np.empty(n, np.float32)
    class_id = np.empty(n, np.int32)
    for i, item in enumerate(message.detections):
        centre, w, h = item.bbox.center.position, item.bbox.size_x, item.bbox.size_y
        xyxy[i] = centre.x - w / 2, centre.y - h / 2, centre.x + w / 2, centre.y + h / 2
        if not len(item.results):
            raise ConfigError('expected a hypothesis of every detection, one has none')
        best = item.results[0].hypothesis
        score[i] = best.score
        class_id[i] = _number(best.class_id, class_ids)
    return Detections(xyxy, score, class_id)


def _number(class_id: str, class_ids: Mapping[str, int] | None) -> int:
    if class_ids is not None and class_id in class_ids:
        return class_ids[class_id]
    if class_ids is None and class_id.isdecimal():
        return int(class_id)
    wanted = 'the number of a class' if class_ids is None else 'a known class'
    raise ConfigError(
        f'class_id "{class_id}": expected {wanted}{did_you_mean(class_id, class_ids or ())}'
    )
