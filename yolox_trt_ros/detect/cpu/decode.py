"""Image files to pixels, with OpenCV, and nothing that is no whole picture."""

from __future__ import annotations

import cv2
import numpy as np

from yolox_trt_ros.core.encodings import RAW
from yolox_trt_ros.core.errors import DropReason, FrameError
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.image_files import webp_size
from yolox_trt_ros.core.jpeg import NO_END, Jpeg, read_jpeg, with_tables

MOST_SCANS = 100
"""Progressive JPEGs have about ten; a decoder takes up to 1 ns for each pixel in each of them."""

_COLOUR = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
_GREY = cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
# Decoders read up to 8 bytes ahead. There is no 0xFF among these, so that no marker is.
_FILLERS = np.random.default_rng(1).integers(0, 255, (3, 16), np.uint8)


def decode_compressed(frame: Frame) -> np.ndarray:
    """Return a compressed frame's samples.

    Returns:
        uint8 (height, width, 3) BGR; with ``frame.content`` of 16 bits uint16, with one that has a
        single sample a pixel (height, width).

    Raises:
        FrameError: ``undecodable``: damaged, truncated, or another size than its head says.
    """
    way = _way(frame)
    if frame.encoding == 'jpeg':
        jpeg = whole_jpeg(frame)
        data = with_tables(frame.data, jpeg)
        unended = jpeg.lacks_only_its_end
        image = _decode_without_end(data, way) if unended else _decode(data, way)
        if image is None and unended:
            raise _damaged(frame, NO_END)
    else:
        if frame.encoding == 'webp' and webp_size(frame.data) > len(frame.data):
            raise _damaged(frame, 'truncated')
        image = _decode(frame.data, way)
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


def _way(frame: Frame) -> int:
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


def _decode(data: np.ndarray, way: int) -> np.ndarray | None:
    try:
        return cv2.imdecode(data, way)
    except cv2.error:  # in place of None, depending on what is wrong
        return None


def _decode_without_end(data: np.ndarray, way: int) -> np.ndarray | None:
    """Return the pixels of a JPEG without end marker, ``None`` if some of them are missing.

    OpenCV gives no image if data run out, and of a whole one nothing that follows changes a pixel.
    """
    used = len(data.tobytes().rstrip(b'\0'))
    used += bool(used and data[used - 1] == 0xFF)  # and a zero, which makes it a byte of data
    data = data[:used]
    image, *others = (_decode(np.concatenate((data, filler)), way) for filler in _FILLERS)
    if image is None or not all(
        other is not None and np.array_equal(image, other) for other in others
    ):
        return None
    return image
