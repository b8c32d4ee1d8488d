"""One camera image inside the pipeline, from its message to a detector."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from yolox_trt_ros.core.encodings import COMPRESSED, RAW, hint_at, resolve
from yolox_trt_ros.core.errors import DropReason, FrameError
from yolox_trt_ros.core.layouts import compressed_layout, raw_layout

FOUND = (0, 0)
"""Levels that are found in each image."""
Part = tuple[int, int, int, int]
"""A rectangle of an image: left, top, width and height, pixels."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """An image as it arrived: a view on its bytes, with the stamps that tell how old it is.

    Attributes:
        camera: the camera's name in the configuration.
        sequence: arrival number of this camera's frames, from 0; gaps are dropped messages.
        stamp_ns: header stamp in the ROS clock, nanoseconds.
        received_ns: arrival in the monotonic clock, nanoseconds.
        frame_id: coordinate frame of the header.
        encoding: a key of :data:`encodings.RAW`, or one of :data:`encodings.COMPRESSED`.
        height, width: source-image pixels.
        step: bytes from one row to the next; 0 for compressed frames.
        data: uint8 (n,), a view that keeps the message buffer alive; never written to.
        content: of a compressed frame whose samples are no ordinary picture, such as a Bayer mosaic
            or 16 bits a sample, their encoding: a key of :data:`encodings.RAW`; otherwise empty.
        levels: the samples of 16 bits that become black and white; :data:`FOUND` leaves them to
            each image.
        big_endian: whether samples of 16 bits have their high byte first.
        part: what the network sees of the image; None: all.
        crops: further parts, which it sees besides that in the same batch.
        decoded_ns: of a picture of video, when it was decoded, in the monotonic clock; 0 of others.
    """

    camera: str
    sequence: int
    stamp_ns: int
    received_ns: int
    frame_id: str
    encoding: str
    height: int
    width: int
    step: int
    data: np.ndarray = field(repr=False)
    content: str = ''
    levels: tuple[int, int] = FOUND
    big_endian: bool = False
    part: Part | None = None
    crops: tuple[Part, ...] = ()
    decoded_ns: int = 0

    @property
    def places(self) -> int:
        """Return how many places of a batch it takes."""
        return 1 + len(self.crops)

    @property
    def compressed(self) -> bool:
        """Whether ``data`` is an image file rather than pixels."""
        return self.encoding in COMPRESSED

    @property
    def pixels(self) -> str:
        """Return the encoding of its pixels, once a file is decoded."""
        return (self.content or 'bgr8') if self.compressed else self.encoding

    @classmethod
    def of(
        cls,
        image: Any,
        encoding: str = 'bgr8',
        *,
        camera: str = '',
        sequence: int = 0,
        stamp_ns: int = 0,
        frame_id: str = '',
        levels: tuple[int, int] = FOUND,
    ) -> Frame:
        """Return an image in memory as a frame that arrives now.

        Args:
            image: an array in the layout of ``encoding``, uint8, or uint16 where it has 16 bits a
                sample. Its shape is (height, width) of mono and Bayer images, (height, width, n)
                of n samples a pixel (2 of ``yuv422``), and (rows, width) of planes below each
                other: rows are 1.5 × height of ``nv12``, ``nv21``, ``i420`` and ``yv12``, and
                3 × height of ``nv24``. It is copied only if it is not contiguous. With ``jpeg``,
                ``png`` or ``webp`` the bytes of a file, also as uint8 (n,).
            encoding: any name of :mod:`core.encodings`.
            camera, sequence, stamp_ns, frame_id, levels: see the attributes.

        Raises:
            FrameError: ``unsupported``: there is no such encoding; ``malformed``: the image has
                another type or shape than that; for files see :func:`compressed_layout`.
        """
        content = ''
        if encoding in COMPRESSED:
            head, content, data = compressed_layout(_file_bytes(image, encoding), encoding)
            name, height, width, step = head.kind, head.height, head.width, 0
            if name != encoding:
                raise FrameError(
                    DropReason.MALFORMED,
                    f'expected a file of kind {encoding}, got {name}: give encoding="{name}"',
                )
        else:
            pixels = _array_of(image, encoding)
            data, width = pixels.reshape(-1).view(np.uint8), pixels.shape[1]
            step = pixels[0].nbytes if len(pixels) else 0
            height = int(len(pixels) / RAW[resolve(encoding)].planes)
            name, height, step = raw_layout(encoding, height, width, step, data.size)
        now_ns = time.monotonic_ns()
        return cls(
            camera, sequence, stamp_ns, now_ns, frame_id, name, height, width, step, data,
            content=content, levels=levels,
        )  # fmt: skip


def _file_bytes(image: Any, encoding: str) -> np.ndarray:
    """Return an image file's bytes, uint8 (n,)."""
    if isinstance(image, (bytes, bytearray, memoryview)):
        return np.frombuffer(image, np.uint8)
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 1:
        return image
    raise FrameError(
        DropReason.MALFORMED,
        f'{encoding}: expected the bytes of a file (bytes, or an array of uint8 (n,)), '
        f'got {_described(image)}',
    )


def _array_of(image: Any, encoding: str) -> np.ndarray:
    """Return an image as a contiguous array, of little endian where it has 16 bits a sample."""
    layout = RAW.get(resolve(encoding))
    if layout is None:
        raise FrameError(
            DropReason.UNSUPPORTED,
            f'encoding "{encoding[:40]}" is not supported{hint_at(encoding)} '
            f'(of files: {", ".join(COMPRESSED)})',
        )
    dtype = np.dtype('<u2' if layout.narrow else 'u1')
    samples = layout.bytes_per_pixel // dtype.itemsize
    rows = 'height' if layout.planes == 1 else f'{layout.planes:g} × height'
    shape = [rows, 'width', str(samples)][: 2 if samples == 1 else 3]
    if not (
        isinstance(image, np.ndarray)
        and image.dtype.newbyteorder('<') == dtype
        and image.ndim == len(shape)
        and (samples == 1 or image.shape[2] == samples)
        and layout.rows(int(len(image) / layout.planes)) == len(image)
    ):
        advice = ''
        if isinstance(image, (bytes, bytearray, memoryview)):
            advice = f'; give the encoding of a file: {", ".join(COMPRESSED)}'
        elif isinstance(image, np.ndarray) and image.ndim == len(shape) + 1:
            advice = '; give several images as a list of arrays'
        raise FrameError(
            DropReason.MALFORMED,
            f'{layout.name} image: expected an array of {dtype.name} ({", ".join(shape)}), '
            f'got {_described(image)}{advice}',
        )
    return np.ascontiguousarray(image, dtype)


def _described(image: Any) -> str:
    if isinstance(image, np.ndarray):
        return f'{image.dtype.name} ({", ".join(map(str, image.shape))})'
    return type(image).__name__
