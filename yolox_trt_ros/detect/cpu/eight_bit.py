"""Frames of any kind to raw ones with 8 bits a sample, which all lanes begin with."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from yolox_trt_ros.core.encodings import RAW
from yolox_trt_ros.core.errors import DropReason, FrameError
from yolox_trt_ros.core.frame import FOUND, Frame
from yolox_trt_ros.detect.cpu.decode import decode_compressed

DARK, BRIGHT = 1, 99
"""Percentiles of a grey image's samples that become black and white."""

_SAMPLES = 1 << 16
_LEAST_SPAN = 255


def is_eight_bit(frame: Frame) -> bool:
    """Return whether a frame is raw with 8 bits a sample as it is, or unknown."""
    layout = RAW.get(frame.encoding)
    return not (frame.compressed or (layout and layout.narrow))


def eight_bit_name(frame: Frame) -> str:
    """Return the encoding that :func:`eight_bit` gives a frame."""
    return RAW[frame.pixels].narrow or frame.pixels


def eight_bit(frame: Frame) -> Frame:
    """Return a frame as a raw one with 8 bits a sample: itself, if it is that.

    Files are decoded. Samples of 16 bits are scaled: those up to the first of ``frame.levels``
    become 0, those from the second on 255. Levels that are :data:`FOUND` in the image are, for grey
    ones, which mostly are thermal, its percentiles :data:`DARK` and :data:`BRIGHT`, but 255 samples
    apart at least; for colour and Bayer mosaics 0 and the largest sample of the fewest of 8, 10,
    12, 14 and 16 bits that hold them all.

    Raises:
        FrameError: ``undecodable``: a damaged file; ``malformed``: fewer bytes than it says.
    """
    if is_eight_bit(frame):
        return frame
    samples = decode_compressed(frame) if frame.compressed else _samples(frame)
    if samples.dtype == np.uint16:
        samples = _narrow(samples, frame.levels, grey=eight_bit_name(frame) == 'mono8')
    data = np.ascontiguousarray(samples).reshape(-1)
    step = len(data) // frame.height
    return replace(frame, encoding=eight_bit_name(frame), step=step, data=data, content='')


def _samples(frame: Frame) -> np.ndarray:
    """Return a raw frame's samples, uint16 (height, samples of a row)."""
    layout = RAW[frame.encoding]
    row = layout.min_step(frame.width)
    if len(frame.data) < layout.size(frame.height, frame.width, frame.step):
        raise FrameError(
            DropReason.MALFORMED, f'{frame.encoding} frame with {len(frame.data)} bytes'
        )
    shape, strides = (frame.height, row), (frame.step, 1)
    rows = np.lib.stride_tricks.as_strided(frame.data, shape, strides, writeable=False)
    if frame.step % 2 or frame.data.ctypes.data % 2:
        rows = np.ascontiguousarray(rows)
    samples = rows.view('>u2' if frame.big_endian else '<u2')
    return samples.astype(np.uint16, copy=False)


def _narrow(samples: np.ndarray, levels: tuple[int, int], grey: bool) -> np.ndarray:
    """Return samples of 8 bits, uint8 of the same shape."""
    shape = samples.shape
    samples = samples.reshape(shape[0], -1)
    if levels == FOUND:
        levels = _percentiles(samples) if grey else (0, _largest(samples))
    low, high = levels
    if low:
        samples = cv2.subtract(samples, np.array([low], np.float64))
    return cv2.convertScaleAbs(samples, alpha=255 / (high - low)).reshape(shape)


def _largest(samples: np.ndarray) -> int:
    largest = int(samples.max())
    return next(2**bits - 1 for bits in (8, 10, 12, 14, 16) if largest < 2**bits)


def _percentiles(samples: np.ndarray) -> tuple[int, int]:
    """Return the levels of a grey image from pixels spread evenly over it."""
    every = max(1, int(np.sqrt(samples.size / _SAMPLES)))
    some = samples[::every, ::every].reshape(-1)
    places = [(some.size - 1) * percent // 100 for percent in (DARK, BRIGHT)]
    low, high = np.partition(some, places)[places].tolist()
    if high - low < _LEAST_SPAN:
        low = max(0, min((low + high - _LEAST_SPAN) // 2, 65535 - _LEAST_SPAN))
        high = low + _LEAST_SPAN
    return low, high
