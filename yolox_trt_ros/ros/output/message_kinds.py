"""What is known of a message of each frame: how it is built, and where in it the numbers are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from builtin_interfaces.msg import Time
from std_msgs.msg import Header

from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.messages import seconds_and_rest
from yolox_trt_ros.core.trace import FrameTrace

STAMP = {'header.stamp.sec': 'seconds', 'header.stamp.nanosec': 'nanoseconds'}

TRACK_DIGITS = 10
"""Letters of a track's number: of one length, so that nothing behind it moves."""
TRACKED = 1 << 30
"""Added to the class of a detection with a track: its template is another one."""


@dataclass(frozen=True, slots=True)
class FoundMessage:
    """A message of a frame's detections, with one element for each of them.

    Attributes:
        build: returns the message. The header is its first member, and the elements are its last.
        elements: path of the sequence of elements, such as ``detections``.
        numbers: what the numbers of an element are, by path, such as ``bbox.size_x``: ``score``;
            ``center_x``, ``center_y``, ``width``, ``height``, ``left``, ``top``, ``right`` or
            ``bottom`` of the box, pixels of the source image; ``inner_left``, ``inner_top``,
            ``inner_width`` or ``inner_height`` of what of it lies between the centres of the
            image's first and last pixels; ``seconds`` or ``nanoseconds`` of the image's stamp. All
            others depend on the class and its name only. Fractions are cut off where the message
            has whole numbers.
        classes: how many classes the model has.
        labels: names of classes for which the message is tried out; those of the detections may
            change while the node runs.
        track: path of the element's string with the number of the object's track, in
            ``TRACK_DIGITS`` digits, empty where it has none; '': the message has no such.
        prepare: what ``build`` does to the detections before it takes numbers of them, such as
            leaving some out; nothing without one.
    """

    build: Callable[[Frame, Detections], Any]
    elements: str
    numbers: Mapping[str, str]
    classes: int
    prepare: Callable[[Frame, Detections], Detections] | None = None
    labels: Sequence[str] = ()
    track: str = ''


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
