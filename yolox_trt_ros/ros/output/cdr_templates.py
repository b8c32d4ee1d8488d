"""Write the messages of every frame as CDR bytes from templates.

A message is serialised once, field by field as its installed definition says, and the place of
every number is noted. The next message of the same shape is those bytes with other numbers.
:func:`check` proves at start that ROS reads what was meant.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from rclpy.serialization import deserialize_message, serialize_message
from std_msgs.msg import Header

from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.messages import seconds_and_rest
from yolox_trt_ros.core.trace import STAGES, FrameTrace
from yolox_trt_ros.ros.native import load_native
from yolox_trt_ros.ros.output.cdr_template import ENCAPSULATION, Template, as_bytes
from yolox_trt_ros.ros.output.cdr_template import TemplateError as TemplateError
from yolox_trt_ros.ros.output.message_kinds import STAMP, TRACKED, FoundMessage, TraceMessage

if TYPE_CHECKING:
    from yolox_trt_ros._native import BoxWriter


def _alike(frame_id: str) -> str:
    """Return the shortest frame_id that moves what is behind it as this one does, modulo eight."""
    return 'f' * ((len(as_bytes(frame_id)) - 1) % 8)


FRAME_IDS = 4
"""Frame ids of a camera whose templates are kept at a time; others are made of one alike."""

SHAPES = 16
"""Strings of a trace's message, mostly lanes, whose templates are kept at a time."""


class FoundWriter:
    """Writes one camera's messages of detections.

    A frame_id may be in every element and moves what is behind it, so each has templates of its
    own. Those of a new one are those of one alike with other bytes, as a driver may change it with
    every image: messages are serialised once for each class, alignment and length modulo eight.

    Args:
        message: how typed ones are built, and what their numbers are.

    Raises:
        MissingDependencyError: the C++ part, which puts the numbers in, was not built.
    """

    def __init__(self, message: FoundMessage) -> None:
        self._new_writer = load_native().BoxWriter
        self._message = message
        self._of_frame_id = lru_cache(FRAME_IDS)(self._begin)
        self._front = lru_cache(None)(self._new_front)
        self._element = lru_cache(None)(self._new_element)
        self._labels = message.labels
        self._inner = any(name.startswith('inner_') for name in message.numbers.values())

    def write(self, frame: Frame, found: Detections) -> BoxWriter:
        """Return the message that ``build`` returns, serialised; valid until the next call.

        Args:
            frame: the image.
            found: its detections.

        Raises:
            TemplateError: no template can be made of the installed message.
        """
        if found.labels is not self._labels and len(found):
            self._rename(found.labels)
        if self._message.prepare:
            found = self._message.prepare(frame, found)
        boxes = self._of_frame_id(frame.frame_id)
        if self._inner:
            boxes.set_image(frame.width, frame.height)
        seconds, nanoseconds = seconds_and_rest(frame.stamp_ns)
        arrays = [found.xyxy, found.score, found.class_id]
        if self._message.track and found.track_id is not None:
            arrays.append(found.track_id)
        while missing := boxes.write(seconds, nanoseconds, *arrays):
            self._learn(boxes, frame.frame_id, *missing)
        return boxes

    def _rename(self, labels: Sequence[str]) -> None:
        """Forget the templates: classes have other names now, and these may be in them."""
        self._labels = labels
        self._of_frame_id.cache_clear()
        self._element.cache_clear()

    def _learn(self, boxes: BoxWriter, frame_id: str, which: int, phase: int) -> None:
        """Make the template of one detection that begins at ``phase`` modulo 8.

        Args:
            boxes: gets it.
            frame_id: of the image.
            which: the class; plus ``TRACKED`` if the detection has a track.
            phase: where it begins.
        """
        alike = self._element(_alike(frame_id), which, phase)
        element = alike.with_frame_id(as_bytes(frame_id))
        numbers = element.numbers(self._message.numbers)
        if which >= TRACKED:
            length, code = element.at[self._message.track]
            numbers.append((length + struct.calcsize('=' + code), 'track_id', 's'))
        try:
            boxes.learn(which, phase, bytes(element.data), numbers)
        except (IndexError, ValueError) as error:
            raise TemplateError(f'{self._message.elements}: {error}: {numbers}') from error

    def _new_element(self, frame_id: str, which: int, phase: int) -> Template:
        zeros, track = np.zeros((1, 4), np.float32), np.array([which >= TRACKED]) - 1
        class_id = np.array([which % TRACKED], np.int32)
        one = Detections(zeros, zeros[:, 0], class_id, self._labels, track)
        elements = self._message.build(_example(frame_id, 0), one)
        for name in self._message.elements.split('.'):
            elements = getattr(elements, name)
        places = [*self._message.numbers, *filter(None, [self._message.track])]
        return Template(elements[0], phase).only(places)

    def _begin(self, frame_id: str) -> BoxWriter:
        """Return the writer of messages that begin with this frame_id."""
        front = self._front(_alike(frame_id)).with_frame_id(as_bytes(frame_id))
        count, _ = front.at[self._message.elements]
        return self._new_writer(bytes(front.data), front.numbers(STAMP), len(ENCAPSULATION), count)

    def _new_front(self, frame_id: str) -> Template:
        empty = self._message.build(_example(frame_id, 0), Detections.empty())
        front = Template(empty, head=ENCAPSULATION).only([*STAMP, self._message.elements])
        if front.at[self._message.elements][0] + 4 != len(front.data):
            raise TemplateError(f'{self._message.elements}: expected the last member')
        return front


