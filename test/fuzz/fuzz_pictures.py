"""Image files and image messages: markers, heads, layouts, and decoding on the CPU."""

from __future__ import annotations

import io
import os
import random
import struct
import sys
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from harness import Target
from mutation import NUMBERS, TEXTS, damaged
from PIL import Image

sys.path.append(str(Path(__file__).resolve().parents[1]))

from image_bombs import many_scans, png

from yolox_trt_ros.core import jpeg
from yolox_trt_ros.core.encodings import RAW
from yolox_trt_ros.core.errors import FrameError
from yolox_trt_ros.core.image_files import read_file_head, read_kind
from yolox_trt_ros.core.layouts import raw_layout
from yolox_trt_ros.detect.cpu.preprocess import bgr_image
from yolox_trt_ros.ros.input.codecs import Arrival
from yolox_trt_ros.ros.input.readers import new_reader

ARRIVAL = Arrival('front', 0, 0)
LABELS = (
    '', 'jpeg', 'png', 'bgr8; jpeg compressed bgr8', 'bayer_rggb8; png compressed bayer_rggb8',
    'bayer_gbrg16; jpeg compressed ', 'mono16; png compressed', '16UC1; compressedDepth png', ';;',
    'compressed compressed', *TEXTS,
)  # fmt: skip
ENCODINGS = (*RAW, 'yuv422', 'YUY2', '8UC3', '32FC1', 'rgb', 'bayer_', *TEXTS)
LARGEST = 1 << 20
"""Pixels of pictures that are decoded here; larger ones cost time and memory, not safety."""


@cache
def pictures() -> list[bytes]:
    """Return small sound files of all kinds, from which damage starts."""
    colour = np.random.default_rng(1).integers(0, 256, (24, 32, 3), np.uint8)
    made = [cv2.imencode(end, colour)[1].tobytes() for end in ('.jpg', '.png', '.webp')]
    made += [cv2.imencode(end, colour[:, :, 0])[1].tobytes() for end in ('.jpg', '.png')]
    made.append(cv2.imencode('.png', colour.astype(np.uint16) * 257)[1].tobytes())
    made.append(cv2.imencode('.webp', colour, [cv2.IMWRITE_WEBP_QUALITY, 101])[1].tobytes())
    for mode, options in (
        ('RGB', {'progressive': True}), ('RGB', {'optimize': True}), ('CMYK', {}),
        ('RGB', {'restart_marker_blocks': 1}), ('RGB', {'comment': b'\xff\xd8\xff\xd9' * 30}),
    ):  # fmt: skip
        data = io.BytesIO()
        Image.fromarray(colour).convert(mode).save(data, 'JPEG', **options)
        made.append(data.getvalue())
    made += [many_scans(32, 24, 3), png(32, 24, interlaced=True), png(32, 24, pieces=3)]
    cut = made[0].rindex(b'\xff\xc4')
    return [*made, made[0][:-2], made[0][:cut] + made[0][made[0].index(b'\xff\xda') :]]


def segments(source: random.Random) -> bytes:
    """Return a JPEG put together from segments of any kind, order and length."""
    data = b'\xff\xd8'
    for _ in range(source.randrange(1, 30)):
        code = source.choice((*range(0xC0, 0xE2), 0xFE, 0x01, source.randrange(256)))
        body = source.randbytes(source.choice((0, 1, 2, 4, 6, 10, 17, 65)))
        if code in range(0xC0, 0xD0) and code not in (0xC4, 0xC8, 0xCC):
            n = source.choice((0, 1, 3, 4, 255))
            size = source.choice((0, 1, 24, 32, 65535)), source.choice((0, 1, 32, 65535))
            body = struct.pack('>BHHB', source.choice((8, 12, 0)), *size, n)
            body += b''.join(bytes((i, source.choice((0x11, 0x22, 0, 0xFF)), 0)) for i in range(n))
        if code == 0xDA:
            n = source.choice((0, 1, 3, 4))
            body = bytes((n, *(b for i in range(n) for b in (i, 0)), 0, 63, 0))
        length = source.choice((len(body) + 2,) * 9 + (0, 1, 65535))
        data += bytes((0xFF, code)) + struct.pack('>H', length) + body
        if code == 0xDA:
            data += source.randbytes(source.randrange(80)) + source.choice((b'', b'\xff\xd0'))
    return data + source.choice((b'', b'\xff\xd9', b'\xff', b'\xff\xd9' + bytes(50)))


