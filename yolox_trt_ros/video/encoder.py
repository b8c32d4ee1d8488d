"""Encode pictures as they come: one packet each, a key frame a second, no B-frames."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np

from yolox_trt_ros.core.errors import ConfigError, YoloxTrtRosError, did_you_mean
from yolox_trt_ros.video.library import load_av

BITS_PER_PIXEL = 0.1
"""Of encoders that know no quality, only a rate: 2 Mbit/s for 1080p at 10 Hz."""


@dataclass(frozen=True, slots=True)
class VideoEncoder:
    """An encoder of FFmpeg.

    Attributes:
        codec: what it writes, one of :data:`core.encodings.VIDEO`.
        options: FFmpeg's, for a picture a packet and a quality in which little is lost.
        copyleft: whether its library is under the GPL; it is then used only if somebody names it.
        bit_rate: whether it needs a rate.
    """

    codec: str
    options: dict[str, str] = field(default_factory=dict)
    copyleft: bool = False
    bit_rate: bool = False


_NVENC = {'preset': 'p4', 'tune': 'ull', 'rc': 'vbr', 'cq': '23', 'forced-idr': '1'}
ENCODERS = {
    'h264_nvenc': VideoEncoder('h264', _NVENC),
    'libopenh264': VideoEncoder('h264', bit_rate=True),
    'libx264': VideoEncoder(
        'h264', {'preset': 'superfast', 'tune': 'zerolatency', 'crf': '21'}, copyleft=True
    ),
    'hevc_nvenc': VideoEncoder('h265', _NVENC),
    'libx265': VideoEncoder(
        'h265',
        {'preset': 'ultrafast', 'tune': 'zerolatency', 'crf': '23', 'x265-params': 'log-level=0'},
        copyleft=True,
    ),
    'libvpx-vp9': VideoEncoder(
        'vp9',
        {'deadline': 'realtime', 'cpu-used': '8', 'lag-in-frames': '0', 'crf': '24', 'b': '0'},
    ),
    'av1_nvenc': VideoEncoder('av1', _NVENC),
    'libsvtav1': VideoEncoder(
        'av1', {'preset': '11', 'crf': '30', 'svtav1-params': 'pred-struct=1:lookahead=0'}
    ),
}
"""By FFmpeg's name; of each codec the first one that this machine can run is taken."""


def choose_encoder(codec: str, name: str = '') -> str:
    """Return the name of an encoder that runs here.

    Args:
        codec: what it is to write.
        name: which one; empty: the first of the codec that is not under the GPL.

    Raises:
        ConfigError: there is none, or the named one writes another codec; the message says what
            there is.
    """
    if name:
        if name not in ENCODERS or ENCODERS[name].codec != codec:
            valid = [n for n, e in ENCODERS.items() if e.codec == codec]
            raise ConfigError(f'encoder "{name}" does not write {codec}{did_you_mean(name, valid)}')
        if why := _why_not(name):
            raise ConfigError(f'encoder {name} does not run here: {why}')
        return name
    free = [n for n, e in ENCODERS.items() if e.codec == codec and not e.copyleft]
    for one in free:
        if not _why_not(one):
            return one
    copyleft = [n for n, e in ENCODERS.items() if e.codec == codec and e.copyleft]
    named = ''.join(
        f', or accept the GPL of {n}: --encoder {n}' for n in copyleft if not _why_not(n)
    )
    others = dict.fromkeys(
        e.codec for n, e in ENCODERS.items() if not e.copyleft and not _why_not(n)
    )
    raise ConfigError(
        f'no encoder of {codec} runs here ({", ".join(free)}): choose '
        f'{" or ".join(others) or "another FFmpeg"}{named}'
    )


def _why_not(name: str) -> str:
    """Return why an encoder does not run on this machine; '' if it does."""
    if name not in load_av().codecs_available:
        return 'this FFmpeg was built without it'
    try:
        video = EncodedVideo(name, 10.0)
        video.encode(np.zeros((256, 256, 3), np.uint8))
        video.finish()
    except YoloxTrtRosError as error:
        return str(error)
    return ''


