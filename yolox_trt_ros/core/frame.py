"""One camera image on its way to a detector."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from yolox_trt_ros.core.encodings import ALIASES, COMPRESSED, RAW
from yolox_trt_ros.core.errors import DropReason, FrameError, did_you_mean

MAX_SIDE = 16384
"""Largest accepted image width or height in pixels; a larger one is taken for a damaged message."""


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

    @property
    def compressed(self) -> bool:
        """Whether ``data`` is a JPEG or PNG file rather than pixels."""
        return self.encoding in COMPRESSED


def check_layout(encoding: str, height: int, width: int, step: int, size: int) -> str:
    """Return the canonical encoding of a raw image whose numbers agree with each other.

    Args:
        encoding: as the message gives it; aliases are resolved.
        height, width: pixels.
        step: bytes per row.
        size: bytes of payload.

    Raises:
        FrameError: ``unsupported`` for an encoding this package does not read, ``malformed`` for
            numbers that contradict each other.
    """
    name = ALIASES.get(encoding, encoding)
    layout = RAW.get(name)
    if layout is None:
        raise FrameError(
            DropReason.UNSUPPORTED,
            f'encoding "{encoding[:40]}" is not supported{did_you_mean(encoding, RAW)}',
        )
    if not (0 < height <= MAX_SIDE and 0 < width <= MAX_SIDE):
        raise FrameError(
            DropReason.MALFORMED,
            f'image size {width}x{height}: expected 1 to {MAX_SIDE} pixels a side',
        )
    if width % layout.width_multiple or height % layout.height_multiple:
        raise FrameError(
            DropReason.MALFORMED,
            f'{name} image of {width}x{height}: width must be a multiple of '
            f'{layout.width_multiple} and height of {layout.height_multiple}',
        )
    if step < layout.min_step(width):
        raise FrameError(
            DropReason.MALFORMED,
            f'{name} image {width} pixels wide with step {step}: expected at least '
            f'{layout.min_step(width)} bytes',
        )
    # The last row may come without its padding, as some drivers send it.
    rows = layout.rows(height)
    need = step * (rows - 1) + layout.min_step(width)
    if size < need:
        raise FrameError(
            DropReason.MALFORMED,
            f'{name} image {width}x{height} with step {step} carries {size} bytes: expected {need}',
        )
    return name
