"""The messages of every frame as CDR bytes, many times cheaper than through typed objects.

A message is serialised once, field by field as its installed definition says, and the place of
every number is noted. The next message of the same shape is those bytes with other numbers. Plain
CDR (OMG DDS-XTypes 7.4, version 1): numbers are aligned to their size, counted from behind the
encapsulation header. :func:`check` proves at start that ROS reads what was meant.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Sequence
from copy import copy
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from rclpy.serialization import deserialize_message, serialize_message
from rosidl_parser import definition
from std_msgs.msg import Header
from vision_msgs.msg import Detection2DArray

from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.errors import YoloxTrtRosError
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.trace import STAGES, FrameTrace
from yolox_trt_ros.msg import CameraLatency
from yolox_trt_ros.ros.native import load_native
from yolox_trt_ros.ros.output.messages import detections_message, latency_message

if TYPE_CHECKING:
    from yolox_trt_ros._native import BoxWriter

ENCAPSULATION = bytes((0, sys.byteorder == 'little', 0, 0))

_CODES = {
    'boolean': '?',
    'octet': 'c',
    'char': 'B',
    'uint8': 'B',
    'int8': 'b',
    'uint16': 'H',
    'int16': 'h',
    'uint32': 'I',
    'int32': 'i',
    'uint64': 'Q',
    'int64': 'q',
    'float': 'f',
    'double': 'd',
}

_STAMP = ('header.stamp.sec', 'header.stamp.nanosec')
_ARRAY = (*_STAMP, 'detections')
_FRAME_ID = 'header.frame_id'
_BOX = (
    'results.0.hypothesis.score',
    'bbox.center.position.x',
    'bbox.center.position.y',
    'bbox.size_x',
    'bbox.size_y',
)


class TemplateError(YoloxTrtRosError):
    """A message definition is not what templates can be made of; typed messages still work."""


class Template:
    """One message, or a part of one, as bytes.

    Args:
        message: what is serialised.
        start: position in the whole message's body at which it begins.
        head: what stands before it, of no influence on alignment.

    Attributes:
        data: the bytes, head and padding in front included.
        at: position of each number in ``data`` by its dotted path, such as ``results.0.score``;
            a sequence's own path gives the position of its count.

    Raises:
        TemplateError: the message has a member of a type that is not supported.
    """

    def __init__(self, message: Any, start: int = 0, head: bytes = b'') -> None:
        self.data = bytearray(head)
        self.at: dict[str, int] = {}
        self._start = start - len(head)
        self._message(message, '')

    def with_frame_id(self, raw: bytes) -> Template:
        """Return the template of the same message with another frame_id in its header.

        Args:
            raw: its bytes, the last one zero. It is as long as the one here but for a multiple of
                eight, so that no alignment changes.
        """
        if _FRAME_ID not in self.at:
            return self
        length = self.at[_FRAME_ID]
        begin = length + struct.calcsize('=I')
        (size,) = struct.unpack_from('=I', self.data, length)
        other = copy(self)
        other.data = self.data[:begin] + raw + self.data[begin + size :]
        struct.pack_into('=I', other.data, length, len(raw))
        more = len(raw) - size
        other.at = {path: at + more if at > begin else at for path, at in self.at.items()}
        return other

    def only(self, paths: Sequence[str]) -> Template:
        """Return it with the positions of these numbers, and of the frame_id, only.

        Raises:
            KeyError: it has not all of them.
        """
        other = copy(self)
        other.at = {path: self.at[path] for path in paths}
        if _FRAME_ID in self.at:
            other.at[_FRAME_ID] = self.at[_FRAME_ID]
        return other

    def put(self, path: str, code: str, value: Any) -> None:
        """Replace a number; ``code`` is its :mod:`struct` letter."""
        struct.pack_into('=' + code, self.data, self.at[path], value)

    def _message(self, message: Any, path: str) -> None:
        names = message.get_fields_and_field_types()
        for name, kind in zip(names, message.SLOT_TYPES, strict=True):
            self._member(kind, getattr(message, name), path + name)

    def _member(self, kind: Any, value: Any, path: str) -> None:
        if isinstance(kind, definition.BasicType) and kind.typename in _CODES:
            self._number(_CODES[kind.typename], value, path)
        elif isinstance(kind, definition.AbstractString):
            raw = _as_bytes(value)
            self._number('I', len(raw), path)
            self.data += raw
        elif isinstance(kind, definition.NamespacedType):
            self._message(value, path + '.')
        elif isinstance(kind, definition.AbstractNestedType):
            if not isinstance(kind, definition.Array):
                self._number('I', len(value), path)
            for index, item in enumerate(value):
                self._member(kind.value_type, item, f'{path}.{index}')
        else:
            raise TemplateError(f'{path}: no template can be made of a member of type {kind}')

    def _number(self, code: str, value: Any, path: str) -> None:
        size = struct.calcsize('=' + code)
        self.data += bytes(-(self._start + len(self.data)) % size)
        self.at[path] = len(self.data)
        self.data += struct.pack('=' + code, value)


def _as_bytes(text: str) -> bytes:
    return text.encode().partition(b'\0')[0] + b'\0'  # ROS's strings end there too


def _alike(frame_id: str) -> str:
    """Return the shortest frame_id that moves what is behind it as this one does, modulo eight."""
    return 'f' * ((len(_as_bytes(frame_id)) - 1) % 8)


FRAME_IDS = 4
"""Frame ids of a camera whose templates are kept at a time; others are made of one alike."""

SHAPES = 16
"""Strings of ``CameraLatency``, mostly lanes, whose templates are kept at a time."""


class DetectionsWriter:
    """Writes one camera's ``Detection2DArray`` messages.

    A frame_id is in every element and moves what is behind it, so each has templates of its own.
    Those of a new one are those of one alike with other bytes, as a driver may change it with every
    image: messages are serialised for each class, alignment and length modulo eight once only.

    Args:
        class_ids: what ``class_id`` says for each class.

    Raises:
        MissingDependencyError: the C++ part, which puts the numbers in, was not built.
    """

    def __init__(self, class_ids: Sequence[str]) -> None:
        self._new_writer = load_native().BoxWriter
        self._class_ids = class_ids
        self._of_frame_id = lru_cache(FRAME_IDS)(self._begin)
        self._front = lru_cache(None)(self._new_front)
        self._element = lru_cache(None)(self._new_element)

    def write(self, frame: Frame, found: Detections) -> BoxWriter:
        """Write the message that :func:`messages.detections_message` builds, serialised.

        Args:
            frame: the image.
            found: its detections.

        Returns:
            What holds the message until the next one is written: its ``publish`` takes it from
            there, its ``message`` copies it.

        Raises:
            TemplateError: no template can be made of the installed ``Detection2D``.
        """
        boxes = self._of_frame_id(frame.frame_id)
        seconds, nanoseconds = divmod(frame.stamp_ns, 1_000_000_000)
        while missing := boxes.write(seconds, nanoseconds, found.xyxy, found.score, found.class_id):
            self._learn(boxes, frame, *missing)
        return boxes

    def _learn(self, boxes: BoxWriter, frame: Frame, class_id: int, phase: int) -> None:
        """Make the template of one detection of a class that begins at ``phase`` modulo 8."""
        alike = self._element(_alike(frame.frame_id), class_id, phase)
        element = alike.with_frame_id(_as_bytes(frame.frame_id))
        try:
            places = [element.at[path] for path in _STAMP + _BOX]
            boxes.learn(class_id, phase, bytes(element.data), places)
        except IndexError as error:
            raise TemplateError(f'Detection2D: {error}') from error

    def _new_element(self, frame_id: str, class_id: int, phase: int) -> Template:
        zeros = np.zeros((1, 4), np.float32)
        one = Detections(zeros, np.zeros(1, np.float32), np.array([class_id], np.int32))
        nothing = np.zeros(1, np.uint8)
        frame = Frame('', 0, 0, 0, frame_id, 'mono8', 1, 1, 1, nothing)
        message = detections_message(frame, one, self._class_ids)
        try:
            return Template(message.detections[0], phase).only(_STAMP + _BOX)
        except KeyError as error:
            raise TemplateError(f'Detection2D has no member {error}') from error

    def _begin(self, frame_id: str) -> BoxWriter:
        """Return the writer of arrays that begin with this frame_id."""
        front = self._front(_alike(frame_id)).with_frame_id(_as_bytes(frame_id))
        places = [front.at[path] for path in _ARRAY]
        return self._new_writer(bytes(front.data), len(ENCAPSULATION), places)

    def _new_front(self, frame_id: str) -> Template:
        message = Detection2DArray(header=Header(frame_id=frame_id))
        try:
            return Template(message, head=ENCAPSULATION).only(_ARRAY)
        except KeyError as error:
            raise TemplateError(f'Detection2DArray has no member {error}') from error


class LatencyWriter:
    """Writes one camera's ``CameraLatency`` messages."""

    def __init__(self) -> None:
        self._of_shape = lru_cache(SHAPES)(self._begin)
        self._alike = lru_cache(8 * SHAPES)(_latency_template)

    def write(self, frame: Frame, trace: FrameTrace, now_ns: int) -> bytearray:
        """Return the message that :func:`messages.latency_message` builds, serialised.

        It is good until the next one is written.

        Args:
            frame: the image.
            trace: its finished trace.
            now_ns: the node's clock at publication.
        """
        template = self._of_shape(frame.frame_id, trace.camera, trace.lane)
        put = template.put
        seconds, nanoseconds = divmod(frame.stamp_ns, 1_000_000_000)
        put('header.stamp.sec', 'i', seconds)
        put('header.stamp.nanosec', 'I', nanoseconds)
        put('batch_size', 'H', trace.batch_size)
        put('drops', 'I', trace.drops)
        for stage, duration in trace.stages_ns().items():
            put(f'{stage}_ns', 'q', duration)
        put('total_ns', 'q', trace.total_ns)
        put('age_ns', 'q', now_ns - frame.stamp_ns)
        return template.data

    def _begin(self, frame_id: str, camera: str, lane: str) -> Template:
        alike = self._alike(_alike(frame_id), camera, lane)
        return alike.with_frame_id(_as_bytes(frame_id))


