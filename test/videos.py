"""Videos for tests: moving pictures, encoded by what FFmpeg has here."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from yolox_trt_ros.video.encoder import without_real_time

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
    with without_real_time():
        context.open()
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
        with without_real_time():
            stream.codec_context.open(strict=False)
        for image in pictures(count):
            for packet in stream.encode(av.VideoFrame.from_ndarray(image, 'bgr24')):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)
    return path


def video_message(
    definitions: Any, packet: bytes, stamp_ns: int, codec: str, kind: str = 'video'
) -> bytes:
    """Return a message of one packet as rosbags serialises it."""
    seconds, rest = divmod(stamp_ns, 10**9)
    time = definitions.make('builtin_interfaces/msg/Time', sec=seconds, nanosec=rest)
    data = np.frombuffer(packet, np.uint8)
    if kind == 'video':
        message = definitions.make(
            VIDEO_TYPE, timestamp=time, frame_id='front', data=data, format=codec
        )
    else:
        header = definitions.make('std_msgs/msg/Header', stamp=time, frame_id='front')
        message = definitions.make(
            'ffmpeg_image_transport_msgs/msg/FFMPEGPacket', header=header, width=WIDTH,
            height=HEIGHT, encoding=f'{codec};yuv420p;bgr24;bgr8', pts=7, flags=1,
            is_bigendian=False, data=data,
        )  # fmt: skip
    return bytes(definitions.write(message))


VIDEO_TYPE = 'foxglove_msgs/msg/CompressedVideo'
BEGIN_NS = 1_700_000_000_123_456_789
PERIOD_NS = 100_000_000


def video_bag(path: Path, topics: dict[str, list[bytes]], codec: str) -> Path:
    """Write a bag of video, one topic for each list of packets, 10 Hz."""
    from yolox_trt_ros.bags.writer import BagWriter

    with BagWriter(path) as bag:
        for topic in topics:
            bag.add_topic(topic, VIDEO_TYPE)
        for i in range(max(map(len, topics.values()))):
            stamp_ns = BEGIN_NS + i * PERIOD_NS
            for topic, packets in topics.items():
                if i < len(packets):
                    message = video_message(bag.definitions, packets[i], stamp_ns, codec)
                    bag.write(topic, stamp_ns, message)
    return path
