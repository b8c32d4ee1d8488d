"""Serialised image messages in, frames out; detections in, messages out.

Images are read straight from the CDR bytes (OMG DDS-XTypes 7.4, plain CDR version 1) that a raw
subscription delivers: the pixels of a 7 MB image are never copied into Python objects.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from yolox_trt_ros.core.encodings import COMPRESSED
from yolox_trt_ros.core.errors import DropReason, FrameError
from yolox_trt_ros.core.frame import MAX_SIDE, Frame, check_layout
from yolox_trt_ros.core.jpeg import read_head

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
    """

    camera: str
    sequence: int
    received_ns: int


def read_image(message: bytes, arrival: Arrival) -> Frame:
    """Return the frame in a serialised ``sensor_msgs/Image``; its data is a view on ``message``.

    Raises:
        FrameError: ``malformed`` or ``unsupported``.
    """
    reader = CdrReader(message)
    stamp_ns, frame_id = _header(reader)
    height, width = reader.number('I'), reader.number('I')
    encoding = reader.text()
    reader.number('B')  # is_bigendian says nothing about 8-bit channels
    step = reader.number('I')
    data = reader.payload()
    name = check_layout(encoding, height, width, step, len(data))
    return Frame(
        arrival.camera,
        arrival.sequence,
        stamp_ns,
        arrival.received_ns,
        frame_id,
        name,
        height,
        width,
        step,
        data,
    )


def read_compressed_image(message: bytes, arrival: Arrival) -> Frame:
    """Return the frame in a serialised ``sensor_msgs/CompressedImage``, not yet decoded.

    Size and kind come from the payload's own header; ``format`` is free text that drivers fill in
    their own ways.

    Raises:
        FrameError: ``malformed``, ``unsupported`` or ``undecodable``.
    """
    reader = CdrReader(message)
    stamp_ns, frame_id = _header(reader)
    label = reader.text()
    data = reader.payload()
    kind, height, width = compressed_size(data, label)
    return Frame(
        arrival.camera,
        arrival.sequence,
        stamp_ns,
        arrival.received_ns,
        frame_id,
        kind,
        height,
        width,
        0,
        data,
    )


def _header(reader: CdrReader) -> tuple[int, str]:
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


def compressed_size(data: np.ndarray, label: str) -> tuple[str, int, int]:
    """Return (``jpeg`` or ``png``, height, width) from the first bytes of a compressed image.

    Args:
        data: uint8 (n,).
        label: the message's ``format``, for the error only.

    Raises:
        FrameError: ``unsupported``: neither JPEG nor PNG; ``undecodable``: its header is damaged.
    """
    head = data[:26].tobytes()
    if head.startswith(b'\xff\xd8'):
        jpeg = read_head(data)
        kind, size = 'jpeg', (jpeg.height, jpeg.width)
    elif head.startswith(b'\x89PNG\r\n\x1a\n'):
        kind, size = 'png', struct.unpack('>II', head[16:24])[::-1] if len(head) >= 24 else (0, 0)
    else:
        raise FrameError(
            DropReason.UNSUPPORTED,
            f'format "{label[:40]}", payload starting with {head[:4].hex()}: '
            f'expected one of {", ".join(COMPRESSED)}',
        )
    if not all(0 < side <= MAX_SIDE for side in size):
        raise FrameError(
            DropReason.UNDECODABLE,
            f'{kind} of {len(data)} bytes: expected an image size, got {size[1]}x{size[0]}',
        )
    return kind, size[0], size[1]


READERS = {'raw': read_image, 'compressed': read_compressed_image}
"""Reader of each transport."""
