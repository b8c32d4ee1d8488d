"""Decode a camera's video in a thread of its own, before its pictures go to the mailbox."""

from __future__ import annotations

import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from yolox_trt_ros.core.errors import FrameError
from yolox_trt_ros.core.threads import named_thread
from yolox_trt_ros.ros.input.intake import Intake
from yolox_trt_ros.ros.input.video_messages import VideoReader
from yolox_trt_ros.video.bitstream import PacketHead

BEHIND_NS = 1_000_000_000
"""A packet that has waited longer shows that decoding does not keep up."""
HOPELESS_NS = 4_000_000_000
"""One that has waited longer is given up, also where no whole key frame came after it."""
MOST_WAITING = 256 << 20
"""Bytes of packets that wait, at most."""
NEWEST = 0.1
"""Share of the newest packet in the mean of what a picture costs."""


@dataclass(slots=True, eq=False)
class _Waiting:
    message: bytes
    received_ns: int
    sent_ns: int
    head: PacketHead | None = None
    """Once it was looked at; of a message that cannot be read :data:`UNREADABLE`."""


UNREADABLE = PacketHead(False, False)


class VideoIntake:
    """Takes a camera's messages of video, decodes each in its order, and hands the pictures over.

    Every packet is decoded, also where its picture is replaced in the mailbox: later ones are
    differences to it. Where decoding itself falls behind by more than a second, what waits is given
    up as far as the newest key frame, and counted as replaced; after some seconds without a whole
    one, as far as one from which the picture is renewed part by part, or else the newest packet.

    Args:
        intake: takes the pictures and counts what gives none.
        read: the camera's reader.
    """

    def __init__(self, intake: Intake, read: VideoReader) -> None:
        self._intake, self._read = intake, read
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
                decode(self._intake, self._read, item.message, item.received_ns, item.sent_ns)
            except Exception:
                self._intake.warn_seldom('a packet was lost', traceback.format_exc())
                self._read.stream.lose('a packet before was lost')

    def _next(self) -> _Waiting | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._stopping)
            if self._stopping:
                return None
            age_ns = time.monotonic_ns() - self._waiting[0].received_ns
            hopeless = age_ns >= HOPELESS_NS or self._bytes > MOST_WAITING
            waiting = list(self._waiting) if hopeless or age_ns >= BEHIND_NS else []
        # Only this thread takes packets away, so others may go on to bring some.
        skipped = self._too_many(waiting, hopeless)
        with self._changed:
            for _ in range(skipped):
                self._take()
            item = self._take()
        if skipped:
            self._read.stream.lose('decoding fell behind')
        self._intake.passed_over(skipped)
        return item

    def _take(self) -> _Waiting:
        item = self._waiting.popleft()
        self._bytes -= len(item.message)
        return item

    def _too_many(self, waiting: list[_Waiting], hopeless: bool) -> int:
        """Return how many packets are to be given up of those that decoding cannot keep up with."""
        begin = 0
        for i in range(len(waiting) - 1, -1, -1):
            head = self._head(waiting[i])
            if head.whole:
                return i
            if head.key:
                begin = begin or i
        return (begin or len(waiting) - 1) if hopeless else 0

    def _head(self, item: _Waiting) -> PacketHead:
        if item.head is None:
            try:
                item.head = self._read.head(item.message)
            except FrameError:
                item.head = UNREADABLE
        return item.head


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
    intake: Intake, read: VideoReader, *, threaded: bool
) -> tuple[Callable[[bytes, int, int], None], Callable[[], None]]:
    """Return what takes a camera's messages of video, with their times, and what ends it.

    Args:
        intake: the camera's.
        read: its reader.
        threaded: whether it is decoded in a thread of its own, and not by whoever brings it, as in
            lockstep.
    """
    if threaded:
        video = VideoIntake(intake, read)
        return video.receive, video.close
    return lambda message, at, sent: decode(intake, read, message, at, sent), lambda: None
