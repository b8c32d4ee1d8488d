"""Videos for tests: moving pictures, encoded by what FFmpeg has here."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

av = pytest.importorskip('av', reason='video needs PyAV')
av.logging.set_level(av.logging.PANIC)

WIDTH, HEIGHT = 128, 96
GROUP = 5
"""Pictures from one key frame to the next."""

ENCODERS: dict[str, tuple[tuple[str, dict[str, str]], ...]] = {
    'h264': (
        ('libopenh264', {}),
        ('libx264', {'tune': 'zerolatency', 'preset': 'ultrafast'}),
    ),
    'h265': (('libx265', {'x265-params': 'bframes=0:log-level=0', 'preset': 'ultrafast'}),),
    'vp9': (('libvpx-vp9', {'deadline': 'realtime', 'cpu-used': '8', 'lag-in-frames': '0'}),),
    'av1': (('libsvtav1', {'preset': '12', 'svtav1-params': 'pred-struct=1:lookahead=0'}),),
}
"""Encoders of each codec with the options for one picture a packet, the first that is there."""


def pictures(count: int, width: int = WIDTH, height: int = HEIGHT) -> Iterator[np.ndarray]:
    """Yield uint8 (height, width, 3): a texture that moves, with a bright square on it."""
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    texture = cv2.GaussianBlur(noise, (0, 0), 4)
    for i in range(count):
        picture = np.roll(texture, (2 * i, 3 * i), (0, 1))
        picture[20:40, (5 * i) % width : (5 * i) % width + 20] = 230
        yield picture


def encoder(codec: str) -> tuple[str, dict[str, str]]:
    """Return an encoder's name and options; skip the test where there is none."""
    for name, options in ENCODERS[codec]:
        if name in av.codecs_available:
            return name, options
    pytest.skip(f'this FFmpeg has no encoder of {codec}')


def encode(
    codec: str,
    images: list[np.ndarray],
    *,
    group: int = GROUP,
    b_frames: int = 0,
    options: dict[str, str] | None = None,
) -> list[bytes]:
    """Return packets in the order in which they are decoded."""
    name, defaults = encoder(codec)
    context: Any = av.CodecContext.create(name, 'w')
    context.height, context.width = images[0].shape[:2]
    context.pix_fmt = 'yuv420p'
    context.time_base, context.framerate = Fraction(1, 10), Fraction(10)
    context.gop_size, context.max_b_frames = group, b_frames
    context.options = (defaults if options is None else options) | {}
    packets = []
    for i, image in enumerate(images):
        frame = av.VideoFrame.from_ndarray(image, 'bgr24').reformat(format='yuv420p')
        frame.pts = i
        packets += context.encode(frame)
    return [bytes(packet) for packet in packets + context.encode(None)]


def write_video(path: Path, count: int = 12, codec: str = 'mpeg4', **options: Any) -> Path:
    """Write a video file of 10 Hz, by default with a codec that every FFmpeg encodes."""
    with av.open(str(path), 'w') as container:
        name = codec if codec == 'mpeg4' else encoder(codec)[0]
        stream = container.add_stream(name, 10)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, 'yuv420p'
        stream.codec_context.gop_size = GROUP
        for name, value in options.items():
            setattr(stream.codec_context, name, value)
        for image in pictures(count):
            for packet in stream.encode(av.VideoFrame.from_ndarray(image, 'bgr24')):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)
    return path
