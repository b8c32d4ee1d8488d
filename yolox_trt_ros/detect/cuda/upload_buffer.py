"""Bring camera images from any memory to where the kernels read them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from yolox_trt_ros.core.encodings import RAW
from yolox_trt_ros.core.errors import DropReason, FrameError
from yolox_trt_ros.core.frame import Frame, Part
from yolox_trt_ros.detect.attempt import attempt, no_memory
from yolox_trt_ros.detect.cpu.decode import eight_bit, eight_bit_name, is_eight_bit
from yolox_trt_ros.detect.cuda.batch import Pixels, Source
from yolox_trt_ros.detect.cuda.jpeg import GpuJpeg
from yolox_trt_ros.detect.cuda.runtime import Device

ALIGNMENT = 256
SLACK = 16
"""Bytes behind each image: kernels read pixels in pairs, also where there is a single column."""

LIMIT = 1 << 31
"""Bytes of an image: kernels count them in 32 bits."""

Kind = tuple[str, int, int, int, int, Part | None]
"""Encoding, height, width, step and bytes of a frame with 8 bits a sample: all that a layout
depends on. One that is brought to that has no step yet, and its file's size says nothing."""

Sources = list[Source | None]
Errors = dict[int, FrameError]
"""What is wrong with the images of some places of a batch."""
Spent = dict[int, int]
"""Time that decoding the images of some places of a batch took, nanoseconds."""


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


