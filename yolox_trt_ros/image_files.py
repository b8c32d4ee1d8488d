"""Read and write image files: any name, damaged files are errors, no half files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from yolox_trt_ros.core.errors import (
    DropReason,
    FrameError,
    MissingDependencyError,
    YoloxTrtRosError,
)
from yolox_trt_ros.core.output_files import write_whole
from yolox_trt_ros.core.printing import one_line
from yolox_trt_ros.core.text_files import read_bytes

try:
    import cv2
except ImportError as error:
    raise MissingDependencyError(
        'reading images and videos needs OpenCV: apt install python3-opencv, or '
        'pip install opencv-python-headless'
    ) from error

MOST_BYTES = 1 << 30

SUFFIXES = ('.bmp', '.jpeg', '.jpg', '.png', '.tif', '.tiff', '.webp')
"""Names of the files in a folder that are taken for images."""


def read_image(file: Path, flags: int = cv2.IMREAD_COLOR) -> np.ndarray:
    """Return an image file's pixels, uint8 (height, width, 3) BGR.

    OpenCV gets the bytes: it ends the process at a name that is not UTF-8.

    Raises:
        FrameError: ``undecodable``: it cannot be read, is no image, or too large for memory.
    """
    return decode(image_bytes(file), flags)


def image_bytes(file: Path) -> np.ndarray:
    """Return an image file's bytes, uint8 (n,).

    Raises:
        FrameError: ``undecodable``: it cannot be read.
    """

    def undecodable(message: str) -> FrameError:
        return FrameError(DropReason.UNDECODABLE, message.removeprefix(f'{one_line(file)}: '))

    content = read_bytes(file, undecodable, most_bytes=MOST_BYTES, what='an image')
    return np.frombuffer(content, np.uint8)


def decode(data: np.ndarray, flags: int = cv2.IMREAD_COLOR) -> np.ndarray:
    """Return the pixels of an image file's bytes; see :func:`read_image`.

    Raises:
        FrameError: ``undecodable``: no image that OpenCV can read, or too large for memory.
    """
    try:
        image = cv2.imdecode(data, flags) if len(data) else None
    except (cv2.error, MemoryError) as error:
        what = str(getattr(error, 'err', '') or error)
        raise FrameError(
            DropReason.UNDECODABLE, f'OpenCV refuses it: {one_line(what)[:200]}'
        ) from error
    if image is None:
        raise FrameError(DropReason.UNDECODABLE, 'not an image OpenCV can read')
    return image


def write_image(file: Path, image: np.ndarray, options: list[int] | None = None) -> None:
    """Write an image file whole or not at all; its suffix says in which format.

    Args:
        file: where to; folders on the way are made.
        image: uint8 (height, width, 3) BGR.
        options: OpenCV's ``IMWRITE_…`` pairs.

    Raises:
        YoloxTrtRosError: it cannot be written; the message names the file.
    """
    try:
        good, data = cv2.imencode(file.suffix, image, options or [])
    except cv2.error as error:
        raise YoloxTrtRosError(
            f'{one_line(file)}: an image of {image.shape[1]}x{image.shape[0]} cannot be written '
            f'as "{one_line(file.suffix)}": {one_line(error.err)}'
        ) from error
    if not good:
        raise YoloxTrtRosError(
            f'{one_line(file)}: an image of {image.shape[1]}x{image.shape[0]} cannot be written'
        )
    write_whole(file, data.tobytes())
