"""Camera images from wherever they are to where the kernels read them."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np

from yolox_trt_ros.core.encodings import RAW
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
        self._host = device.page_locked(1, np.uint8)
        self._on_device = device.zeros((1,), np.uint8)
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
        sizes = [0 if isinstance(f, FrameError) else f.step * _rows(f) + SLACK for f in layouts]
        places = np.cumsum([0, *(-(-size // ALIGNMENT) * ALIGNMENT for size in sizes)]).tolist()
        self._reserve(places.pop())
        # All are started before the first is waited for.
        staged = [self._stage(*item) for item in zip(frames, layouts, places, strict=True)]
        return [self._send(*item) for item in zip(layouts, staged, places, strict=True)]

    def _stage(
        self, frame: Frame, layout: Frame | FrameError, place: int
    ) -> np.ndarray | Future[np.ndarray] | FrameError:
        """Return page-locked bytes of a frame, or a promise of them."""
        if isinstance(layout, FrameError):
            return layout
        # See above for images of one column.
        whole = not frame.compressed and frame.width > 1
        if whole and self._device.is_page_locked(frame.data):
            return frame.data[: frame.step * _rows(frame)]
        return self._pool.submit(_copy, frame, self._host[place:])

    def _send(
        self,
        layout: Frame | FrameError,
        staged: np.ndarray | Future[np.ndarray] | FrameError,
        place: int,
    ) -> Source | FrameError:
        if isinstance(layout, FrameError):
            return layout
        if isinstance(staged, FrameError):
            return staged
        try:
            data = staged.result() if isinstance(staged, Future) else staged
        except FrameError as error:
            return error
        if self._device.integrated:
            return layout, self._device.mapped(data)
        target = self._device.address(self._on_device) + place
        self._device.upload(target, data, self._copies)
        return layout, target

    def _reserve(self, size: int) -> None:
        if size > self._host.size:
            self._host = self._device.page_locked(size, np.uint8)
            if not self._device.integrated:
                # Its zeros must not be written after the copies that follow.
                with self._copies:
                    self._on_device = self._device.zeros((size,), np.uint8)


def _rows(frame: Frame) -> int:
    return RAW[frame.encoding].rows(frame.height)


def _raw_layout(frame: Frame) -> Frame | FrameError:
    """Return the frame as the kernels will find it: decoded, if it is compressed."""
    if frame.compressed:
        return replace(frame, encoding='bgr8', step=frame.width * 3)
    if frame.step * _rows(frame) >= LIMIT:
        return FrameError(
            DropReason.UNSUPPORTED,
            f'{frame.encoding} frame: expected less than {LIMIT} bytes, got {frame.step} × '
            f'{_rows(frame)}',
        )
    need = frame.step * (_rows(frame) - 1) + RAW[frame.encoding].min_step(frame.width)
    if len(frame.data) < need:
        return FrameError(
            DropReason.MALFORMED,
            f'{frame.encoding} frame: expected {need} bytes, got {len(frame.data)}',
        )
    return frame


def _copy(frame: Frame, target: np.ndarray) -> np.ndarray:
    data = decode_compressed(frame).reshape(-1) if frame.compressed else frame.data
    # Rows behind the image, if there are any, stay behind.
    if not frame.compressed:
        data = data[: frame.step * _rows(frame)]
    place = target[: data.size]
    np.copyto(place, data)
    return place
