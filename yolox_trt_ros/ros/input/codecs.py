"""Decode serialised image messages into frames, for all input modes.

Images are read straight from the CDR bytes (OMG DDS-XTypes 7.4, plain CDR version 1) that a raw
subscription delivers: the pixels of a 7 MB image are never copied into Python objects.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from yolox_trt_ros.core.errors import DropReason, FrameError
from yolox_trt_ros.core.frame import FOUND, Frame
from yolox_trt_ros.core.layouts import compressed_layout, raw_layout

if TYPE_CHECKING:
    from yolox_trt_ros._native import Image as NativeImage

# Longer names are damaged messages, not names.
MAX_STRING = 4096


class CdrReader:
    """Reads one CDR message front to back and never beyond its end.

    Raises:
        FrameError: ``malformed``: the message ends early, or has another representation.
    """

    def __init__(self, message: bytes) -> None:
        if len(message) < 4 or message[0] != 0 or message[1] not in (0, 1):
            raise FrameError(
                DropReason.MALFORMED,
                f'expected a plain CDR message, got {len(message)} bytes '
                f'starting with {message[:4].hex()}',
            )
        self._message = message
        self._order = '<' if message[1] else '>'
        self._position = 4
        # Of a message filled up to a multiple of four the header's last bits say by how much.
        self._end = len(message) - (0 if len(message) % 4 else message[3] & 3)

    def number(self, code: str) -> int:
        """Read one integer; ``code`` is its :mod:`struct` letter."""
        size = struct.calcsize(code)
        # Alignment counts from behind the four bytes of encapsulation header.
        start = self._position + (4 - self._position) % size
        self._need(start, size)
        self._position = start + size
        value: int = struct.unpack_from(self._order + code, self._message, start)[0]
        return value

    def text(self) -> str:
        """Read a string."""
        size = self.number('I')
        if not 1 <= size <= MAX_STRING:
            raise FrameError(
                DropReason.MALFORMED, f'string of {size} bytes: expected 1 to {MAX_STRING}'
            )
        self._need(self._position, size)
        raw = self._message[self._position : self._position + size - 1]
        self._position += size
        return raw.decode('utf-8', errors='replace')

    def payload(self) -> np.ndarray:
        """Read a sequence of bytes: uint8 (n,), a view that keeps the message alive."""
        size = self.number('I')
        self._need(self._position, size)
        view = np.frombuffer(self._message, np.uint8, size, self._position)
        self._position += size
        return view

    def _need(self, start: int, size: int) -> None:
        if start + size > self._end:
            raise FrameError(
                DropReason.MALFORMED,
                f'message ends early: expected {size} bytes at {start}, has {self._end}',
            )


@dataclass(frozen=True, slots=True)
class Arrival:
    """What is known of a message before it is read.

    Attributes:
        camera: the camera's name.
        sequence: its arrival number.
        received_ns: monotonic arrival time.
        levels: see :class:`core.frame.Frame`.
    """

    camera: str
    sequence: int
    received_ns: int
    levels: tuple[int, int] = FOUND


@dataclass(frozen=True, slots=True)
class ImageHead:
    """What an ``Image`` message says of its payload, as it says it."""

    encoding: str
    height: int
    width: int
    step: int
    big_endian: bool


def read_image(message: bytes, arrival: Arrival) -> Frame:
    """Return the frame in a serialised ``sensor_msgs/Image``; its data is a view on ``message``.

    Raises:
        FrameError: ``malformed`` or ``unsupported``.
    """
    reader = CdrReader(message)
    stamp_ns, frame_id = read_header(reader)
    height, width = reader.number('I'), reader.number('I')
    encoding = reader.text()
    big_endian, step = bool(reader.number('B')), reader.number('I')
    head = ImageHead(encoding, height, width, step, big_endian)
    return raw_frame(arrival, stamp_ns, frame_id, head, reader.payload())


def read_compressed_image(message: bytes, arrival: Arrival) -> Frame:
    """Return the frame in a serialised ``sensor_msgs/CompressedImage``, not yet decoded.

    Raises:
        FrameError: ``malformed``, ``unsupported`` or ``undecodable``.
    """
    reader = CdrReader(message)
    stamp_ns, frame_id = read_header(reader)
    label = reader.text()
    return compressed_frame(arrival, stamp_ns, frame_id, label, reader.payload())


def read_native_image(image: NativeImage, arrival: Arrival) -> Frame:
    """Return the frame of an Image that the C++ part took; its data is a view on the ring's buffer.

    Raises:
        FrameError: ``malformed`` or ``unsupported``.
    """
    stamp, data = _native_content(image)
    head = ImageHead(image.encoding, image.height, image.width, image.step, image.big_endian)
    return raw_frame(arrival, stamp, image.frame_id, head, data)


def read_native_compressed_image(image: NativeImage, arrival: Arrival) -> Frame:
    """Return the frame of a CompressedImage that the C++ part took, not yet decoded.

    Raises:
        FrameError: ``malformed``, ``unsupported`` or ``undecodable``.
    """
    stamp, data = _native_content(image)
    return compressed_frame(arrival, stamp, image.frame_id, image.encoding, data)


def _native_content(image: NativeImage) -> tuple[int, np.ndarray]:
    """Return stamp and payload."""
    if image.problem:
        raise FrameError(DropReason.MALFORMED, image.problem)
    # numpy refuses buffers without a single element
    data = np.frombuffer(memoryview(image), np.uint8) if len(image) else np.empty(0, np.uint8)
    return stamp_ns(image.seconds, image.nanoseconds), data


def raw_frame(
    arrival: Arrival, stamp_ns: int, frame_id: str, head: ImageHead, data: np.ndarray
) -> Frame:
    """Return the frame of an ``Image`` message's parts.

    Raises:
        FrameError: ``malformed`` or ``unsupported``.
    """
    name, height, step = raw_layout(head.encoding, head.height, head.width, head.step, len(data))
    return Frame(
        arrival.camera,
        arrival.sequence,
        stamp_ns,
        arrival.received_ns,
        frame_id,
        name,
        height,
        head.width,
        step,
        data,
        levels=arrival.levels,
        big_endian=head.big_endian,
    )


def compressed_frame(
    arrival: Arrival, stamp_ns: int, frame_id: str, label: str, data: np.ndarray
) -> Frame:
    """Return the frame of a ``CompressedImage`` message's parts, not yet decoded.

    Raises:
        FrameError: see :func:`core.layouts.compressed_layout`.
    """
    head, content, data = compressed_layout(data, label)
    return Frame(
        arrival.camera,
        arrival.sequence,
        stamp_ns,
        arrival.received_ns,
        frame_id,
        head.kind,
        head.height,
        head.width,
        0,
        data,
        content=content,
        levels=arrival.levels,
    )


def read_header(reader: CdrReader) -> tuple[int, str]:
    """Return stamp, nanoseconds, and frame_id, with which a message begins."""
    return stamp_ns(reader.number('i'), reader.number('I')), reader.text()


def stamp_ns(seconds: int, nanoseconds: int) -> int:
    """Return a header stamp in nanoseconds.

    Raises:
        FrameError: ``malformed``: the stamp's own nanoseconds are a second or more.
    """
    if nanoseconds >= 1_000_000_000:
        raise FrameError(
            DropReason.MALFORMED, f'stamp with {nanoseconds} ns: expected less than a second'
        )
    return seconds * 1_000_000_000 + nanoseconds


NATIVE_READERS = {'raw': read_native_image, 'compressed': read_native_compressed_image}
"""Readers of what the C++ part took, by transport; it takes no others."""
