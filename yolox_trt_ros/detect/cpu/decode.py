"""Decode compressed frames, and scale 16-bit frames to 8 bits a sample.

OpenCV decodes; what is no whole picture is refused.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from yolox_trt_ros.core.encodings import RAW
from yolox_trt_ros.core.errors import DropReason, FrameError
from yolox_trt_ros.core.frame import FOUND, Frame
from yolox_trt_ros.core.image_files import webp_size
from yolox_trt_ros.core.jpeg import NO_END, Jpeg, read_jpeg, with_tables

MOST_SCANS = 100
"""Progressive JPEGs have about ten; a decoder takes up to 1 ns for each pixel in each of them."""

DARK, BRIGHT = 1, 99
"""Percentiles of a grey image's samples that become black and white."""

_SAMPLES = 1 << 16
_LEAST_SPAN = 255

_COLOUR = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
_GREY = cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
# Decoders read up to 8 bytes ahead. There is no 0xFF among these, so that no marker is.
_FILLERS = np.random.default_rng(1).integers(0, 255, (3, 16), np.uint8)


def is_eight_bit(frame: Frame) -> bool:
    """Return whether a frame is raw with 8 bits a sample as it is, or unknown."""
    layout = RAW.get(frame.encoding)
    return not (frame.compressed or (layout and layout.narrow))


def eight_bit_name(frame: Frame) -> str:
    """Return the encoding that :func:`eight_bit` gives a frame."""
    return RAW[frame.pixels].narrow or frame.pixels


def eight_bit(frame: Frame) -> Frame:
    """Return a frame as a raw one with 8 bits a sample: itself, if it is that.

    Files are decoded. Samples of 16 bits are scaled: those up to the first of ``frame.levels``
    become 0, those from the second on 255. Levels that are :data:`FOUND` in the image are, for grey
    ones, which mostly are thermal, its percentiles :data:`DARK` and :data:`BRIGHT`, but 255 samples
    apart at least; for colour and Bayer mosaics 0 and the largest sample of the fewest of 8, 10,
    12, 14 and 16 bits that hold them all.

    Raises:
        FrameError: ``undecodable``: a damaged file; ``malformed``: fewer bytes than it says.
    """
    if is_eight_bit(frame):
        return frame
    samples = decode_compressed(frame) if frame.compressed else _samples(frame)
    if samples.dtype == np.uint16:
        samples = _narrow(samples, frame.levels, grey=eight_bit_name(frame) == 'mono8')
    data = np.ascontiguousarray(samples).reshape(-1)
    step = len(data) // frame.height
    return replace(frame, encoding=eight_bit_name(frame), step=step, data=data, content='')


def _samples(frame: Frame) -> np.ndarray:
    """Return a raw frame's samples, uint16 (height, samples of a row)."""
    layout = RAW[frame.encoding]
    row = layout.min_step(frame.width)
    if len(frame.data) < layout.size(frame.height, frame.width, frame.step):
        raise FrameError(
            DropReason.MALFORMED, f'{frame.encoding} frame with {len(frame.data)} bytes'
        )
    shape, strides = (frame.height, row), (frame.step, 1)
    rows = np.lib.stride_tricks.as_strided(frame.data, shape, strides, writeable=False)
    if frame.step % 2 or frame.data.ctypes.data % 2:
        rows = np.ascontiguousarray(rows)
    samples = rows.view('>u2' if frame.big_endian else '<u2')
    return samples.astype(np.uint16, copy=False)


def _narrow(samples: np.ndarray, levels: tuple[int, int], grey: bool) -> np.ndarray:
    """Return samples of 8 bits, uint8 of the same shape."""
    shape = samples.shape
    samples = samples.reshape(shape[0], -1)
    if levels == FOUND:
        levels = _percentiles(samples) if grey else (0, _largest(samples))
    low, high = levels
    if low:
        samples = cv2.subtract(samples, np.array([low], np.float64))
    return cv2.convertScaleAbs(samples, alpha=255 / (high - low)).reshape(shape)


def _largest(samples: np.ndarray) -> int:
    largest = int(samples.max())
    return next(2**bits - 1 for bits in (8, 10, 12, 14, 16) if largest < 2**bits)


