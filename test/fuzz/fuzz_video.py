"""Packets of video and their messages: heads, parameters, decoding, streams that go on after."""

from __future__ import annotations

import os
import random
import struct
import sys
from functools import cache
from pathlib import Path

from harness import Target
from mutation import TEXTS, damaged

sys.path.append(str(Path(__file__).resolve().parents[1]))

from yolox_trt_ros.core.errors import FrameError
from yolox_trt_ros.ros.input.codecs import Arrival
from yolox_trt_ros.ros.input.readers import new_reader
from yolox_trt_ros.ros.replay.video_topic import compressed_video

ARRIVAL = Arrival('front', 0, 0)


@cache
def streams() -> dict[str, list[bytes]]:
    """Return a short sound stream of each codec that is encoded here, from which damage starts."""
    from videos import ENCODERS, av, encode, pictures

    os.environ.setdefault('SVT_LOG', '0')
    there = {c for c, e in ENCODERS.items() if any(name in av.codecs_available for name, _ in e)}
    return {codec: encode(codec, list(pictures(6, 64, 48)), group=3) for codec in sorted(there)}


def make_stream(source: random.Random) -> tuple[str, list[bytes]]:
    """Return messages of a stream, some packets or messages damaged, lost or of another codec."""
    codec = source.choice([*streams()])
    packets = [p for p in streams()[codec] if source.random() < 0.9]
    messages = []
    for packet in packets:
        if source.random() < 0.4:
            packet = damaged(packet, source)
        named = (
            source.choice([*streams(), '', 'mjpeg', 'libx264']) if source.random() < 0.1 else codec
        )
        message = compressed_video(source.randrange(2**31), 'front', packet, named)
        if source.random() < 0.1:
            message = damaged(message, source)
        messages.append(message)
    return 'video', messages


def make_packet(source: random.Random) -> tuple[str, list[bytes]]:
    """Return one FFMPEGPacket of any bytes."""
    codec = source.choice([*streams(), *TEXTS]).encode(errors='replace')[:4000] + b';x\0'
    head = struct.pack('<4siII4sii', b'\0\1\0\0', 1, 2, 1, b'', 64, 48)
    head += struct.pack('<I', len(codec)) + codec
    head += bytes(-(len(head) - 4) % 8) + struct.pack('<QBBxx', 1, 1, 0)
    data = source.choice((b'', b'\0\0\0\1', b'\0\0\1\x67')) + source.randbytes(40)
    return 'ffmpeg', [damaged(head + struct.pack('<I', len(data)) + data, source)]


def read_stream(made: tuple[str, list[bytes]]) -> None:
    """Read messages as the node does, and then a sound stream: damage must not last."""
    transport, messages = made
    read = new_reader(transport)
    for message in messages:
        try:
            frame = read(message, ARRIVAL)
        except FrameError:
            continue
        assert frame.data.nbytes >= frame.height * frame.width
    if transport == 'video':
        for codec, packets in streams().items():
            for packet in packets:
                read(compressed_video(1, 'front', packet, codec), ARRIVAL)


streams()  # before processes are forked: encoders take longer than a case
TARGETS = [
    Target('video_streams', make_stream, read_stream, (), 30.0, 2048, None, 0.02),
    Target('video_packets', make_packet, read_stream, (), 30.0, 2048, None, 0.1),
]
