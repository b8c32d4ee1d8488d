"""The table of raw encodings: how CPU and CUDA kernels read them and the simulator writes them.

One row of :data:`FORMATS` for each row of :data:`core.encodings.RAW` that has 8 bits a sample; one
with 16 bits is brought to 8 first. A row that is missing, or lacks a part, ends the import.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from yolox_trt_ros.core.encodings import RAW
from yolox_trt_ros.core.errors import MissingDependencyError
from yolox_trt_ros.core.frame import Frame

try:
    import cv2
except ImportError as error:
    raise MissingDependencyError(
        'reading and writing pixels needs OpenCV: apt install python3-opencv, or '
        'pip install opencv-python-headless'
    ) from error

Channels = tuple[int, int, int]
Reader = Callable[[Frame], np.ndarray]
Writer = Callable[[np.ndarray], np.ndarray]

BGR: Channels = (0, 1, 2)
RGB: Channels = (2, 1, 0)
GREY: Channels = (0, 0, 0)

# ITU-R BT.601, limited range: rows Y, U, V; columns B, G, R, offset. The inverse of what OpenCV
# and camera drivers assume for UYVY, YUY2 and NV12.
_BT601 = np.array(
    [
        [0.098, 0.504, 0.257, 16.0],
        [0.439, -0.291, -0.148, 128.0],
        [-0.071, -0.368, 0.439, 128.0],
    ],
    np.float32,
)


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """How pixels of one encoding are read and written.

    Attributes:
        read: from a frame to uint8 (height, width, channels) or (height, width). Interleaved colour
            stays a view on the frame, so that the resize reads it in place.
        channels: which of these channels are blue, green and red.
        write: from uint8 (height, width, 3) BGR to uint8 samples of any shape in the order of the
            memory, rows without padding.
        kernel: the pixel reader of ``detect/cuda/kernels/image.cuh``, such as ``kNv12``. It gives
            blue, green, red, or the order of the memory if pixels are interleaved colour.
        order: what that reader finds in ``Image::order``: where red sits in a Bayer mosaic (x in
            bit 0, y in bit 1), or whether V comes before U.
    """

    read: Reader
    channels: Channels
    write: Writer
    kernel: str
    order: int = 0

    @property
    def red_first(self) -> bool:
        """Whether the pixels' first channel is red."""
        return self.channels == RGB


def rows_of(data: np.ndarray, rows: int, row_bytes: int, step: int) -> np.ndarray:
    """Return rows without the padding between them, uint8 (rows, row_bytes), a view."""
    return np.lib.stride_tricks.as_strided(data, (rows, row_bytes), (step, 1), writeable=False)


def interleaved(frame: Frame) -> np.ndarray:
    """Return a frame's rows: uint8 (rows, width), or (rows, width, bytes_per_pixel); a view."""
    layout = RAW[frame.encoding]
    rows, depth = layout.rows(frame.height), layout.bytes_per_pixel
    if depth == 1:
        return rows_of(frame.data, rows, frame.width, frame.step)
    shape, strides = (rows, frame.width, depth), (frame.step, depth, 1)
    return np.lib.stride_tricks.as_strided(frame.data, shape, strides, writeable=False)


def _converted(code: int) -> Reader:
    """Return what makes BGR of interleaved pixels, or of planes with rows of one length."""
    return lambda frame: cv2.cvtColor(interleaved(frame), code)


