"""Camera images from wherever they are to where the kernels read them."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from yolox_trt_ros.core.encodings import COMPRESSED, RAW
from yolox_trt_ros.core.errors import DropReason, FrameError
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.detect.cpu.preprocess import decode_compressed
from yolox_trt_ros.detect.cuda.batch import Pixels, Source
from yolox_trt_ros.detect.cuda.jpeg import GpuJpeg
from yolox_trt_ros.detect.cuda.runtime import Device

ALIGNMENT = 256
SLACK = 16
"""Bytes behind the last image: kernels read whole words."""

LIMIT = 1 << 31
"""Bytes of an image: kernels count them in 32 bits."""

Kind = tuple[str, int, int, int, int]
"""Encoding, height, width, step and bytes of a frame: all that its layout depends on."""


class Layout(NamedTuple):
    """One image of a batch.

    Attributes:
        pixels: as the kernels will find them.
        size: their bytes.
        place: where they begin in the batch's memory.
        direct: whether they can be read where they lie, if the device reaches that.
    """

    pixels: Pixels
    size: int
    place: int
    direct: bool


class Staging:
    """The images of one batch in flight.

    On a discrete GPU a copy engine brings them over while the GPU computes: from where they are if
    that memory is page-locked, else from a page-locked copy that threads of ``pool`` make. On an
    integrated GPU kernels read page-locked memory itself. Buffers grow to the largest batch seen
    and are then reused.

    Args:
        device: where the kernels run.
        copies: stream for copies alone.
        pool: threads that copy and that decode compressed images.
        jpeg: decodes JPEG images on the device instead, if there is one.
    """

    def __init__(
        self, device: Device, copies: Any, pool: ThreadPoolExecutor, jpeg: GpuJpeg | None = None
    ) -> None:
        self._device, self._copies, self._pool, self._jpeg = device, copies, pool, jpeg
        self._images: list[Any] = []
        self._host = np.empty(0, np.uint8)
        self._on_device: Any = None
        self._address = self._target = 0
        self._frames: Sequence[Frame] = ()
        self._kinds: list[Kind] = []
        self._layouts: list[Layout | FrameError] = []

    def upload(self, frames: Sequence[Frame]) -> list[Source | FrameError]:
        """Return raw images with the addresses at which kernels find them, or what is wrong.

        Copies are enqueued on the copy stream; the frames' memory is kept until the next call.
        """
        self._frames = frames
        if self._jpeg is None:
            return self._upload(frames)
        jpegs = [
            i for i, f in enumerate(frames) if f.encoding == 'jpeg' and f.width > 1
        ]  # see _layout
        others = [i for i in range(len(frames)) if i not in jpegs]
        sources = dict(zip(others, self._upload([frames[i] for i in others]), strict=True))
        decoded = self._jpeg.decode([frames[i] for i in jpegs], self._images, self._copies)
        sources |= zip(jpegs, decoded, strict=True)
        return [sources[i] for i in range(len(frames))]

    def _upload(self, frames: Sequence[Frame]) -> list[Source | FrameError]:
        kinds = [(f.encoding, f.height, f.width, f.step, len(f.data)) for f in frames]
        if kinds != self._kinds:  # cameras send the same kind of image again and again
            self._kinds, self._layouts = kinds, self._arrange(kinds)
        # All are started before the first is waited for.
        staged = [self._stage(*item) for item in zip(frames, self._layouts, strict=True)]
        return [self._send(*item) for item in zip(self._layouts, staged, strict=True)]

    def _arrange(self, kinds: list[Kind]) -> list[Layout | FrameError]:
        """Return where each image of a batch will lie, in memory that has room for all of them."""
        layouts: list[Layout | FrameError] = []
        end = 0
        for kind in kinds:
            try:
                layout = _layout(*kind, end)
            except FrameError as error:
                layouts.append(error)
            else:
                layouts.append(layout)
                end += -(-(layout.size + SLACK) // ALIGNMENT) * ALIGNMENT
        self._reserve(end)
        return layouts

    def _stage(self, frame: Frame, layout: Layout | FrameError) -> int | Future[None]:
        """Return where page-locked bytes of a frame lie for the device, or a promise of a copy."""
        if isinstance(layout, FrameError):
            return 0
        address = self._device.reach(frame.data) if layout.direct else None
        if address is not None:
            return address
        host = self._host[layout.place : layout.place + layout.size]
        return self._pool.submit(_copy, frame, host)

    def _send(self, layout: Layout | FrameError, staged: int | Future[None]) -> Source | FrameError:
        if isinstance(layout, FrameError):
            return layout
        pixels, size, place, _ = layout
        if isinstance(staged, Future):
            try:
                staged.result()
            except FrameError as error:
                return error
            staged = self._address + place
        if self._device.integrated:
            return pixels, staged
        self._device.upload(self._target + place, staged, size, self._copies)
        return pixels, self._target + place

    def _reserve(self, size: int) -> None:
        if size <= self._host.size:
            return
        self._host = self._device.page_locked(size, np.uint8)
        self._address = self._device.address(self._host)
        if not self._device.integrated:
            # Its zeros must not be written after the copies that follow.
            with self._copies:
                self._on_device = self._device.zeros((size,), np.uint8)
            self._target = self._device.address(self._on_device)


def _layout(encoding: str, height: int, width: int, step: int, size: int, place: int) -> Layout:
    """Return how the kernels will find an image: decoded, if it is compressed.

    Raises:
        FrameError: it has fewer bytes than it should, or more than kernels count.
    """
    if encoding in COMPRESSED:
        step = width * 3
        return Layout(Pixels('bgr8', height, width, step), step * height, place, False)
    raw = RAW[encoding]
    rows = raw.rows(height)
    if step * rows >= LIMIT:
        raise FrameError(
            DropReason.UNSUPPORTED,
            f'{encoding} frame: expected less than {LIMIT} bytes, got {step} × {rows}',
        )
    need = step * (rows - 1) + raw.min_step(width)
    if size < need:
        raise FrameError(
            DropReason.MALFORMED, f'{encoding} frame: expected {need} bytes, got {size}'
        )
    # Rows behind the image, if there are any, stay behind. Kernels read pixels in pairs; one in a
    # column of its own would have foreign memory beside it.
    pixels = Pixels(encoding, height, width, step)
    return Layout(pixels, min(size, step * rows), place, width > 1)


def _copy(frame: Frame, target: np.ndarray) -> None:
    data = decode_compressed(frame).reshape(-1) if frame.compressed else frame.data
    np.copyto(target, data[: target.size])
