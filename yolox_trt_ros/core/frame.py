"""One camera image on its way to a detector."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from yolox_trt_ros.core.encodings import COMPRESSED, RAW, Encoding, hint_at, resolve
from yolox_trt_ros.core.errors import DropReason, FrameError

MAX_SIDE = 16384
"""Largest accepted image width or height in pixels; a larger one is taken for a damaged message."""

SLACK = 1 << 16
"""Bytes that a payload may have behind its image, and a quarter of the image if that is more."""

MOST_PADDED = 16 << 20
"""Bytes from which on an image must not consist of padding mostly."""

FOUND = (0, 0)
"""Levels that are found in each image."""


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

    @property
    def compressed(self) -> bool:
        """Whether ``data`` is an image file rather than pixels."""
        return self.encoding in COMPRESSED

    @property
    def pixels(self) -> str:
        """Return the encoding of its pixels, once a file is decoded."""
        return (self.content or 'bgr8') if self.compressed else self.encoding


def check_layout(encoding: str, height: int, width: int, step: int, size: int) -> str:
    """Return the canonical encoding of a raw image; see :func:`raw_layout`."""
    return raw_layout(encoding, height, width, step, size)[0]


def raw_layout(
    encoding: str, height: int, width: int, step: int, size: int
) -> tuple[str, int, int]:
    """Return how a raw image lies in memory whose numbers agree with each other.

    Args:
        encoding: as the message gives it; other names of a layout are resolved.
        height, width: pixels.
        step: bytes per row.
        size: bytes of payload.

    Returns:
        Canonical encoding, height and step. The last two differ from the message's for planes that
        a driver describes as one picture of that many rows or bytes.

    Raises:
        FrameError: ``unsupported`` for an encoding this package does not read, ``malformed`` for
            numbers that contradict each other.
    """
    name = resolve(encoding)
    layout = RAW.get(name)
    if layout is None:
        # What its rows tell is no other layout with a similar name.
        hint = hint_at(encoding, lambda e: e.min_step(width) <= step < 1.3 * e.min_step(width))
        raise FrameError(
            DropReason.UNSUPPORTED, f'encoding "{encoding[:40]}" is not supported{hint}'
        )
    if layout.planes == 1.5:
        height, step = _of_first_plane(height, width, step, size)
    problem = _contradiction(layout, height, width, step, size)
    if problem:
        raise FrameError(DropReason.MALFORMED, problem)
    return name, height, step


def _of_first_plane(height: int, width: int, step: int, size: int) -> tuple[int, int]:
    """Return height and step of the luma plane of 4:2:0 planes.

    Some drivers give the rows or the bytes of all planes instead: the payload tells, which then is
    just rows times bytes, too small for an image of that many luma rows.
    """
    if size == height * step:
        if 2 * step == 3 * width:
            return height, width
        if height % 3 == 0:
            return height // 3 * 2, step
    return height, step


def _contradiction(layout: Encoding, height: int, width: int, step: int, size: int) -> str:
    """Return what does not fit together in a raw image's numbers; empty if all does."""
    name = layout.name
    if not (0 < height <= MAX_SIDE and 0 < width <= MAX_SIDE):
        return f'image size {width}x{height}: expected 1 to {MAX_SIDE} pixels a side'
    if width % layout.width_multiple or height % layout.height_multiple:
        return (
            f'{name} image of {width}x{height}: width must be a multiple of '
            f'{layout.width_multiple} and height of {layout.height_multiple}'
        )
    least = layout.min_step(width)
    if step < least:
        return f'{name} image {width} pixels wide with step {step}: expected at least {least} bytes'
    if layout.last_row == 0.5 and step % 2:
        return f'{name} image with step {step}: expected an even one, chroma has half of it'
    look = f'{name} image {width}x{height} with step {step} carries {size} bytes'
    need = layout.size(height, width, step)
    if size < need:
        return f'{look}: expected {need}'
    # Rows that a driver pads the image with, or a page; more is another image than is said.
    whole = step * layout.rows(height)
    most = whole + max(whole // 4, SLACK)
    if size > most:
        return f'{look}: expected {need}, at most {most}'
    if whole > MOST_PADDED and whole > 4 * least * layout.rows(height):
        return f'{look}, most of which is padding: a row of pixels has {least} bytes'
    return ''
