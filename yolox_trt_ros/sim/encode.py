"""Encode BGR pictures as any camera driver may publish them."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from yolox_trt_ros.core.encodings import COMPRESSED, RAW, hint_at
from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.pixel_formats import FORMATS

HEAD_ROOM = 512
"""Bytes kept free in front of the pixels: a transport writes its header there and moves nothing."""

JPEG_QUALITY = 90
"""Of JPEG and WebP."""

_OPTIONS = {
    'jpeg': [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY],
    'png': [cv2.IMWRITE_PNG_COMPRESSION, 1],
    'webp': [cv2.IMWRITE_WEBP_QUALITY, JPEG_QUALITY],
}


@dataclass(frozen=True, slots=True, eq=False)
class EncodedImage:
    """One picture as a driver would send it.

    Attributes:
        encoding: a key of :data:`encodings.RAW`, or one of :data:`encodings.COMPRESSED`.
        height, width: pixels.
        step: bytes from one row to the next; 0 for compressed pictures.
        buffer: uint8 (HEAD_ROOM + n,); the first ``HEAD_ROOM`` bytes are scratch space.
    """

    encoding: str
    height: int
    width: int
    step: int
    buffer: np.ndarray = field(repr=False)

    @property
    def data(self) -> np.ndarray:
        """Return the payload, a read-only uint8 (n,) view."""
        view = self.buffer[HEAD_ROOM:]
        view.flags.writeable = False
        return view


def fit(bgr: np.ndarray, encoding: str, width: int = 0, height: int = 0) -> np.ndarray:
    """Return a picture in the size a camera publishes.

    Args:
        bgr: uint8 (h, w, 3).
        encoding: chroma subsampling and Bayer mosaics ask for even sizes: a last odd column or
            row is cut off.
        width, height: pixels to resize to; 0 and 0 keep the size, one 0 keeps the aspect ratio.

    Returns:
        uint8 (height, width, 3); the argument itself where nothing is to be done.
    """
    if width or height:
        size = (
            width or max(1, round(bgr.shape[1] * height / bgr.shape[0])),
            height or max(1, round(bgr.shape[0] * width / bgr.shape[1])),
        )
        if size != (bgr.shape[1], bgr.shape[0]):
            smaller = size[0] < bgr.shape[1]
            how = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
            bgr = cv2.resize(bgr, size, interpolation=how)
    layout = RAW.get(encoding)
    if layout is None:
        return bgr
    rows = bgr.shape[0] - bgr.shape[0] % layout.height_multiple
    columns = bgr.shape[1] - bgr.shape[1] % layout.width_multiple
    return bgr[:rows, :columns]


def encode(bgr: np.ndarray, encoding: str) -> EncodedImage:
    """Return a picture in the memory layout that ``sensor_msgs`` gives the encoding's name.

    Args:
        bgr: uint8 (height, width, 3), blue first.
        encoding: a key of :data:`encodings.RAW`, or one of :data:`encodings.COMPRESSED`. Colour
            goes to YUV by ITU-R BT.601, limited range.

    Raises:
        ConfigError: an unknown encoding, or a size the encoding cannot have.
        ValueError: not a BGR picture.
    """
    if bgr.ndim != 3 or bgr.shape[2] != 3 or bgr.dtype != np.uint8:
        raise ValueError(f'expected uint8 (height, width, 3), got {bgr.dtype} {bgr.shape}')
    height, width = bgr.shape[:2]
    if encoding in COMPRESSED:
        return EncodedImage(encoding, height, width, 0, _with_head_room(_compress(bgr, encoding)))
    layout = RAW.get(encoding)
    if layout is None:
        raise ConfigError(f'encoding "{encoding}" is not known{hint_at(encoding)}')
    if width % layout.width_multiple or height % layout.height_multiple:
        raise ConfigError(
            f'a {encoding} picture needs a width that is a multiple of {layout.width_multiple} and '
            f'a height that is one of {layout.height_multiple}, got {width}x{height}'
        )
    step = layout.min_step(width)
    return EncodedImage(encoding, height, width, step, _with_head_room(_pixels(bgr, encoding)))


def _with_head_room(payload: np.ndarray) -> np.ndarray:
    buffer = np.empty(HEAD_ROOM + payload.size, np.uint8)
    buffer[HEAD_ROOM:] = payload.reshape(-1)
    return buffer


def _compress(bgr: np.ndarray, encoding: str) -> np.ndarray:
    good, data = cv2.imencode(f'.{encoding}', bgr, _OPTIONS[encoding])
    if not good:
        raise ValueError(f'OpenCV could not write a {encoding} of {bgr.shape[1]}x{bgr.shape[0]}')
    return data.reshape(-1)


def _pixels(bgr: np.ndarray, encoding: str) -> np.ndarray:
    narrow = RAW[encoding].narrow
    samples = FORMATS[narrow or encoding].write(bgr)
    # 257 takes 255 to 65535.
    return (samples.astype('<u2') * 257).view(np.uint8) if narrow else samples