class EncodedVideo:
    """One camera's video on its way into packets.

    Args:
        name: a key of :data:`ENCODERS`.
        rate_hz: pictures per second; there is a key frame a second.

    Raises:
        MissingDependencyError: PyAV is not installed.
    """

    def __init__(self, name: str, rate_hz: float) -> None:
        self._av = load_av()
        self._name, self._encoder = name, ENCODERS[name]
        self._rate = Fraction(rate_hz).limit_denominator(1000)
        self._size = (0, 0)
        self._context: Any = None
        self._ready: list[bytes] = []

    @property
    def ready(self) -> int:
        """Return how many packets the next call has already; after an error, all that there are."""
        return len(self._ready)

    @property
    def codec(self) -> str:
        """Return what it writes."""
        return self._encoder.codec

    def encode(self, bgr: np.ndarray) -> list[bytes]:
        """Return the packets that are ready, in the order of their pictures; mostly this one's.

        Args:
            bgr: uint8 (height, width, 3); an odd last row or column is left out. Another size than
                that of the picture before begins with a key frame.

        Raises:
            YoloxTrtRosError: the encoder does not run here, refuses the size, or fails. The picture
                is lost, with those that a failing encoder held; packets that were ready come with
                the next call, and the next picture begins with a key frame.
        """
        height, width = (side - side % 2 for side in bgr.shape[:2])
        try:
            if self._context is None or (height, width) != self._size:
                self._flush()
                self._context = self._new(height, width)
                self._size, self._count = (height, width), 0
            image = np.ascontiguousarray(bgr[:height, :width])
            frame = self._av.VideoFrame.from_ndarray(image, 'bgr24').reformat(format='yuv420p')
            frame.pts = self._count
            self._count += 1
            self._ready += [bytes(packet) for packet in self._context.encode(frame)]
            return self._take()
        except (self._av.FFmpegError, ValueError) as error:
            self._context = None
            raise YoloxTrtRosError(f'{self._name}: {error}') from error

    def finish(self) -> list[bytes]:
        """Return the packets of pictures that the encoder still holds.

        Raises:
            YoloxTrtRosError: it fails; another call returns what was ready before.
        """
        try:
            self._flush()
        except self._av.FFmpegError as error:
            raise YoloxTrtRosError(f'{self._name}: {error}') from error
        return self._take()

    def _flush(self) -> None:
        context, self._context = self._context, None
        if context is not None:
            self._ready += [bytes(packet) for packet in context.encode(None)]

    def _take(self) -> list[bytes]:
        packets, self._ready = self._ready, []
        return packets

    def _new(self, height: int, width: int) -> Any:
        os.environ.setdefault('SVT_LOG', '0')  # or libsvtav1 writes its settings to the terminal
        context: Any = self._av.CodecContext.create(self._name, 'w')
        context.width, context.height, context.pix_fmt = width, height, 'yuv420p'
        context.framerate, context.time_base = self._rate, 1 / self._rate
        context.gop_size, context.max_b_frames = max(1, round(self._rate)), 0
        if self._encoder.bit_rate:
            context.bit_rate = round(BITS_PER_PIXEL * width * height * self._rate)
        context.options = dict(self._encoder.options)
        with without_real_time():
            context.open()
        return context


@contextmanager
def without_real_time() -> Iterator[None]:
    """Take real-time priority from the threads that get it meanwhile.

    SVT-AV1, run by root, puts its own threads and the one that opens it ahead of every other
    program (SCHED_FIFO, priority 99), for good: detection would wait for a recording.
    """
    before = _real_time_threads()
    try:
        yield
    finally:
        for thread in _real_time_threads() - before:
            with suppress(ProcessLookupError):
                os.sched_setscheduler(thread, os.SCHED_OTHER, os.sched_param(0))


def _real_time_threads() -> set[int]:
    """Return the threads of this process that go before all others."""
    found = set()
    for thread in map(int, os.listdir('/proc/self/task')):
        with suppress(ProcessLookupError):
            if os.sched_getscheduler(thread) in (os.SCHED_FIFO, os.SCHED_RR):
                found.add(thread)
    return found
