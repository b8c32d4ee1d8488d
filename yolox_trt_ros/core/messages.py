"""Result messages as plain data, whether rclpy or rosbags made the objects."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.errors import ConfigError, did_you_mean
from yolox_trt_ros.core.printing import one_line, shown
from yolox_trt_ros.core.run_length import values_of
from yolox_trt_ros.core.segmentation import Segmentation

SECOND_NS = 1_000_000_000


def nanoseconds_of(seconds: int, rest: int) -> int:
    """Return a stamp of ROS, seconds and nanoseconds, as nanoseconds."""
    return int(seconds) * SECOND_NS + int(rest)


def seconds_and_rest(ns: int) -> tuple[int, int]:
    """Return nanoseconds as a stamp of ROS has them: seconds, and nanoseconds of 0 or more."""
    return divmod(ns, SECOND_NS)


def header_stamp_ns(cdr: bytes) -> int:
    """Return the header stamp of a serialised message whose first member is the header.

    Returns:
        Nanoseconds; -1 of a message that is too short to have one.
    """
    if len(cdr) < 12:
        return -1
    seconds, nanoseconds = struct.unpack_from('<iI' if cdr[1] & 1 else '>iI', cdr, 4)
    return nanoseconds_of(seconds, nanoseconds)


LARGEST_CLASS = 2**31 - 1
MOST_CELLS = 1 << 26
"""Of a mask in a message."""
MOST_CLASSES = 1 << 16
"""Classes of a ``vision_msgs/LabelInfo``, which numbers them with 16 bits."""
MOST_COMPARED = 100
"""Letters of an unknown class that the known ones are compared with."""


@contextmanager
def fields_of(kind: str) -> Iterator[None]:
    """Refuse a message that has not the fields of its type, or values of other types in them.

    A bag brings the definitions of its types along, and may call anything by any name.

    Raises:
        ConfigError: in place of what access to the fields raised.
    """
    try:
        yield
    except (AttributeError, TypeError, ValueError, OverflowError, LookupError) as error:
        raise ConfigError(
            f'expected the fields of {kind}: {one_line(str(error)[:MOST_COMPARED])}'
        ) from error


def stamp_ns_of(message: Any) -> int:
    """Return a message's header stamp in nanoseconds.

    Raises:
        ConfigError: it has none.
    """
    with fields_of('std_msgs/Header'):
        stamp = message.header.stamp
        return nanoseconds_of(stamp.sec, stamp.nanosec)


def names_of(message: Any) -> dict[int, str]:
    """Return the names of classes in a ``vision_msgs/LabelInfo``, by number.

    Raises:
        ConfigError: a number is below 0 or :data:`MOST_CLASSES` or more.
    """
    with fields_of('vision_msgs/LabelInfo'):
        names = {int(entry.class_id): str(entry.class_name) for entry in message.class_map}
    if wrong := [number for number in names if not 0 <= number < MOST_CLASSES]:
        raise ConfigError(
            f'expected numbers of classes from 0 to {MOST_CLASSES - 1}, got {shown(wrong[0])}'
        )
    return names


def list_of(names: Mapping[int, str]) -> tuple[str, ...]:
    """Return names by number as a list without gaps; empty if there are none."""
    return tuple(names.get(i, f'class {i}') for i in range(max(names, default=-1) + 1))


def detections_of(message: Any, class_ids: Mapping[str, int] | None = None) -> Detections:
    """Return what a ``vision_msgs/Detection2DArray`` says, in its own order.

    Args:
        message: with one hypothesis or more per detection; the first one counts.
        class_ids: the number of each ``class_id``; None: it is the number itself.

    Raises:
        ConfigError: a ``class_id`` is no number of a class, or none of ``class_ids``; a detection
            has no hypothesis; or a box or score is not finite, or a size is negative.
    """
    with fields_of('vision_msgs/Detection2DArray'):
        return _detections_of(message, class_ids)


def _detections_of(message: Any, class_ids: Mapping[str, int] | None) -> Detections:
    n = len(message.detections)
    xyxy = np.empty((n, 4), np.float32)
    score = np.empty(n, np.float32)
    class_id = np.empty(n, np.int32)
    with np.errstate(over='ignore', invalid='ignore'):  # what has no place is refused below
        for i, item in enumerate(message.detections):
            centre, w, h = item.bbox.center.position, item.bbox.size_x, item.bbox.size_y
            xyxy[i] = centre.x - w / 2, centre.y - h / 2, centre.x + w / 2, centre.y + h / 2
            if not len(item.results):
                raise ConfigError('expected a hypothesis in every detection, one has none')
            best = item.results[0].hypothesis
            score[i] = best.score
            class_id[i] = _number(best.class_id, class_ids)
    if not (np.isfinite(xyxy).all() and np.isfinite(score).all()):
        raise ConfigError('expected finite boxes and scores, got one that is not finite')
    if (xyxy[:, :2] > xyxy[:, 2:]).any():
        raise ConfigError('expected boxes with sizes of 0 or more, one has a negative size')
    return Detections(xyxy, score, class_id)


def is_class_number(text: str) -> bool:
    """Return whether a ``class_id`` is the number of a class: digits, within 32 bits."""
    return text.isascii() and text.isdecimal() and len(text) <= 10 and int(text) <= LARGEST_CLASS


def _number(class_id: str, class_ids: Mapping[str, int] | None) -> int:
    if class_ids is not None and class_id in class_ids:
        return class_ids[class_id]
    if class_ids is None and is_class_number(class_id):
        return int(class_id)
    wanted = 'the number of a class' if class_ids is None else 'a known class'
    raise ConfigError(
        f'class_id {shown(class_id)}: expected {wanted}'
        f'{did_you_mean(class_id[:MOST_COMPARED], class_ids or ())}'
    )


def mask_of(message: Any, runs: bool) -> Segmentation:
    """Return the class mask in a ``sensor_msgs/Image``; its region is the whole of itself.

    Args:
        message: of encoding mono8.
        runs: whether its data are run lengths, see :func:`core.run_length.runs_of`.

    Raises:
        ConfigError: it is no such mask, or larger than an image may be.
    """
    with fields_of('sensor_msgs/Image'):
        height, width, data = message.height, message.width, bytes(message.data)
        encoding = str(message.encoding)
    if encoding != 'mono8' or not 0 < height * width <= MOST_CELLS:
        raise ConfigError(
            f'expected a mono8 mask of 1 to {MOST_CELLS} cells, got {shown(encoding)} of '
            f'{width}x{height}'
        )
    if runs:
        return Segmentation(values_of(data, height, width), (0, 0, width, height))
    if len(data) != height * width:
        raise ConfigError(f'expected {height * width} bytes of {width}x{height}, got {len(data)}')
    cells = np.frombuffer(data, np.uint8).reshape(height, width)
    return Segmentation(cells, (0, 0, width, height))
