"""Frames to the network's input on the CPU, with OpenCV."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import cv2
import numpy as np

from yolox_trt_ros.core.encodings import RAW, for_each_encoding
from yolox_trt_ros.core.errors import DropReason, FrameError
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.model import Letterbox, ModelSpec
from yolox_trt_ros.detect.cpu.eight_bit import eight_bit

Channels = tuple[int, int, int]

_BGR: Channels = (0, 1, 2)
_RGB: Channels = (2, 1, 0)


def _interleaved(frame: Frame) -> np.ndarray:
    return _view(frame, RAW[frame.encoding].bytes_per_pixel)


def _converted(code: int) -> Callable[[Frame], np.ndarray]:
    """Return what makes BGR of interleaved pixels, or of planes with rows of one length."""
    return lambda frame: cv2.cvtColor(_interleaved(frame), code)


def _planes_420(code: int) -> Callable[[Frame], np.ndarray]:
    """Return what makes BGR of a luma plane and two chroma planes with rows of half its length."""

    def read(frame: Frame) -> np.ndarray:
        if frame.step == frame.width:
            return cv2.cvtColor(_view(frame, 1), code)
        height, width, step = frame.height, frame.width, frame.step
        luma = _rows(frame.data, height, width, step)
        chroma = _rows(frame.data[height * step :], height, width // 2, step // 2)
        whole = np.concatenate((luma.reshape(-1), chroma.reshape(-1)))
        return cv2.cvtColor(whole.reshape(-1, width), code)

    return read


def _nv24(frame: Frame) -> np.ndarray:
    """Return BGR of luma and interleaved chroma of the same size.

    OpenCV knows it not; each pixel is given to it as two of YUY2 that share their chroma.
    """
    height, width, step = frame.height, frame.width, frame.step
    luma = _rows(frame.data, height, width, step)
    chroma = _rows(frame.data[height * step :], height, 2 * width, 2 * step)
    pairs = np.empty((height, width, 4), np.uint8)
    pairs[..., 0] = pairs[..., 2] = luma
    pairs[..., 1::2] = chroma.reshape(height, width, 2)
    return cv2.cvtColor(pairs.reshape(height, 2 * width, 2), cv2.COLOR_YUV2BGR_YUY2)[:, ::2]


# OpenCV names a Bayer pattern by the second row's second and third pixel, ROS by the first two.
_READERS: Mapping[str, tuple[Callable[[Frame], np.ndarray], Channels]] = for_each_encoding(
    {
        'bgr8': (_interleaved, _BGR),
        'rgb8': (_interleaved, _RGB),
        'bgra8': (_interleaved, _BGR),
        'rgba8': (_interleaved, _RGB),
        'mono8': (_interleaved, (0, 0, 0)),
        'yuv422': (_converted(cv2.COLOR_YUV2BGR_UYVY), _BGR),
        'yuv422_yuy2': (_converted(cv2.COLOR_YUV2BGR_YUY2), _BGR),
        'nv12': (_converted(cv2.COLOR_YUV2BGR_NV12), _BGR),
        'nv21': (_converted(cv2.COLOR_YUV2BGR_NV21), _BGR),
        'nv24': (_nv24, _BGR),
        'i420': (_planes_420(cv2.COLOR_YUV2BGR_I420), _BGR),
        'yv12': (_planes_420(cv2.COLOR_YUV2BGR_YV12), _BGR),
        'bayer_rggb8': (_converted(cv2.COLOR_BayerBG2BGR), _BGR),
        'bayer_bggr8': (_converted(cv2.COLOR_BayerRG2BGR), _BGR),
        'bayer_gbrg8': (_converted(cv2.COLOR_BayerGR2BGR), _BGR),
        'bayer_grbg8': (_converted(cv2.COLOR_BayerGB2BGR), _BGR),
    },
    __name__,
)


def _rows(data: np.ndarray, rows: int, row_bytes: int, step: int) -> np.ndarray:
    """Return rows without the padding between them, uint8 (rows, row_bytes), a view."""
    return np.lib.stride_tricks.as_strided(data, (rows, row_bytes), (step, 1), writeable=False)


def _view(frame: Frame, bytes_per_pixel: int) -> np.ndarray:
    """Return a frame's rows of pixels: uint8 (rows, width) or (rows, width, bytes_per_pixel)."""
    rows = RAW[frame.encoding].rows(frame.height)
    strides: tuple[int, ...] = (frame.step, bytes_per_pixel, 1)
    shape: tuple[int, ...] = (rows, frame.width, bytes_per_pixel)
    if bytes_per_pixel == 1:
        shape, strides = shape[:2], strides[:2]
    return np.lib.stride_tricks.as_strided(frame.data, shape, strides, writeable=False)