class TraceWriter:
    """Writes one camera's messages of traces.

    Args:
        message: what is in them.
    """

    def __init__(self, message: TraceMessage) -> None:
        self._message = message
        self._of_shape = lru_cache(SHAPES)(self._begin)
        self._like = lru_cache(8 * SHAPES)(self._new)

    def write(self, frame: Frame, trace: FrameTrace, now_ns: int) -> bytearray:
        """Return the message that ``build`` returns, serialised; valid until the next call.

        Args:
            frame: the image.
            trace: its finished trace.
            now_ns: the node's clock at publication.
        """
        strings = self._message.strings(frame, trace, now_ns)
        template = self._of_shape(frame.frame_id, *strings.items())
        seconds, nanoseconds = seconds_and_rest(frame.stamp_ns)
        template.put('header.stamp.sec', seconds)
        template.put('header.stamp.nanosec', nanoseconds)
        for name, value in self._message.numbers(frame, trace, now_ns).items():
            template.put(name, value)
        return template.data

    def _begin(self, frame_id: str, *strings: tuple[str, str]) -> Template:
        return self._like(_alike(frame_id), *strings).with_frame_id(as_bytes(frame_id))

    def _new(self, frame_id: str, *strings: tuple[str, str]) -> Template:
        message = self._message.kind(header=Header(frame_id=frame_id), **dict(strings))
        return Template(message, head=ENCAPSULATION)


def writer_of(message: FoundMessage | TraceMessage) -> FoundWriter | TraceWriter:
    """Return a new writer of a message.

    Raises:
        MissingDependencyError: it needs the C++ part, which was not built.
    """
    return FoundWriter(message) if isinstance(message, FoundMessage) else TraceWriter(message)


MOST_CHECKED = 16
"""Classes whose elements are checked; elements differ only in the length of their strings."""


def check(message: FoundMessage | TraceMessage) -> None:
    """Have ROS read what a writer writes, and compare sizes with its own serialisation.

    Strings of all lengths modulo eight, and so elements of all alignments, are among them.

    Raises:
        TemplateError: a message differs, or no template can be made of it.
        MissingDependencyError: the C++ part was not built.
    """
    writer: Any = writer_of(message)
    for length in range(8):
        frame = _example('f' * 9 * length, 2**60 + length)  # made of templates of one alike
        for what in (_found if isinstance(message, FoundMessage) else _traces)(message, length):
            _compare(bytes(writer.write(frame, *what)), message.build(frame, *what))


def _found(message: Any, seed: int) -> Iterator[tuple[Any, ...]]:
    random = np.random.default_rng(seed)
    step = -(-message.classes // MOST_CHECKED) or 1
    classes = np.array([*range(0, message.classes, step)] * 2, np.int32)
    for n in {0, min(1, len(classes)), len(classes)}:
        corners = np.sort(random.random((n, 2, 2), np.float32) * 1200 - 100, 1).reshape(n, 4)
        scores = random.random(n, np.float32)
        tracks = random.integers(-(10**9), 10**9, n) if message.track else None
        yield (Detections(corners, scores, classes[:n], message.labels, tracks),)


def _traces(_message: Any, length: int) -> Iterator[tuple[Any, ...]]:
    steps = range(10, 10 + (len(STAGES) + 1) * (length + 1), length + 1)
    yield FrameTrace('c' * length, 1, 'lane', 2, length, *steps), 2**61


def _compare(written: bytes, message: Any) -> None:
    # ROS leaves whatever was in memory in the padding, so bytes cannot be compared.
    size = len(serialize_message(message))
    if size != len(written):
        differs = f'expected {size} bytes, wrote {len(written)}'
    elif deserialize_message(written, type(message)) != message:
        differs = f'ROS reads other values from the {size} bytes'
    else:
        return
    raise TemplateError(
        f'{type(message).__name__} as this ROS 2 has it is serialised otherwise than its '
        f'templates: {differs}'
    )


def _example(frame_id: str, stamp_ns: int) -> Frame:
    return Frame('c', 0, stamp_ns, 0, frame_id, 'mono8', 750, 1000, 1000, np.zeros(1, np.uint8))