def _latency_template(frame_id: str, camera: str, lane: str) -> Template:
    """Return that of messages with these strings."""
    message = CameraLatency(header=Header(frame_id=frame_id), camera=camera, lane=lane)
    return Template(message, head=ENCAPSULATION)


def check(class_ids: Sequence[str]) -> None:
    """Have ROS read what both writers write, and compare sizes with its own serialisation.

    Strings of all lengths modulo eight, and so elements of all alignments, are among them.

    Args:
        class_ids: what ``class_id`` says for each class.

    Raises:
        TemplateError: a message differs, or no template can be made of it.
        MissingDependencyError: the C++ part was not built.
    """
    detections, latency = DetectionsWriter(class_ids), LatencyWriter()
    random = np.random.default_rng(0)
    lengths = {len(name.encode()): index for index, name in enumerate(class_ids)}
    classes = np.array([*lengths.values()] * 2, np.int32)
    for length in range(8):
        frame = _example(9 * length, 2**60 + length)  # of which templates of one alike are made
        for n in {0, min(1, len(classes)), len(classes)}:
            found = Detections(
                random.random((n, 4), np.float32) * 1000,
                random.random(n, np.float32),
                classes[:n],
            )
            written = detections.write(frame, found).message()
            _compare(written, detections_message(frame, found, class_ids))
        steps = range(10, 10 + (len(STAGES) + 1) * (length + 1), length + 1)
        trace = FrameTrace('c' * length, 1, 'lane', 2, length, *steps)
        written = bytes(latency.write(frame, trace, 2**61))
        _compare(written, latency_message(frame, trace, 2**61))


def _compare(written: bytes, message: Any) -> None:
    # ROS leaves whatever was in memory in the padding, so bytes cannot be compared.
    size = len(serialize_message(message))
    if size != len(written):
        differs = f'expected {size} bytes, wrote {len(written)}'
    elif deserialize_message(written, type(message)) != message:
        differs = f'ROS reads other values out of the {size} bytes'
    else:
        return
    raise TemplateError(
        f'{type(message).__name__} as this ROS 2 has it is serialised otherwise than its '
        f'templates: {differs}'
    )


def _example(length: int, stamp_ns: int) -> Frame:
    return Frame('c', 0, stamp_ns, 0, 'f' * length, 'mono8', 1, 1, 1, np.zeros(1, np.uint8))
