"""Read messages of video: each camera's reader has a decoder, and gives one frame a message.

A reader takes every message of its camera, in their order; it is used by one thread at a time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from yolox_trt_ros.core.encodings import RAW
from yolox_trt_ros.core.errors import FrameError
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.ros.input.codecs import Arrival, CdrReader, read_header
from yolox_trt_ros.video.bitstream import PacketHead
from yolox_trt_ros.video.library import load_av
from yolox_trt_ros.video.stream import VideoStream, head_of


class VideoPacket(NamedTuple):
    """A message of video.

    Attributes:
        stamp_ns, frame_id: of its header.
        codec: as the message names it.
        data: uint8 (n,), a view on the message.
    """

    stamp_ns: int
    frame_id: str
    codec: str
    data: np.ndarray


def read_compressed_video(message: bytes) -> VideoPacket:
    """Return the packet in a serialised ``foxglove_msgs/CompressedVideo``.

    Raises:
        FrameError: ``malformed``.
    """
    reader = CdrReader(message)
    stamp_ns, frame_id = read_header(reader)
    data = reader.payload()
    return VideoPacket(stamp_ns, frame_id, reader.text(), data)


def read_ffmpeg_packet(message: bytes) -> VideoPacket:
    """Return the packet in a serialised ``ffmpeg_image_transport_msgs/FFMPEGPacket``.

    Its codec is what ``encoding`` has before the first semicolon; older versions of the package
    name the encoder there. Size, pts and flags are what the packet itself says, too.

    Raises:
        FrameError: ``malformed``.
    """
    reader = CdrReader(message)
    stamp_ns, frame_id = read_header(reader)
    reader.number('i'), reader.number('i')
    codec = reader.text().partition(';')[0]
    reader.number('Q'), reader.number('B'), reader.number('B')
    return VideoPacket(stamp_ns, frame_id, codec, reader.payload())


class VideoReader:
    """Reads one camera's messages of video into frames.

    Args:
        read: reads a message.

    Raises:
        MissingDependencyError: PyAV is not installed.

    Attributes:
        stream: the decoder, with its codec and what it costs.
    """

    def __init__(self, read: Callable[[bytes], VideoPacket]) -> None:
        load_av()  # for the error where it is missing
        self._read = read
        self.stream = VideoStream()

    def head(self, message: bytes) -> PacketHead:
        """Return what a message's packet says of itself; nothing is decoded.

        Raises:
            FrameError: it cannot be read.
        """
        packet = self._read(message)
        return head_of(packet.codec, packet.data)

    def __call__(self, message: bytes, arrival: Arrival) -> Frame:
        """Return the frame of a message, its stamp the message's.

        Raises:
            FrameError: see :meth:`video.stream.VideoStream.decode`.
        """
        try:
            packet = self._read(message)
        except FrameError as error:  # a picture is missing to those that come
            self.stream.lose(f'a message before was {error.reason.value}')
            raise
        picture = self.stream.decode(packet.codec, packet.data.tobytes())
        height, width = picture.size
        return Frame(
            arrival.camera,
            arrival.sequence,
            packet.stamp_ns,
            arrival.received_ns,
            packet.frame_id,
            picture.encoding,
            height,
            width,
            RAW[picture.encoding].min_step(width),
            picture.image.reshape(-1),
            levels=arrival.levels,
            decoded_ns=time.monotonic_ns(),
        )