def make_picture(source: random.Random) -> bytes:
    """Return an image file that is damaged, cut, put together anew or followed by another."""
    if source.random() < 0.2:
        return segments(source)
    data = source.choice(pictures())
    if source.random() < 0.9:
        data = damaged(data, source)
    if source.random() < 0.2:
        other = source.choice(pictures())
        data = source.choice((data + other, other[: source.randrange(len(other))] + data))
    return data


def walk(data: bytes) -> None:
    """Read what the file says of itself, without decoding."""
    view = np.frombuffer(data, np.uint8)
    read_kind(view)
    read_file_head(view)
    jpeg.find_start(view, 1 << 16)
    if data[:2] == b'\xff\xd8':
        jpeg.read_head(view)
        jpeg.with_tables(view, jpeg.read_jpeg(view))


def image_cdr(head: bytes, label: str, rest: bytes) -> bytes:
    """Return a little-endian message: header, numbers, a text, and what follows it."""
    text = label.encode('utf-8', 'surrogatepass') + b'\0'
    data = b'\0\1\0\0' + struct.pack('<iII4s', 5, 6, 4, b'cam\0') + head
    return data + struct.pack('<I', len(text)) + text + bytes(-len(text) % 4) + rest


def make_compressed(source: random.Random) -> bytes:
    """Return a sound CompressedImage with a file that may be anything."""
    data = make_picture(source)
    return image_cdr(b'', source.choice(LABELS), struct.pack('<I', len(data)) + data)


def make_raw(source: random.Random) -> tuple[str, bytes]:
    """Return a message of either kind: numbers that lie, or any damage."""
    if source.random() < 0.3:
        return 'compressed', damaged(make_compressed(source), source)
    encoding = source.choice(ENCODINGS)
    height, width = source.choice((0, 1, 4, 6, 24)), source.choice((0, 1, 8, 12, 32))
    layout = RAW.get(encoding)
    step = layout.min_step(width) if layout else 3 * width
    size = layout.size(height, width, step) if layout else height * step
    numbers = [height, width, step, size]
    if source.random() < 0.5:
        numbers[source.randrange(3)] = source.choice((*NUMBERS, 16384, 16385)) % 2**32
    rest = struct.pack('<B3xII', source.randrange(3), *numbers[2:])
    data = image_cdr(struct.pack('<II', *numbers[:2]), encoding, rest + source.randbytes(size))
    return 'raw', damaged(data, source) if source.random() < 0.5 else data


def read_message(made: tuple[str, bytes]) -> None:
    """Read a message as plain mode does and decode its pixels."""
    transport, message = made
    frame = new_reader(transport)(message, ARRIVAL)
    if frame.height * frame.width <= LARGEST:
        image = bgr_image(frame)
        assert image.shape == (frame.height, frame.width, 3), 'decoded another size'


def make_layout(source: random.Random) -> tuple[str, int, int, int, int]:
    """Return numbers of a raw image."""
    numbers = [source.choice((*NUMBERS, source.randrange(5000), 16384)) for _ in range(4)]
    return (source.choice(ENCODINGS), *numbers)  # type: ignore[return-value]


def quiet() -> None:
    """Keep OpenCV's threads out of forked processes, and what its codecs say out of the table."""
    cv2.setNumThreads(0)
    sys.stderr = os.fdopen(os.dup(2), 'w')  # a broken target still shows
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


_ERRORS = (FrameError,)
TARGETS = [
    Target('image_files', make_picture, walk, (), seconds=30.0, share=0.1),
    Target('image_layouts', make_layout, lambda made: raw_layout(*made), _ERRORS, share=0.2),
    Target('image_messages', make_raw, read_message, _ERRORS, 30.0, 2048, quiet, 0.1),
    Target(
        'image_decoding', make_compressed, lambda m: read_message(('compressed', m)), _ERRORS,
        30.0, 2048, quiet, 0.05,
    ),
]  # fmt: skip