def _planes_420(code: int) -> Reader:
    """Return what makes BGR of a luma plane and two chroma planes with rows of half its length."""

    def read(frame: Frame) -> np.ndarray:
        height, width, step = frame.height, frame.width, frame.step
        if step == width:
            return cv2.cvtColor(interleaved(frame), code)
        luma = rows_of(frame.data, height, width, step)
        chroma = rows_of(frame.data[height * step :], height, width // 2, step // 2)
        whole = np.concatenate((luma.reshape(-1), chroma.reshape(-1)))
        return cv2.cvtColor(whole.reshape(-1, width), code)

    return read


def _nv24(frame: Frame) -> np.ndarray:
    """Return BGR of luma and interleaved chroma of the same size.

    OpenCV does not read it; each pixel becomes two of YUY2 that share their chroma.
    """
    height, width, step = frame.height, frame.width, frame.step
    luma = rows_of(frame.data, height, width, step)
    chroma = rows_of(frame.data[height * step :], height, 2 * width, 2 * step)
    pairs = np.empty((height, width, 4), np.uint8)
    pairs[..., 0] = pairs[..., 2] = luma
    pairs[..., 1::2] = chroma.reshape(height, width, 2)
    return cv2.cvtColor(pairs.reshape(height, 2 * width, 2), cv2.COLOR_YUV2BGR_YUY2)[:, ::2]


def _from_bgr(code: int) -> Writer:
    return lambda bgr: cv2.cvtColor(bgr, code)


def _packed_422(luma_at: int) -> Writer:
    """Return what writes two bytes a pixel: luma there, chroma beside it."""

    def write(bgr: np.ndarray) -> np.ndarray:
        luma, chroma = _yuv(bgr, 2, 1)
        packed = np.empty((*luma.shape, 2), np.uint8)
        packed[..., luma_at] = luma
        packed[..., 1 - luma_at] = chroma.reshape(luma.shape)
        return packed

    return write


def planes(across: int, down: int, *, apart: bool = False, v_first: bool = False) -> Writer:
    """Return what writes a luma plane, then chroma: interleaved, or in planes ``apart``."""

    def write(bgr: np.ndarray) -> np.ndarray:
        luma, chroma = _yuv(bgr, across, down)
        if v_first:
            chroma = chroma[..., ::-1]
        if apart:
            chroma = np.moveaxis(chroma, 2, 0)
        return np.concatenate([luma.reshape(-1), chroma.reshape(-1)])

    return write


def _yuv(bgr: np.ndarray, across: int, down: int) -> tuple[np.ndarray, np.ndarray]:
    """Return luma (h, w) and chroma (h / down, w / across, 2), the mean of what it covers."""
    height, width = bgr.shape[:2]
    yuv = cv2.transform(bgr, _BT601)
    size = (width // across, height // down)
    return yuv[..., 0], cv2.resize(yuv[..., 1:], size, interpolation=cv2.INTER_AREA)


def _mosaic(pattern: str) -> Writer:
    """Return what writes (h, w): the colour that each pixel's place in the pattern lets through."""

    def write(bgr: np.ndarray) -> np.ndarray:
        mosaic = np.empty(bgr.shape[:2], np.uint8)
        for place, colour in enumerate(pattern):
            row, column = divmod(place, 2)
            mosaic[row::2, column::2] = bgr[row::2, column::2, 'bgr'.index(colour)]
        return mosaic

    return write


def _bayer(pattern: str, code: int) -> PixelFormat:
    """Return the format of a mosaic; OpenCV names it by other pixels than ROS does."""
    red = pattern.index('r')
    return PixelFormat(_converted(code), BGR, _mosaic(pattern), 'kBayer', red)


FORMATS = {
    'bgr8': PixelFormat(interleaved, BGR, lambda bgr: bgr, 'kPacked3'),
    'rgb8': PixelFormat(interleaved, RGB, _from_bgr(cv2.COLOR_BGR2RGB), 'kPacked3'),
    'bgra8': PixelFormat(interleaved, BGR, _from_bgr(cv2.COLOR_BGR2BGRA), 'kPacked4'),
    'rgba8': PixelFormat(interleaved, RGB, _from_bgr(cv2.COLOR_BGR2RGBA), 'kPacked4'),
    'mono8': PixelFormat(interleaved, GREY, _from_bgr(cv2.COLOR_BGR2GRAY), 'kMono'),
    'yuv422': PixelFormat(_converted(cv2.COLOR_YUV2BGR_UYVY), BGR, _packed_422(1), 'kUyvy'),
    'yuv422_yuy2': PixelFormat(_converted(cv2.COLOR_YUV2BGR_YUY2), BGR, _packed_422(0), 'kYuyv'),
    'nv12': PixelFormat(_converted(cv2.COLOR_YUV2BGR_NV12), BGR, planes(2, 2), 'kNv12'),
    'nv21': PixelFormat(
        _converted(cv2.COLOR_YUV2BGR_NV21), BGR, planes(2, 2, v_first=True), 'kNv12', 1
    ),
    'nv24': PixelFormat(_nv24, BGR, planes(1, 1), 'kNv24'),
    'i420': PixelFormat(
        _planes_420(cv2.COLOR_YUV2BGR_I420), BGR, planes(2, 2, apart=True), 'kI420'
    ),
    'yv12': PixelFormat(
        _planes_420(cv2.COLOR_YUV2BGR_YV12), BGR, planes(2, 2, apart=True, v_first=True), 'kI420', 1
    ),
    'bayer_rggb8': _bayer('rggb', cv2.COLOR_BayerBG2BGR),
    'bayer_bggr8': _bayer('bggr', cv2.COLOR_BayerRG2BGR),
    'bayer_gbrg8': _bayer('gbrg', cv2.COLOR_BayerGR2BGR),
    'bayer_grbg8': _bayer('grbg', cv2.COLOR_BayerGB2BGR),
}
"""By the canonical name of :data:`core.encodings.RAW`."""

if _differs := {name for name, layout in RAW.items() if not layout.narrow} ^ FORMATS.keys():
    raise TypeError(f'{__name__}: expected one row an encoding, differs in {sorted(_differs)}')
