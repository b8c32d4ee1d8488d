"""Read kind, size and sample format from the first bytes of an image file."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from yolox_trt_ros.core.jpeg import read_head

_PNG = b'\x89PNG\r\n\x1a\n'
_PNG_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}


@dataclass(frozen=True, slots=True)
class FileHead:
    """The head of a JPEG, PNG or WebP file.

    Attributes:
        kind: one of :data:`encodings.COMPRESSED`.
        height, width: pixels; 0 where the head is damaged.
        depth: bits of a sample; 0 where the head is damaged.
        channels: samples of a pixel; 3 for a palette of colours.
    """

    kind: str
    height: int = 0
    width: int = 0
    depth: int = 0
    channels: int = 0


def read_file_head(data: np.ndarray) -> FileHead | None:
    """Return what an image file's head says, or ``None`` if it is of no kind that is read.

    Args:
        data: uint8 (n,).
    """
    kind, head = read_kind(data), data[:32].tobytes()
    if kind == 'jpeg':
        jpeg = read_head(data)
        return FileHead(kind, jpeg.height, jpeg.width, jpeg.precision, jpeg.components)
    if kind == 'png' and len(head) >= 26:
        width, height, depth, colour = struct.unpack_from('>IIBB', head, 16)
        return FileHead(kind, height, width, depth, _PNG_CHANNELS.get(colour, 3))
    if kind == 'webp':
        width, height = _webp_pixels(head)
        return FileHead(kind, height, width, 8, 3)
    return FileHead(kind) if kind else None


def read_kind(data: np.ndarray) -> str:
    """Return of which kind a file is, one of :data:`encodings.COMPRESSED`; '' if of no such."""
    head = data[:12].tobytes()
    if head.startswith(b'\xff\xd8'):
        return 'jpeg'
    if head.startswith(_PNG):
        return 'png'
    return 'webp' if head[:4] == b'RIFF' and head[8:] == b'WEBP' else ''


def webp_size(data: np.ndarray) -> int:
    """Return how many bytes a WebP file says that it has."""
    return int.from_bytes(data[4:8].tobytes(), 'little') + 8


def _webp_pixels(head: bytes) -> tuple[int, int]:
    if len(head) < 30:
        return 0, 0
    if head[12:16] == b'VP8 ':
        width, height = struct.unpack_from('<HH', head, 26)
        return width & 0x3FFF, height & 0x3FFF
    if head[12:16] == b'VP8L':
        bits = int.from_bytes(head[21:25], 'little')
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if head[12:16] == b'VP8X':
        width, height = (int.from_bytes(head[at : at + 3], 'little') + 1 for at in (24, 27))
        return width, height
    return 0, 0