def pixels(frame: Frame) -> tuple[np.ndarray, Channels]:
    """Return the image, and which of its channels are blue, green and red.

    Formats that are interleaved colour already stay as they are, so that the swap costs nothing
    when the resized planes are written.

    Args:
        frame: any encoding; see :func:`eight_bit` for files and for samples of 16 bits.

    Returns:
        uint8 (height, width, channels) or (height, width), and three channel indices.

    Raises:
        FrameError: ``undecodable``: a damaged file; ``malformed``: fewer bytes than it says.
    """
    frame = eight_bit(frame)
    layout = RAW.get(frame.encoding)
    if layout is None:
        raise FrameError(
            DropReason.UNSUPPORTED, f'encoding "{frame.encoding[:40]}" is not supported'
        )
    if len(frame.data) < layout.size(frame.height, frame.width, frame.step):
        raise FrameError(
            DropReason.MALFORMED, f'{frame.encoding} frame with {len(frame.data)} bytes'
        )
    read, channels = _READERS[frame.encoding]
    return read(frame), channels


def bgr_image(frame: Frame) -> np.ndarray:
    """Return any frame as uint8 (height, width, 3) in BGR order, for drawing."""
    image, channels = pixels(frame)
    if image.ndim == 2:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    return np.ascontiguousarray(image[:, :, channels])


class CpuPreprocessor:
    """Letterbox, colour order and layout of one model's input."""

    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec
        self._order = _BGR if spec.colour == 'bgr' else _RGB
        factors = spec.normalisation()
        self._multiply, self._add = (factor.astype(np.float32) for factor in factors)
        self._plain = spec.dtype == 'uint8'
        self._pad = (spec.pad * factors[0] + factors[1]).astype(np.float32)[:, None, None]

    def new_input(self, batch: int) -> np.ndarray:
        """Return a padded input tensor (batch, 3, height, width) of the model's type."""
        inputs = np.empty((batch, 3, self._spec.height, self._spec.width), self._spec.dtype)
        inputs[:] = self._pad
        return inputs

    def write(self, frame: Frame, target: np.ndarray) -> Letterbox:
        """Write one frame into its place in the input tensor.

        Args:
            frame: any size and encoding.
            target: (3, height, width) of the model's type; pixels outside the image become the pad
                value.

        Returns:
            The letterbox, to map boxes back to source pixels.

        Raises:
            FrameError: the frame cannot be decoded.
        """
        image, channels = pixels(frame)
        box = Letterbox.fit(frame.height, frame.width, self._spec)
        average = self._spec.antialias and box.shrinks
        way = cv2.INTER_AREA if average else cv2.INTER_LINEAR
        small = cv2.resize(image, (box.width, box.height), interpolation=way)
        planes = cv2.split(small) if small.ndim == 3 else (small,)
        for channel, position in enumerate(self._order):
            inside = target[channel, : box.height, : box.width]
            plane = planes[channels[position]]
            if self._plain:
                inside[:] = plane
                continue
            np.multiply(plane, self._multiply[channel], out=inside)
            if self._add[channel]:
                inside += self._add[channel]
        target[:, box.height :, :] = self._pad
        target[:, : box.height, box.width :] = self._pad
        return box
