"""Turn messages into frames, counts and notes; what all input modes share."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from yolox_trt_ros.core.config import CameraConfig
from yolox_trt_ros.core.crop import cropped
from yolox_trt_ros.core.errors import DropReason, FrameError
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.printing import one_line
from yolox_trt_ros.ros.input.codecs import Arrival

Message = TypeVar('Message')

MANY = 20
"""Images that may be lost while publisher and node are still finding each other."""

KINDS = 20
"""Kinds of problems of a camera that are distinguished; only their numbers make no other kind."""

NUMBER = re.compile(r'\d+')

ROOM_S = 0.1
"""Longest time until one that waits for room sees that it shall stop."""


@dataclass(slots=True)
class IngestNotes:
    """What a camera's messages were like, beyond what the pipeline counts.

    Attributes:
        mode: the input mode, for people.
        last_stamp_ns: header stamp of the newest frame, or None.
        published_stamp_ns: header stamp of the newest published result, or None.
        stamp_jumps: stamps earlier than the one before.
        last_problem: why the last frame without a result had none, whoever found that out: taking
            its message, decoding it on a lane, publishing; empty if there was none.
        topic: full name of the topic; empty where images come without one.
        problem_ns: monotonic time at which that was noted.
        silence: why nothing comes, as long as nothing does; empty if nothing is known.
        warnings: what is wrong around the camera at this moment, for people.
        hint: what is conspicuous about its results, for people; empty: nothing.
        video: the codec of its video; empty: none came.
        video_ns: what a picture of it takes to decode, nanoseconds, averaged.
        lost: messages of the camera's publisher that never reached this node; None where the
            input mode does not count them.
        transit_ns: from the publisher's hand-over to its middleware until the newest frame was
            ready, by the system clocks of both machines; None where nobody knows.
        results: how results are written, for people.
        image_bytes: of the newest frame; 0: none came yet.
        publisher: why the camera's publisher will lose images in transit; empty if nothing
            is known.
    """

    mode: str = ''
    last_stamp_ns: int | None = None
    published_stamp_ns: int | None = None
    stamp_jumps: int = 0
    last_problem: str = ''
    lost: int | None = None
    transit_ns: int | None = None
    results: str = ''
    image_bytes: int = 0
    publisher: str = ''
    topic: str = ''
    problem_ns: int = 0
    silence: str = ''
    warnings: tuple[str, ...] = ()
    hint: str = ''
    video: str = ''
    video_ns: int = 0

    def note_problem(self, problem: str) -> None:
        """Remember why a frame gave no result."""
        self.last_problem, self.problem_ns = one_line(problem), time.monotonic_ns()

    def present_problem(self, now_ns: int, span_ns: int) -> str:
        """Return why nothing comes, or else why a frame of the last ``span_ns`` gave no result."""
        recent = self.last_problem if now_ns - self.problem_ns <= span_ns else ''
        return self.silence or recent


class FrameSink(Protocol):
    """What images are taken for; :class:`schedule.pipeline.Pipeline` is one."""

    def next_sequence(self, camera: str) -> int:
        """Return the arrival number of the camera's next message."""
        ...

    def offer(self, frame: Frame) -> None:
        """Take an arrived frame."""
        ...

    def reject(self, camera: str, reason: DropReason, n: int = 1) -> None:
        """Count messages that never became frames."""
        ...


class PacedSink(FrameSink, Protocol):
    """One that the cameras of this process wait for.

    Attributes:
        stopping: whether it takes nothing any more, because the node ends.
    """

    stopping: bool

    def wait_for_room(self, camera: str, timeout_s: float) -> bool:
        """Wait until ``offer`` would not, and return whether that came in time."""
        ...

    def when_room(self, callback: Callable[[], None] | None) -> None:
        """Have something called, from any thread, whenever there may be room again."""
        ...


def wait_for_room(pipeline: PacedSink, camera: str, stop: threading.Event) -> bool:
    """Wait until the pipeline has room for a frame; return False if asked to stop before.

    In lockstep that may never come, such as while every lane is out.
    """
    while not stop.is_set():
        if pipeline.wait_for_room(camera, ROOM_S):
            return True
    return False


