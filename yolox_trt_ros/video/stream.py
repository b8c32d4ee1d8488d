"""Decode one camera's video, packet by packet: one picture for each packet, or why there is none.

A picture that is coded as a difference to one that is missing or damaged is never given out: the
stream waits for its next key frame, and says so.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Protocol

import numpy as np

from yolox_trt_ros.core.errors import DropReason, FrameError
from yolox_trt_ros.core.printing import one_line
from yolox_trt_ros.video.bitstream import HEADS, H264Head, PacketHead
from yolox_trt_ros.video.libav import LibavDecoder
from yolox_trt_ros.video.pictures import VideoPicture

MOST_BYTES = 64 << 20
"""A larger packet is taken for a damaged message."""

_NAMES = {
    'h264': 'h264', 'avc': 'h264', 'x264': 'h264', 'openh264': 'h264',
    'h265': 'h265', 'hevc': 'h265', 'x265': 'h265',
    'vp9': 'vp9', 'vpx-vp9': 'vp9',
    'av1': 'av1', 'svtav1': 'av1', 'aom-av1': 'av1', 'rav1e': 'av1', 'dav1d': 'av1',
}  # fmt: skip
_WRITTEN = re.compile(r'(?:lib)?([a-z0-9-]+?)(?:_[a-z0-9]+)*')

REORDERED = (
    'its pictures are shown in another order than they are coded (B-frames), so that each would '
    'wait for later ones: encode without (x264, NVENC: bf=0, or tune zerolatency)'
)


def codec_of(name: str) -> str:
    """Return a codec's name here for its name, or an encoder's, in a message.

    Raises:
        FrameError: ``unsupported``: there is no such codec.
    """
    match = _WRITTEN.fullmatch(name.strip().lower())
    codec = _NAMES.get(match.group(1), '') if match else ''
    if not codec:
        raise FrameError(
            DropReason.UNSUPPORTED,
            f'video codec "{one_line(name)[:40]}" is not read; read are {", ".join(HEADS)}',
        )
    return codec


def head_of(codec: str, data: np.ndarray) -> PacketHead:
    """Return what a packet says of itself, where nothing before it is known.

    Args:
        codec: as its message names it.
        data: uint8 (n,), the packet.

    Raises:
        FrameError: it is damaged, or its codec not read.
    """
    _check_size(len(data))
    return HEADS[codec_of(codec)]()(data.tobytes())


def _check_size(size: int) -> None:
    if not 0 < size <= MOST_BYTES:
        raise FrameError(
            DropReason.MALFORMED,
            f'video packet of {size} bytes: expected 1 to {MOST_BYTES}',
        )


class PacketDecoder(Protocol):
    """What a library does for a stream; :class:`libav.LibavDecoder` is one."""

    def reset(self) -> None:
        """Forget everything that was decoded."""
        ...

    def decode(self, data: bytes, number: int) -> list[tuple[int, VideoPicture]]:
        """Return the pictures that a packet gives, each with its own packet's number."""
        ...

    def held_back(self) -> int:
        """Return how many pictures wait for later packets."""
        ...


class VideoStream:
    """Decodes one camera's packets, in the order in which they were coded.

    Args:
        new_decoder: makes a decoder of a codec.

    Attributes:
        codec: of the stream; empty: no packet came yet.
        took_ns: how long the last packet took to decode, nanoseconds.
    """

    def __init__(self, new_decoder: Callable[[str], PacketDecoder] = LibavDecoder) -> None:
        self._new_decoder = new_decoder
        self.codec = ''
        self.took_ns = 0

    def decode(self, codec: str, data: bytes) -> VideoPicture:
        """Return a packet's picture.

        Args:
            codec: as the message names it.
            data: the packet.

        Raises:
            FrameError: ``waiting_for_key_frame``; ``undecodable`` or ``malformed``: it is damaged;
                ``unsupported``: its codec, or B-frames. The rest of the stream goes on.
        """
        began_ns = time.perf_counter_ns()
        try:
            _check_size(len(data))
            if (name := codec_of(codec)) != self.codec:
                self._begin(name)
            return self._decode(data)
        except FrameError as error:
            if error.reason is not DropReason.WAITING_FOR_KEY_FRAME:
                self.lose(f'a packet before was {error.reason.value}')
            raise
        finally:
            self.took_ns = time.perf_counter_ns() - began_ns

    def _begin(self, codec: str) -> None:
        changed = f'the codec changed from {self.codec} to {codec}' if self.codec else ''
        self._decoder = self._new_decoder(codec)
        self.codec = codec
        self._h264 = H264Head()
        self._read = self._h264.read if codec == 'h264' else HEADS[codec]()
        self._number = 0
        self._parameters, self._refused = b'', ''
        self._before: PacketHead | None = None
        self._recovering = False
        self._waits = changed or 'the stream was joined in the middle'

    def lose(self, why: str) -> None:
        """Wait for a key frame from now on."""
        if self.codec:
            self._waits = self._waits or why
            self._before = None

    def _decode(self, data: bytes) -> VideoPicture:
        head = self._read(data)
        if head.parameters and head.parameters != self._parameters:
            self._parameters, self._refused = head.parameters, ''
        if self._refused:
            raise FrameError(DropReason.UNSUPPORTED, self._refused)
        if self._is_gap(head):
            self.lose('a packet before was lost')
        if self._waits:
            if not head.key:
                raise FrameError(
                    DropReason.WAITING_FOR_KEY_FRAME, f'waiting for a key frame: {self._waits}'
                )
            self._decoder.reset()
            self._waits, self._recovering = '', not head.whole
        self._before = head
        self._number += 1
        return self._own_picture(self._decoder.decode(data, self._number))

    def _is_gap(self, head: PacketHead) -> bool:
        """Return whether an H.264 picture is missing before this one, by the frames' numbers."""
        before = self._before
        if not before or before.frame_number < 0 or head.frame_number < 0 or head.whole:
            return False
        most = self._h264.most_numbers
        return head.frame_number != (before.frame_number + before.reference) % most

    def _own_picture(self, found: list[tuple[int, VideoPicture]]) -> VideoPicture:
        """Return the picture of the packet that was just decoded."""
        if not found and self._recovering:
            raise FrameError(
                DropReason.WAITING_FOR_KEY_FRAME,
                'waiting for a whole picture: the stream has no key frames, it renews its pictures '
                'part by part',
            )
        if not found and not self._decoder.held_back():
            raise FrameError(
                DropReason.UNDECODABLE, f'a {self.codec} packet without a picture to show'
            )
        if len(found) != 1 or found[0][0] != self._number:
            self._refused = REORDERED
            raise FrameError(DropReason.UNSUPPORTED, REORDERED)
        self._recovering = False
        return found[0][1]