class UploadBuffer:
    """The images of one batch in flight.

    On a discrete GPU a copy engine brings them over while the GPU computes: from where they are if
    that memory is pinned, else from a pinned copy that threads of ``pool`` make. On an
    integrated GPU kernels read pinned memory itself. Pinning takes tens of milliseconds, so
    buffers grow at once to what a full batch of such images needs, where there is that much.

    Args:
        device: where the kernels run.
        copies: stream for copies alone.
        pool: threads that copy and that decode compressed images.
        max_batch: most frames of one batch.
        jpeg: decodes JPEG images on the device instead, if there is one.

    Attributes:
        spent: of the batch that was uploaded last.
    """

    def __init__(
        self,
        device: Device,
        copies: Any,
        pool: ThreadPoolExecutor,
        max_batch: int,
        jpeg: GpuJpeg | None = None,
    ) -> None:
        self._device, self._copies, self._pool, self._jpeg = device, copies, pool, jpeg
        self._max_batch = max_batch
        self._images: list[Any] = []
        self._host = np.empty(0, np.uint8)
        self._on_device: Any = None
        self._address = self._target = 0
        self._frames: Sequence[Frame] = ()
        self._kinds: list[Kind] | None = None
        self._layouts: list[Layout | None] = []
        self._sources: Sources = []
        self._misfits: Errors = {}
        self.spent: Spent = {}

    def upload(self, frames: Sequence[Frame]) -> tuple[Sources, Errors]:
        """Return raw images with the addresses at which kernels find them, and what is wrong.

        Copies are enqueued on the copy stream; the frames' memory is kept until :meth:`release`.
        """
        self._frames, self.spent = frames, {}
        if self._jpeg is None:
            return self._upload(frames)
        # A single column takes the other way: see _layout.
        opened = {
            i: self._jpeg.open(frame)
            for i, frame in enumerate(frames)
            if frame.encoding == 'jpeg' and not frame.content and frame.width > 1
        }
        jpegs = [i for i, stream in opened.items() if stream is not None]
        if not jpegs:
            return self._upload(frames)
        others = [i for i in range(len(frames)) if i not in jpegs]
        rest, wrong = self._upload([frames[i] for i in others])
        sources = dict(zip(others, rest, strict=True))
        errors = {others[place]: error for place, error in wrong.items()}
        self.spent = {others[place]: spent_ns for place, spent_ns in self.spent.items()}
        files = [frames[i] for i in jpegs]
        begun_ns = time.thread_time_ns()
        decoded = self._jpeg.decode(files, self._images, self._copies, [opened[i] for i in jpegs])
        self.spent |= _shares(files, jpegs, time.thread_time_ns() - begun_ns)
        for i, found in zip(jpegs, decoded, strict=True):
            if isinstance(found, FrameError):
                errors[i] = found
            else:
                sources[i] = found
        return [sources.get(i) for i in range(len(frames))], errors

    def release(self) -> None:
        """Let go of the frames, whose copies are done."""
        self._frames = ()

    def _upload(self, frames: Sequence[Frame]) -> tuple[Sources, Errors]:
        kinds = _kinds(frames)
        if kinds != self._kinds:  # cameras send the same kind of image again and again
            layouts, errors, size = _arrange(kinds)
            if size > self._host.size:
                return self._upload_larger(frames)
            self._settle(kinds, layouts, errors)
        sources, errors = self._sources.copy(), self._misfits.copy()
        reach, send, target = self._device.reach, self._device.upload, self._target
        integrated, waiting = self._device.integrated, []
        for i, (frame, layout) in enumerate(zip(frames, self._layouts, strict=True)):
            if layout is None:
                continue
            pixels, size, place, direct = layout
            address = reach(frame.data) if direct else None
            if address is None:
                host = self._host[place : place + size]
                waiting.append((i, size, place, self._pool.submit(_copy, frame, host)))
            elif integrated:
                sources[i] = pixels, address
            else:
                send(target + place, address, size, self._copies)
        for i, size, place, copy in waiting:
            wrong, self.spent[i] = copy.result()
            if wrong is not None:
                sources[i], errors[i] = None, wrong
                continue
            if not integrated:
                send(target + place, self._address + place, size, self._copies)
        return sources, errors

    def _upload_larger(self, frames: Sequence[Frame]) -> tuple[Sources, Errors]:
        """Make room first, for what compressed images really hold: a header may claim anything."""
        done = list(self._pool.map(_made, frames))
        errors = {i: frame for i, (frame, _) in enumerate(done) if isinstance(frame, FrameError)}
        good = {i: frame for i, (frame, _) in enumerate(done) if isinstance(frame, Frame)}
        while True:
            layouts, _, size = _arrange(_kinds(good.values()))
            try:
                self._reserve(size, -(-size // max(1, len(good))) * self._max_batch)
            except MemoryError as error:
                sizes = [layout.size if layout else 0 for layout in layouts]
                largest = list(good)[sizes.index(max(sizes))]
                errors[largest] = no_memory(good.pop(largest), error)
            else:
                break
        places = list(good)
        some, wrong = self._upload(list(good.values()))
        sources = dict(zip(places, some, strict=True))
        errors |= {places[place]: error for place, error in wrong.items()}
        self.spent = {i: spent_ns for i, (_, spent_ns) in enumerate(done)}
        return [sources.get(i) for i in range(len(frames))], errors

    def _settle(self, kinds: list[Kind], layouts: Sequence[Layout | None], errors: Errors) -> None:
        """Remember an arrangement, for batches of the same kinds."""
        base = self._address if self._device.integrated else self._target
        self._layouts, self._misfits = list(layouts), errors
        self._sources = [layout and (layout.pixels, base + layout.place) for layout in layouts]
        self._kinds = kinds

    def _reserve(self, size: int, full: int) -> None:
        """Make room for some bytes: for those of a full batch, or at least for these."""
        if size <= self._host.size:
            return
        try:
            self._allocate(full)
        except MemoryError:
            self._allocate(size)

    def _allocate(self, size: int) -> None:
        self._kinds, self._host, self._on_device = None, np.empty(0, np.uint8), None
        host = self._device.pinned(size, np.uint8)
        if not self._device.integrated:
            # Its zeros must not be written after the copies that follow.
            with self._copies:
                self._on_device = self._device.zeros((size,), np.uint8)
            self._target = self._device.address(self._on_device)
        self._host, self._address = host, self._device.address(host)


def _kinds(frames: Iterable[Frame]) -> list[Kind]:
    return [
        (f.encoding, f.height, f.width, f.step, len(f.data), f.part)
        if is_eight_bit(f)
        else (eight_bit_name(f), f.height, f.width, 0, 0, f.part)
        for f in frames
    ]


def _arrange(kinds: Sequence[Kind]) -> tuple[list[Layout | None], Errors, int]:
    """Return where each image of a batch will lie, what is wrong, and how many bytes that takes."""
    layouts: list[Layout | None] = []
    errors: Errors = {}
    end = 0
    for place, kind in enumerate(kinds):
        layout = _layout(*kind, end)
        if isinstance(layout, FrameError):
            errors[place] = layout
            layouts.append(None)
        else:
            layouts.append(layout)
            end += -(-(layout.size + SLACK) // ALIGNMENT) * ALIGNMENT
    return layouts, errors, end


def _layout(
    encoding: str,
    height: int,
    width: int,
    step: int,
    size: int,
    part: Part | None,
    place: int,
) -> Layout | FrameError:
    """Return how the kernels will find an image of 8 bits a sample; without a step, it is made so.

    Or why they cannot: it has fewer bytes than it should, more than kernels count, or an encoding
    that nobody reads.
    """
    raw = RAW.get(encoding)
    if raw is None:
        return FrameError(DropReason.UNSUPPORTED, f'encoding "{encoding[:40]}" is not supported')
    made = step == 0
    step = step or raw.min_step(width)
    rows = raw.rows(height)
    if step * rows >= LIMIT:
        return FrameError(
            DropReason.UNSUPPORTED,
            f'{encoding} frame: expected less than {LIMIT} bytes, got {step} × {rows}',
        )
    pixels = Pixels(encoding, height, width, step, part)
    if made:
        return Layout(pixels, step * rows, place, False)
    need = raw.size(height, width, step)
    if size < need:
        return FrameError(
            DropReason.MALFORMED, f'{encoding} frame: expected {need} bytes, got {size}'
        )
    # Rows behind the image, if there are any, stay behind. An image of a single column is copied,
    # so that SLACK is behind it; where it lies, foreign memory may be.
    return Layout(pixels, min(size, step * rows), place, width > 1)


def _shares(frames: Sequence[Frame], places: Sequence[int], spent_ns: int) -> Spent:
    """Return what each frame took of this thread's time for all of them, by its pixels."""
    pixels = [frame.width * frame.height for frame in frames]
    whole = sum(pixels)
    return {place: spent_ns * n // whole for place, n in zip(places, pixels, strict=True)}


def _made(frame: Frame) -> tuple[Frame | FrameError, int]:
    """Return a frame with pixels that kernels read, and the time that took."""
    if is_eight_bit(frame):
        return frame, 0
    return attempt(eight_bit, frame)


def _copy(frame: Frame, target: np.ndarray) -> tuple[FrameError | None, int]:
    """Write a frame's pixels to where they are read, and return what is wrong and the time."""
    wrong, spent_ns = attempt(partial(_write, target=target), frame)
    return wrong, 0 if is_eight_bit(frame) else spent_ns


def _write(frame: Frame, target: np.ndarray) -> None:
    np.copyto(target, eight_bit(frame).data[: target.size])
