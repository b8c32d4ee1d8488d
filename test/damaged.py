"""Frames of which no detector can make anything, each wrong in a way of its own."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import numpy as np

from yolox_trt_ros.core.frame import Frame

PICTURE = np.random.default_rng(3).integers(0, 256, (60, 80, 3), np.uint8)
JPEG = cv2.imencode('.jpg', PICTURE)[1].tobytes()
PNG = cv2.imencode('.png', PICTURE)[1].tobytes()
DAMAGES: dict[str, tuple[str, bytes]] = {
    'cut jpeg': ('jpeg', JPEG[:-400]),
    'jpeg without tables': ('jpeg', JPEG[:2] + JPEG[-900:]),
    'jpeg of another size': ('jpeg', cv2.imencode('.jpg', PICTURE[:20])[1].tobytes()),
    'empty jpeg': ('jpeg', b''),
    'cut png': ('png', PNG[: len(PNG) // 2]),
    'png header alone': ('png', PNG[:33]),
    'short rows': ('bgr8', bytes(100)),
    'unknown encoding': ('bgr99', bytes(60 * 80 * 3)),
}


def damaged_frame(kind: str, camera: str = 'front', sequence: int = 0) -> Frame:
    """Return a frame whose memory nobody else holds."""
    encoding, content = DAMAGES[kind]
    step = 0 if encoding in ('jpeg', 'png') else 240
    data = np.frombuffer(content, np.uint8).copy()
    return Frame(camera, sequence, 0, sequence + 1, '', encoding, 60, 80, step, data)


@contextmanager
def no_collector() -> Iterator[None]:
    """Leave it to reference counts alone what is freed."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
