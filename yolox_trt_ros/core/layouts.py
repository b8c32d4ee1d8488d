"""Check that sizes, steps and headers of an image agree with its bytes."""

from __future__ import annotations

import numpy as np

from yolox_trt_ros.core.encodings import COMPRESSED, RAW, Encoding, hint_at, resolve
from yolox_trt_ros.core.errors import DropReason, FrameError
from yolox_trt_ros.core.image_files import FileHead, read_file_head, read_kind
from yolox_trt_ros.core.jpeg import find_start

MAX_SIDE = 16384
"""Largest accepted image width or height in pixels; a larger one is taken for a damaged message."""

SLACK = 1 << 16
"""Bytes that a payload may have behind its image, and a quarter of the image if that is more."""

MOST_PADDED = 16 << 20
"""Bytes from which on an image must not consist of padding mostly."""

TRAILER = 16 << 20
"""Bytes that a file may have besides its picture, such as the film of a motion photo."""

MOST_BYTES = 8
"""Most bytes of a file's pixel: four samples of 16 bits that could not be compressed."""

RUBBISH = 1 << 16
"""Bytes that may come before a JPEG, such as the rest of the one before."""


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

    Some drivers give the rows or the bytes of all planes instead. Then the payload is just rows
    times bytes, too small for an image of that many luma rows.
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


def compressed_layout(data: np.ndarray, label: str) -> tuple[FileHead, str, np.ndarray]:
    """Return what an image file is, as a frame needs to know it before it is decoded.

    Args:
        data: uint8 (n,), the payload.
        label: a message's ``format``, free text that drivers fill as they like. Only what the
            samples stand for is read from there; kind and size come from the payload's own head.

    Returns:
        Its head, :attr:`Frame.content`, and the payload from the file's first byte on.

    Raises:
        FrameError: ``unsupported``: of another kind; ``undecodable``: its head is damaged;
            ``malformed``: it is far too large for its picture.
    """
    data = _without_rubbish(data, label)
    head = _file_head(data, label)
    return head, _content(head, label), data


def _file_head(data: np.ndarray, label: str) -> FileHead:
    head = read_file_head(data)
    if head is None or 'compresseddepth' in label.lower():
        depth = ', a depth image' if 'depth' in label.lower() else ''
        raise FrameError(
            DropReason.UNSUPPORTED,
            f'format "{label[:40]}"{depth}, payload starting with {data[:4].tobytes().hex()}: '
            f'expected one of {", ".join(COMPRESSED)}',
        )
    height, width = head.height, head.width
    if not (0 < height <= MAX_SIDE and 0 < width <= MAX_SIDE):
        raise FrameError(
            DropReason.UNDECODABLE,
            f'{head.kind} of {len(data)} bytes: expected an image size, got {width}x{height}',
        )
    if head.kind == 'jpeg' and head.depth != 8:
        raise FrameError(
            DropReason.UNSUPPORTED, f'JPEG with {head.depth} bits a sample: expected 8'
        )
    most = TRAILER + MOST_BYTES * width * height
    if len(data) > most:
        raise FrameError(
            DropReason.MALFORMED,
            f'{head.kind} of {width}x{height} in {len(data)} bytes: expected at most {most}',
        )
    return head


def _without_rubbish(data: np.ndarray, label: str) -> np.ndarray:
    """Return a payload from its picture on, should it begin with the rest of another one."""
    if not read_kind(data) and (not label or 'jp' in label.lower()):
        return data[max(find_start(data, RUBBISH), 0) :]
    return data


def _content(head: FileHead, label: str) -> str:
    """Return :attr:`Frame.content` from what image_transport's ``format`` says.

    That is ``<encoding of the image>; <codec> compressed <encoding of the file>``, where the second
    is left out if the file's samples are those of the image. Depth and channels are the file's own.
    """
    before, _, behind = label.lower().partition(';')
    stored = resolve(behind.partition('compressed')[2]) or resolve(before)
    if head.channels != 1:
        return 'bgr16' if head.depth == 16 else ''
    if not stored.startswith('bayer_') or head.depth not in (8, 16):
        return 'mono16' if head.depth == 16 else ''
    name = f'{stored.rstrip("0123456789")}{head.depth}'
    layout = RAW[name]
    if head.width % layout.width_multiple or head.height % layout.height_multiple:
        raise FrameError(
            DropReason.MALFORMED,
            f'{name} in a {head.kind} of {head.width}x{head.height}: width must be a multiple of '
            f'{layout.width_multiple} and height of {layout.height_multiple}',
        )
    return name