class Ingest(Protocol):
    """Images of all cameras into the pipeline, from construction to ``close``."""

    mode: str
    """How images are taken, for people."""
    notes: dict[str, IngestNotes]
    """By camera."""

    def close(self) -> None:
        """Take no further image."""
        ...


class Intake:
    """Turns one camera's messages into frames, or into counted drops.

    Args:
        camera: whose messages these are.
        pipeline: takes the frames and counts what never became one.
        warn: logs a problem; called for the first, tenth, hundredth … one of a kind.
        mode: the input mode, for the notes.
    """

    def __init__(
        self, camera: CameraConfig, pipeline: FrameSink, warn: Callable[[str], None], mode: str
    ) -> None:
        self.name = camera.name
        self.notes = IngestNotes(mode)
        self._levels, self._crop = camera.levels, camera.part
        self._pipeline = pipeline
        self._warn = warn
        self._received = 0
        self._warned = False
        self._refused: Counter[str] = Counter()

    def receive(
        self,
        message: Message,
        read: Callable[[Message, Arrival], Frame],
        received_ns: int,
        sent_ns: int = 0,
    ) -> None:
        """Hand a message's frame over, or count why there is none.

        Args:
            message: as it was taken.
            read: makes a frame of it or raises FrameError.
            received_ns: when it arrived, monotonic, nanoseconds.
            sent_ns: when its publisher handed it to the middleware, system clock, nanoseconds;
                0 if nobody knows.
        """
        name, notes = self.name, self.notes
        self._received += 1
        arrival = Arrival(name, self._pipeline.next_sequence(name), received_ns, self._levels)
        try:
            frame = cropped(read(message, arrival), self._crop)
        except FrameError as error:
            self._refuse(error)
            return
        if notes.last_stamp_ns is not None and frame.stamp_ns < notes.last_stamp_ns:
            notes.stamp_jumps += 1
        notes.last_stamp_ns = frame.stamp_ns
        notes.image_bytes = frame.data.nbytes
        notes.transit_ns = time.time_ns() - sent_ns if sent_ns else None
        self._pipeline.offer(frame)

    def _refuse(self, error: FrameError) -> None:
        self._pipeline.reject(self.name, error.reason)
        self.notes.note_problem(str(error))
        self.warn_seldom(error.reason.value, str(error))

    def warn_seldom(self, what: str, problem: str) -> None:
        """Log a problem; the first, tenth, hundredth … one of a kind."""
        # A camera that sends nothing else must not fill the log, whatever its messages say.
        kind = NUMBER.sub('#', problem)
        if kind not in self._refused and len(self._refused) >= KINDS:
            kind = 'any other'
        self._refused[kind] = count = self._refused[kind] + 1
        if str(count).strip('0') == '1':
            so_far = f' ({count} so far)' if count > 1 else ''
            self._warn(f'{self.name}: {what}{so_far}: {problem}')

    def passed_over(self, count: int) -> None:
        """Count messages that were given up unread because newer ones were waiting."""
        if count:
            self._pipeline.reject(self.name, DropReason.REPLACED, count)

    def lost(self, count: int) -> None:
        """Note messages that were published and never came; say so if they are the most."""
        lost = self.notes.lost = (self.notes.lost or 0) + count
        if count and lost >= MANY and lost > self._received and not self._warned:
            self._warned = True
            self._warn(
                f'{self.name}: {lost} images were lost in transit, {self._received} arrived: a '
                'camera driver on this machine needs the DDS settings of this package too, or a '
                'larger segment (docs/dds.md); from another machine send compressed images'
            )


def image_taker(
    intake: Intake, read: Callable[[Message, Arrival], Frame]
) -> Callable[[Message, int, int], None]:
    """Return what takes a camera's messages, each an image, with the times of :class:`Arrival`."""
    return lambda message, received_ns, sent_ns: intake.receive(message, read, received_ns, sent_ns)
