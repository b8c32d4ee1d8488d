"""Camera images from wherever they are to where the kernels read them."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np

from yolox_trt_ros.core.encodings import COMPRESSED, RAW
from yolox_trt_ros.core.errors import DropReason, FrameError
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.detect.cpu.preprocess import decode_compressed
from yolox_trt_ros.detect.cuda.jpeg import GpuJpeg
from yolox_trt_ros.detect.cuda.runtime import Device

ALIGNMENT = 256
SLACK = 16
"""Bytes behind the last image: kernels read whole words."""

LIMIT = 1 << 31
"""Bytes of an image: kernels count them in 32 bits."""

Source = tuple[Frame, int]
"""A frame of raw pixels and where kernels find them."""

Layout = tuple[Frame, int]
"""A frame as it will be uploaded, and its bytes."""


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

    def upload(self, frames: Sequence[Frame]) -> list[Source | FrameError]:
        """Return raw frames with the addresses at which kernels find them, or what is wrong.

        Copies are enqueued on the copy stream; the frames' memory is kept until the next call.
        """
        self._frames = frames
        if self._jpeg is None:
            return self._upload(frames)
        # Kernels read pixels in pairs; one in a column of its own would have foreign memory beside.
        jpegs = [i for i, f in enumerate(frames) if f.encoding == 'jpeg' and f.width > 1]
        others = [i for i in range(len(frames)) if i not in jpegs]
        sources = dict(zip(others, self._upload([frames[i] for i in others]), strict=True))
        decoded = self._jpeg.decode([frames[i] for i in jpegs], self._images, self._copies)
        sources |= zip(jpegs, decoded, strict=True)
        return [sources[i] for i in range(len(frames))]

    def _upload(self, frames: Sequence[Frame]) -> list[Source | FrameError]:
        layouts = [_raw_layout(frame) for frame in frames]
        places, end = [], 0
        for layout in layouts:
            places.append(end)
            if not isinstance(layout, FrameError):
                end += -(-(layout[1] + SLACK) // ALIGNMENT) * ALIGNMENT
        self._reserve(end)
        # All are started before the first is waited for.
        staged = [self._stage(*item) for item in zip(frames, layouts, places, strict=True)]
        return [self._send(*item) for item in zip(layouts, staged, places, strict=True)]

    def _stage(
        self, frame: Frame, layout: Layout | FrameError, place: int
    ) -> int | Future[int] | FrameError:
        """Return where page-locked bytes of a frame lie for the device, or a promise of that."""
        if isinstance(layout, FrameError):
            return layout
        # See above for images of one column.
        address = None if frame.compressed or frame.width == 1 else self._device.reach(frame.data)
        if address is not None:
            return address
        host = self._host[place : place + layout[1]]
        return self._pool.submit(_copy, frame, host, self._address + place)

    def _send(
        self,
        layout: Layout | FrameError,
        staged: int | Future[int] | FrameError,
        place: int,
    ) -> Source | FrameError:
        if isinstance(layout, FrameError):
            return layout
        try:
            address = staged.result() if isinstance(staged, Future) else staged
        except FrameError as error:
            return error
        assert not isinstance(address, FrameError)
        frame, size = layout
        if self._device.integrated:
            return frame, address
        target = self._target + place
        self._device.upload(target, address, size, self._copies)
        return frame, target

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


def _raw_layout(frame: Frame) -> Layout | FrameError:
    """Return the frame as the kernels will find it: decoded, if it is compressed."""
    if frame.encoding in COMPRESSED:
        step = frame.width * 3
        return replace(frame, encoding='bgr8', step=step), step * frame.height
    encoding, step = RAW[frame.encoding], frame.step
    rows = encoding.rows(frame.height)
    if step * rows >= LIMIT:
        return FrameError(
            DropReason.UNSUPPORTED,
            f'{frame.encoding} frame: expected less than {LIMIT} bytes, got {step} × {rows}',
        )
    need = step * (rows - 1) + encoding.min_step(frame.width)
    have = len(frame.data)
    if have < need:
        return FrameError(
            DropReason.MALFORMED,
            f'{frame.encoding} frame: expected {need} bytes, got {have}',
        )
    # Rows behind the image, if there are any, stay behind.
    return frame, min(have, step * rows)


def _copy(frame: Frame, target: np.ndarray, address: int) -> int:
    data = decode_compressed(frame).reshape(-1) if frame.compressed else frame.data
    np.copyto(target, data[: target.size])
    return address
