"""Decode a camera's video in a thread of its own, before its pictures go to the mailbox."""

from __future__ import annotations

import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from yolox_trt_ros.core.errors import FrameError
from yolox_trt_ros.core.threads import named_thread
from yolox_trt_ros.ros.input.intake import Intake
from yolox_trt_ros.ros.input.video_messages import VideoReader

BEHIND_NS = 1_000_000_000
"""A packet that has waited longer shows that decoding does not keep up."""
MOST_WAITING = 256 << 20
"""Bytes of packets that wait, at most."""
NEWEST = 0.1
"""Share of the newest packet in the mean of what a picture costs."""


class _Waiting(NamedTuple):
    message: bytes
    received_ns: int
    sent_ns: int


class VideoIntake:
    """Takes a camera's messages of video, decodes each in its order, and hands the pictures over.

    Every packet is decoded, also where its picture is replaced in the mailbox: later ones are
    differences to it. Where decoding itself falls behind by more than a second, what waits is given
    up as far as the newest key frame, and counted as replaced.

    Args:
        intake: takes the pictures and counts what gives none.
        read: the camera's reader.
        warn: logs a problem.
    """

    def __init__(self, intake: Intake, read: VideoReader, warn: Callable[[str], None]) -> None:
        self._intake, self._read, self._warn = intake, read, warn
        self._waiting: deque[_Waiting] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = named_thread(self._run, f'video {intake.name}')
        self._thread.start()

    def receive(self, message: bytes, received_ns: int, sent_ns: int = 0) -> None:
        """Take a message; see :meth:`Intake.receive`."""
        with self._changed:
            self._waiting.append(_Waiting(message, received_ns, sent_ns))
            self._bytes += len(message)
            self._changed.notify()

    def close(self) -> None:
        """Decode no further packet."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while (item := self._next()) is not None:
            try:
                decode(self._intake, self._read, *item)
            except Exception:
                self._warn(f'{self._intake.name}: a packet was lost: {traceback.format_exc()}')
                self._read.stream.lose('a packet before was lost')

    def _next(self) -> _Waiting | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._stopping)
            if self._stopping:
                return None
            skipped = self._behind()
            item = self._take()
        self._intake.passed_over(skipped)
        return item

    def _take(self) -> _Waiting:
        item = self._waiting.popleft()
        self._bytes -= len(item.message)
        return item

    def _behind(self) -> int:
        """Give up what decoding cannot keep up with; return how many packets that was."""
        full = self._bytes > MOST_WAITING
        if not full and time.monotonic_ns() - self._waiting[0].received_ns < BEHIND_NS:
            return 0
        keys = (i for i in range(len(self._waiting) - 1, 0, -1) if self._is_key(i))
        skipped = next(keys, len(self._waiting) - 1 if full else 0)
        for _ in range(skipped):
            self._take()
        if skipped:
            self._read.stream.lose('decoding fell behind')
        return skipped

    def _is_key(self, index: int) -> bool:
        try:
            return self._read.is_key(self._waiting[index].message)
        except FrameError:
            return False


def decode(
    intake: Intake, read: VideoReader, message: bytes, received_ns: int, sent_ns: int = 0
) -> None:
    """Decode a message and hand its picture over, or count why there is none."""
    intake.receive(message, read, received_ns, sent_ns)
    stream, notes = read.stream, intake.notes
    usual = notes.video_ns or stream.took_ns
    notes.video_ns = round(usual + NEWEST * (stream.took_ns - usual))
    notes.video = stream.codec


def video_taker(
    intake: Intake, read: VideoReader, warn: Callable[[str], None], *, threaded: bool
) -> tuple[Callable[[bytes, int, int], None], Callable[[], None]]:
    """Return what takes a camera's messages of video, with their times, and what ends it.

    Args:
        intake: the camera's.
        read: its reader.
        warn: logs a problem.
        threaded: whether it is decoded in a thread of its own, and not by whoever brings it, as in
            lockstep.
    """
    if threaded:
        video = VideoIntake(intake, read, warn)
        return video.receive, video.close
    return lambda message, at, sent: decode(intake, read, message, at, sent), lambda: None
