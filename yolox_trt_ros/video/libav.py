"""Decode one stream of packets with FFmpeg's libraries on the CPU."""

from __future__ import annotations

from typing import Any

from yolox_trt_ros.core.errors import DropReason, FrameError
from yolox_trt_ros.video.files import MOST_PIXELS
from yolox_trt_ros.video.library import load_av
from yolox_trt_ros.video.pictures import VideoPicture, picture_of

DECODERS = {'h264': 'h264', 'h265': 'hevc', 'vp9': 'vp9', 'av1': 'libdav1d'}
"""FFmpeg's decoder of each codec; its own of AV1 needs a GPU."""


class LibavDecoder:
    """One decoder; it gives a picture as soon as the stream allows, and conceals no damage.

    Args:
        codec: a key of :data:`DECODERS`.

    Raises:
        FrameError: ``unsupported``: this FFmpeg was built without the codec.
        MissingDependencyError: PyAV is not installed.
    """

    def __init__(self, codec: str) -> None:
        self._av = load_av()
        self._codec = codec
        self.reset()

    def reset(self) -> None:
        """Forget everything that was decoded; the next packet is a key frame."""
        av = self._av
        try:
            context: Any = av.CodecContext.create(DECODERS[self._codec], 'r')
        except (av.FFmpegError, ValueError) as error:
            raise FrameError(
                DropReason.UNSUPPORTED,
                f'this FFmpeg has no decoder "{DECODERS[self._codec]}" for {self._codec}',
            ) from error
        # Cameras are decoded side by side, each in a thread of its own.
        context.thread_type, context.thread_count = 'NONE', 1
        context.flags |= av.codec.context.Flags.low_delay
        context.options = {'err_detect': 'explode', 'max_pixels': str(MOST_PIXELS)}
        self._context = context

    def decode(self, data: bytes, number: int) -> list[tuple[int, VideoPicture]]:
        """Return the pictures that a packet gives, each with the number of its own packet.

        Args:
            data: one packet, not empty.
            number: the packet's, rising.

        Raises:
            FrameError: ``undecodable``: it is damaged.
        """
        packet = self._av.Packet(data)
        packet.pts = packet.dts = number
        return self._pictures(packet)

    def held_back(self) -> int:
        """Return how many pictures wait for later packets; after it, :meth:`reset` is needed."""
        try:
            return len(self._pictures(None))
        except FrameError:
            return 0

    def _pictures(self, packet: Any) -> list[tuple[int, VideoPicture]]:
        try:
            frames = self._context.decode(packet)
        except self._av.FFmpegError as error:
            size = packet.size if packet else 0
            raise FrameError(
                DropReason.UNDECODABLE,
                f'damaged {self._codec} packet of {size} bytes: {error.strerror}',
            ) from error
        if any(frame.is_corrupt for frame in frames):
            raise FrameError(DropReason.UNDECODABLE, f'damaged {self._codec} picture')
        return [(frame.pts, picture_of(frame)) for frame in frames]
