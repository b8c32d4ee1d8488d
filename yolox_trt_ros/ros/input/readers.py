"""The readers of image messages, by transport."""

from __future__ import annotations

from collections.abc import Callable

from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.transports import for_each_transport
from yolox_trt_ros.ros.input.codecs import Arrival, read_compressed_image, read_image
from yolox_trt_ros.ros.input.video_messages import (
    VideoReader,
    read_compressed_video,
    read_ffmpeg_packet,
)

MessageReader = Callable[[bytes, Arrival], Frame]
"""Makes a frame of a serialised message, or raises FrameError."""

READERS: dict[str, Callable[[], MessageReader]] = dict(
    for_each_transport(
        {
            'raw': lambda: read_image,
            'compressed': lambda: read_compressed_image,
            'video': lambda: VideoReader(read_compressed_video),
            'ffmpeg': lambda: VideoReader(read_ffmpeg_packet),
        }
    )
)
"""What makes a reader of one camera's messages, by transport."""


def new_reader(transport: str) -> MessageReader:
    """Return a reader of one camera's messages; of video it has to get every one, in their order.

    Raises:
        KeyError: there is no such transport.
    """
    return READERS[transport]()
