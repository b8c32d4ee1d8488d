"""Pictures as cameras of every encoding would send them, packed by hand."""

import numpy as np

from yolox_trt_ros.core.encodings import RAW
from yolox_trt_ros.core.frame import Frame


def picture(height: int, width: int) -> np.ndarray:
    """Return a BGR picture whose channels differ and whose colour changes slowly."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    blue = 128 + 100 * np.sin(x / 25 + 1)
    green = 128 + 90 * np.cos(y / 30)
    red = 60 + 50 * np.sin((x + y) / 40)
    return np.stack((blue, green, red), axis=2).round().astype(np.uint8)


def luma_chroma(bgr: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return Y, Cb, Cr of studio range (ITU-R BT.601), uint8."""
    b, g, r = (bgr[:, :, i].astype(np.float64) / 255 for i in range(3))
    luma = 0.299 * r + 0.587 * g + 0.114 * b
    y, cb, cr = 16 + 219 * luma, 128 + 224 * (b - luma) / 1.772, 128 + 224 * (r - luma) / 1.402
    return tuple(np.round(plane).astype(np.uint8) for plane in (y, cb, cr))  # type: ignore[return-value]


def mosaic(bgr: np.ndarray, pattern: str) -> np.ndarray:
    """Return what a sensor with this pattern of the first two rows' first two pixels sees."""
    out = np.empty(bgr.shape[:2], np.uint8)
    for i, colour in enumerate(pattern):
        row, column = divmod(i, 2)
        out[row::2, column::2] = bgr[row::2, column::2, 'bgr'.index(colour)]
    return out


def planes(bgr: np.ndarray, encoding: str) -> list[tuple[np.ndarray, float]]:
    """Return what a camera of this encoding would send, plane by plane.

    Each is uint8 (rows, bytes), with the distance of its rows in those of the first plane.
    """
    height, width = bgr.shape[:2]
    if encoding.endswith('16'):
        (rows, _), *_ = planes(bgr, RAW[encoding].narrow)
        return [((rows.astype('<u2') * 257).view(np.uint8).reshape(height, -1), 1)]
    y, cb, cr = luma_chroma(bgr)
    if encoding == 'nv24':
        return [(y, 1), (np.stack((cb, cr), axis=2).reshape(height, -1), 2)]
    half = [plane[::2, ::2] for plane in (cb, cr)]
    if encoding in ('nv21', 'yv12'):
        half.reverse()
    if encoding in ('nv12', 'nv21'):
        return [(y, 1), (np.stack(half, axis=2).reshape(height // 2, width), 1)]
    if encoding in ('i420', 'yv12'):
        return [(y, 1), *((plane, 0.5) for plane in half)]
    return [(interleaved(bgr, encoding), 1)]


def interleaved(bgr: np.ndarray, encoding: str) -> np.ndarray:
    """Return the rows of bytes that a camera with a single plane would send, (rows, bytes)."""
    height, width = bgr.shape[:2]
    opaque = np.full((height, width, 1), 255, np.uint8)
    y, cb, cr = luma_chroma(bgr)
    if encoding == 'mono8':
        return y
    if encoding.startswith('bayer'):
        return mosaic(bgr, encoding.removeprefix('bayer_').removesuffix('8'))
    if encoding.startswith('yuv422'):
        y0, y1, u, v = y[:, ::2], y[:, 1::2], cb[:, ::2], cr[:, ::2]
        order = (u, y0, v, y1) if encoding == 'yuv422' else (y0, u, y1, v)
        return np.stack(order, axis=2).reshape(height, -1)
    pixels = bgr if encoding.startswith('bgr') else bgr[:, :, ::-1]
    if 'a8' in encoding:
        pixels = np.concatenate((pixels, opaque), axis=2)
    return np.ascontiguousarray(pixels).reshape(height, -1)


def frame_of(bgr: np.ndarray, encoding: str, padding: int = 0) -> Frame:
    """Return a frame whose rows carry ``padding`` bytes of rubbish, the last row none.

    Samples of 16 bits use all of them.
    """
    height, width = bgr.shape[:2]
    step = RAW[encoding].min_step(width) + padding
    data = np.empty(0, np.uint8)
    for rows, distance in planes(bgr, encoding):
        size = int(step * distance) - rows.shape[1]
        rubbish = np.random.default_rng(0).integers(0, 256, (len(rows), size), np.uint8)
        data = np.concatenate((data, np.concatenate((rows, rubbish), axis=1).reshape(-1)))
    data = data[: len(data) - size]
    levels = (0, 65535)
    return Frame('front', 0, 0, 0, '', encoding, height, width, step, data, levels=levels)


def array_of(bgr: np.ndarray, encoding: str) -> tuple[np.ndarray, Frame]:
    """Return a picture as an array in the shape of an encoding, and as a camera would send it."""
    height, width = bgr.shape[:2]
    shapes: dict[str, tuple[int, ...]] = {
        **dict.fromkeys(('bgr8', 'rgb8', 'bgr16', 'rgb16'), (height, width, 3)),
        **dict.fromkeys(('bgra8', 'rgba8', 'bgra16', 'rgba16'), (height, width, 4)),
        **dict.fromkeys(('yuv422', 'yuv422_yuy2'), (height, width, 2)),
        **dict.fromkeys(('nv12', 'nv21', 'i420', 'yv12'), (height * 3 // 2, width)),
        'nv24': (height * 3, width),
    }
    sent = frame_of(bgr, encoding)
    samples = sent.data.view('<u2' if encoding.endswith('16') else 'u1')
    return samples.reshape(shapes.get(encoding, (height, width))), sent