def _percentiles(samples: np.ndarray) -> tuple[int, int]:
    """Return the levels of a grey image from pixels spread evenly over it."""
    every = max(1, int(np.sqrt(samples.size / _SAMPLES)))
    some = samples[::every, ::every].reshape(-1)
    places = [(some.size - 1) * percent // 100 for percent in (DARK, BRIGHT)]
    low, high = np.partition(some, places)[places].tolist()
    if high - low < _LEAST_SPAN:
        low = max(0, min((low + high - _LEAST_SPAN) // 2, 65535 - _LEAST_SPAN))
        high = low + _LEAST_SPAN
    return low, high


def decode_compressed(frame: Frame) -> np.ndarray:
    """Return a compressed frame's samples.

    Returns:
        uint8 (height, width, 3) BGR; with ``frame.content`` of 16 bits uint16, with one that has a
        single sample a pixel (height, width).

    Raises:
        FrameError: ``undecodable``: damaged, truncated, or another size than its head says.
    """
    flags = _flags(frame)
    if frame.encoding == 'jpeg':
        jpeg = whole_jpeg(frame)
        data = with_tables(frame.data, jpeg)
        unended = jpeg.lacks_only_its_end
        image = _decode_without_end(data, flags) if unended else _decode(data, flags)
        if image is None and unended:
            raise _damaged(frame, NO_END)
    else:
        if frame.encoding == 'webp' and webp_size(frame.data) > len(frame.data):
            raise _damaged(frame, 'truncated')
        image = _decode(frame.data, flags)
    if image is None or image.shape[:2] != (frame.height, frame.width):
        got = 'nothing' if image is None else f'{image.shape[1]}x{image.shape[0]}'
        raise FrameError(
            DropReason.UNDECODABLE,
            f'damaged {frame.encoding}: expected {frame.width}x{frame.height}, decoded {got}',
        )
    wide = frame.content.endswith('16')
    if image.dtype != (np.uint16 if wide else np.uint8):
        raise FrameError(
            DropReason.UNDECODABLE,
            f'damaged {frame.encoding}: expected {frame.content or "8 bits"}, got {image.dtype}',
        )
    return image


def _flags(frame: Frame) -> int:
    if not frame.content:
        return _COLOUR
    one = RAW[frame.content].bytes_per_pixel <= 2
    return _GREY if one else _COLOUR | cv2.IMREAD_ANYDEPTH


def whole_jpeg(frame: Frame) -> Jpeg:
    """Return where a JPEG's picture is, which decoders fill with grey if it is cut.

    Returns:
        Its markers are all there, except that it may lack its end marker and nothing else: then
        only :func:`decode_compressed` finds out if its last pixels are there.

    Raises:
        FrameError: ``undecodable``: it is no whole picture; ``oversized``: it has too many scans.
    """
    jpeg = read_jpeg(frame.data)
    if jpeg.scans > MOST_SCANS:
        raise FrameError(
            DropReason.OVERSIZED,
            f'JPEG of {frame.width}x{frame.height} with {jpeg.scans} scans of the whole picture: '
            f'expected at most {MOST_SCANS}',
        )
    if jpeg.problem and not jpeg.lacks_only_its_end:
        raise _damaged(frame, jpeg.problem)
    return jpeg


def _damaged(frame: Frame, problem: str) -> FrameError:
    return FrameError(
        DropReason.UNDECODABLE,
        f'{frame.encoding.upper()} of {len(frame.data)} bytes is no whole picture: {problem}',
    )


def _decode(data: np.ndarray, flags: int) -> np.ndarray | None:
    try:
        return cv2.imdecode(data, flags)
    except cv2.error:  # in place of None, depending on what is wrong
        return None


def _decode_without_end(data: np.ndarray, flags: int) -> np.ndarray | None:
    """Return the pixels of a JPEG without end marker, ``None`` if some of them are missing.

    OpenCV gives no image if data run out, and of a whole one nothing that follows changes a pixel.
    """
    used = len(data.tobytes().rstrip(b'\0'))
    used += bool(used and data[used - 1] == 0xFF)  # and a zero, which makes it a byte of data
    data = data[:used]
    image, *others = (_decode(np.concatenate((data, filler)), flags) for filler in _FILLERS)
    if image is None or not all(
        other is not None and np.array_equal(image, other) for other in others
    ):
        return None
    return image
