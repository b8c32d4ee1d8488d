"""Small image files that take a decoder long, as a broken driver or an attacker sends them."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image


def progressive_jpeg(width: int, height: int) -> bytes:
    """Return a picture in about ten scans; few bytes, as it is one colour."""
    data = io.BytesIO()
    Image.new('RGB', (width, height), (90, 120, 60)).save(data, 'JPEG', progressive=True)
    return data.getvalue()


def many_scans(width: int, height: int, scans: int) -> bytes:
    """Return a small picture that is refined again and again."""
    data = progressive_jpeg(width, height)
    last = data[data.rindex(b'\xff\xda') : -2]
    return data[:-2] + last * scans + b'\xff\xd9'


def lying_jpeg(width: int, height: int) -> bytes:
    """Return a small picture whose header claims another size."""
    data = io.BytesIO()
    Image.new('RGB', (640, 480), (90, 120, 60)).save(data, 'JPEG')
    content = bytearray(data.getvalue())
    place = content.index(b'\xff\xc0') + 5
    struct.pack_into('>HH', content, place, height, width)
    return bytes(content)


def png(width: int, height: int, *, interlaced: bool = False, pieces: int = 1) -> bytes:
    """Return a black picture, whose bytes are a thousandth of its pixels'.

    Args:
        width, height: pixels.
        interlaced: in seven passes, which takes twice as long.
        pieces: how many IDAT chunks the data come in.
    """

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = zlib.crc32(kind + content)
        return struct.pack('>I', len(content)) + kind + content + struct.pack('>I', check)

    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2)]
    passes = [*passes, (0, 1, 1, 2)] if interlaced else [(0, 0, 1, 1)]
    compress, data = zlib.compressobj(1), b''
    for x, y, across, down in passes:
        columns, rows = -(-(width - x) // across), -(-(height - y) // down)
        if columns > 0 and rows > 0:
            row = bytes(1 + 3 * columns)
            data += b''.join(compress.compress(row) for _ in range(rows))
    data += compress.flush()
    step = -(-len(data) // pieces)
    head = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, interlaced)
    parts = [chunk(b'IDAT', data[at : at + step]) for at in range(0, len(data), step)]
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', head) + b''.join(parts) + chunk(b'IEND', b'')


def good_jpeg(seed: int, width: int = 640, height: int = 480) -> bytes:
    """Return an ordinary picture."""
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 16, width // 16, 3), np.uint8)
    data = io.BytesIO()
    Image.fromarray(coarse).resize((width, height)).save(data, 'JPEG', quality=85)
    return data.getvalue()


def bombs(largest: int = 6200) -> dict[str, bytes]:
    """Return one of each kind: some are refused by their header, others take their time.

    Args:
        largest: side of those that are only ever refused; making 16384² takes a minute.
    """
    return {
        'huge progressive JPEG': progressive_jpeg(largest, largest),
        'progressive JPEG of 5900²': progressive_jpeg(5900, 5900),
        'progressive JPEG of 1990²': progressive_jpeg(1990, 1990),
        'JPEG that claims 16384²': lying_jpeg(16384, 16384),
        'JPEG that claims 5900²': lying_jpeg(5900, 5900),
        'JPEG of 10,000 scans': many_scans(320, 240, 10_000),
        'JPEG of 90 scans': many_scans(1990, 1990, 80),
        'huge PNG': png(largest, largest),
        'PNG of 5900²': png(5900, 5900),
        'interlaced PNG of 1990²': png(1990, 1990, interlaced=True),
        'PNG in tiny pieces': png(1990, 1990, pieces=5_000),
        'cut JPEG': good_jpeg(1)[:-500],
    }
