"""The table of image encodings and the memory layout of each.

Names are those of ``sensor_msgs/image_encodings``; ``jpeg``, ``png`` and ``webp`` stand for a
``CompressedImage`` payload that a detector decodes when, and only when, it takes the frame.

A new encoding is a row of :data:`RAW` and one of :data:`pixel_formats.FORMATS`: docs/extending.md.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

LONGEST_NAME = 24
"""A longer name is none of an encoding, and not worth the time to look for one like it."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """Memory layout of one encoding.

    Attributes:
        name: canonical name.
        bytes_per_pixel: bytes of one pixel in the first plane.
        planes: bytes of all planes per byte of the first: 1.5 for 4:2:0, 3 for 4:4:4 in planes.
            The planes follow each other without a gap.
        width_multiple, height_multiple: what chroma subsampling or a Bayer mosaic asks for.
        last_row: length of the last row in memory per row of the first plane.
        narrow: of an encoding with 16 bits a sample, the name of the one with 8 bits and the same
            order of samples, to which images are brought first; of others empty.
        also: other names, in lower case, with spaces between them.
    """

    name: str
    bytes_per_pixel: int
    planes: float = 1.0
    width_multiple: int = 1
    height_multiple: int = 1
    last_row: float = 1.0
    narrow: str = ''
    also: str = ''

    def min_step(self, width: int) -> int:
        """Return the fewest bytes a row of ``width`` pixels takes."""
        return width * self.bytes_per_pixel

    def rows(self, height: int) -> int:
        """Return how many rows of ``step`` bytes an image of ``height`` pixel rows has."""
        return int(height * self.planes)

    def size(self, height: int, width: int, step: int) -> int:
        """Return the fewest bytes of an image: the last row may come without its padding."""
        padding = int((step - self.min_step(width)) * self.last_row)
        return step * self.rows(height) - padding


# Bayer mosaics by the colours of the first two rows' first two pixels. GenICam names them by two
# letters, V4L2 by four characters that follow no single rule: those of 8 bits, those of 10 to 16.
_BAYER = {
    'rggb': ('rg', 'rggb', 'rg10 rg12 rg14 rg16'),
    'bggr': ('bg', 'bggr ba81', 'bg10 bg12 bg14 byr2'),
    'gbrg': ('gb', 'gbrg', 'gb10 gb12 gb14 gb16'),
    'grbg': ('gr', 'grbg', 'ba10 ba12 gr14 gr16'),
}


def _bayer(bits: int) -> Iterator[Encoding]:
    for pattern, (genicam, *v4l2) in _BAYER.items():
        name = f'bayer_{pattern}'
        if bits == 8:
            yield Encoding(f'{name}8', 1, 1.0, 2, 2, also=f'{v4l2[0]} bayer{genicam}8')
            continue
        also = [v4l2[1], *(f'{name}{n}' for n in (10, 12, 14))]
        also += [f'bayer{genicam}{n}' for n in (10, 12, 14, 16)]
        yield Encoding(f'{name}16', 2, 1.0, 2, 2, narrow=f'{name}8', also=' '.join(also))


RAW = {
    e.name: e
    for e in (
        Encoding('bgr8', 3, also='8uc3 bgr bgr24 bgr3'),
        Encoding('rgb8', 3, also='rgb rgb24 rgb3'),
        Encoding('bgra8', 4, also='8uc4 bgra bgra32 bgrx bgr4 ar24 xr24'),
        Encoding('rgba8', 4, also='rgba rgba32 rgbx ab24 xb24'),
        Encoding('mono8', 1, also='8uc1 mono gray gray8 grey y8 y800'),
        Encoding('yuv422', 2, 1.0, 2, also='uyvy yuv422_uyvy uyvy422 uynv y422 yuv422_8_uyvy'),
        Encoding('yuv422_yuy2', 2, 1.0, 2, also='yuyv yuy2 yuv422_yuyv yuyv422 yunv yuv422_8'),
        Encoding('nv12', 1, 1.5, 2, 2),
        Encoding('nv21', 1, 1.5, 2, 2),
        Encoding('nv24', 1, 3.0, last_row=2.0),
        Encoding('i420', 1, 1.5, 2, 2, last_row=0.5, also='iyuv yu12 yuv420 yuv420p'),
        Encoding('yv12', 1, 1.5, 2, 2, last_row=0.5),
        *_bayer(8),
        Encoding('bgr16', 6, narrow='bgr8', also='16uc3 bgr48 bgr48le'),
        Encoding('rgb16', 6, narrow='rgb8', also='rgb48 rgb48le'),
        Encoding('bgra16', 8, narrow='bgra8', also='16uc4 bgra64'),
        Encoding('rgba16', 8, narrow='rgba8', also='rgba64'),
        Encoding(
            'mono16',
            2,
            narrow='mono8',
            also='16uc1 mono10 mono12 mono14 gray16 gray16_le gray16le y16 y10 y12 y14',
        ),
        *_bayer(16),
    )
}
"""Raw encodings by canonical name."""

ALIASES = {alias: e.name for e in RAW.values() for alias in e.also.split()}
"""Other names of the same layouts, in lower case: those of OpenCV, V4L2, GStreamer and GenICam.
Samples of 10, 12 or 14 bits lie in the low bits of 16."""

# Their names look like those of layouts that are read: other orders of samples, planes of another
# size, packed bits, depth.
_OTHER_LAYOUTS = re.compile(
    r'yvyu|vyuy|yuv(444|411)|y(uv|vu)?42[02](sp|p1)|(yuv|i)422p?$|nv(1[0356]|20|42|6[1-7])|p01|'
    r'[ax](rgb|bgr)|(1[024])p|z16|16s|be$'
)

VIDEO = ('h264', 'h265', 'vp9', 'av1')
"""Codecs of messages of video, each of which is a picture's difference to others before it."""

COMPRESSED = ('jpeg', 'png', 'webp')
"""Payload formats of ``CompressedImage`` that this package decodes."""


def resolve(encoding: str) -> str:
    """Return the canonical name of a raw encoding, however it is written; '' if it is not read."""
    name = encoding.strip(' \0').lower()
    name = ALIASES.get(name, name)
    return name if name in RAW else ''


def hint_at(encoding: str, fits: Callable[[Encoding], bool] = lambda _: True) -> str:
    """Return what to say behind a name that is not read: the nearest name that is, or all.

    Args:
        encoding: as it was written.
        fits: whether a layout may be the one that was meant.
    """
    written = encoding.strip(' \0').lower()
    known = len(written) <= LONGEST_NAME and not _OTHER_LAYOUTS.search(written)
    names = [*RAW, *ALIASES] if known else []
    for near in difflib.get_close_matches(written, names, 5):
        name = resolve(near)
        # The same letters in another order mostly are colours in another order.
        if sorted(near) != sorted(written) and fits(RAW[name]):
            return f' — did you mean "{name}"?'
    return f'; read are {", ".join(RAW)}'
