"""Simulated cameras without ROS: pictures at the rates of real drivers, from one thread."""

from __future__ import annotations

import heapq
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from yolox_trt_ros.core.config import Config
from yolox_trt_ros.core.frame import FOUND, Frame
from yolox_trt_ros.core.threads import named_thread
from yolox_trt_ros.sim.encode import EncodedImage
from yolox_trt_ros.sim.loops import CACHE_BYTES, Album, Loop, open_loops

LATE_NS = 5_000_000
"""Lateness above which a tick counts as late."""


@dataclass(frozen=True, slots=True)
class Shot:
    """One picture of one camera at the time it was due.

    Attributes:
        camera: the camera's name.
        tick: number of the tick, from 0; gaps are skipped ticks.
        due_ns: time of the tick, monotonic, nanoseconds.
        index: which picture of the source's loop it is.
        image: what the driver sends; shared with later shots, never to be changed.
    """

    camera: str
    tick: int
    due_ns: int
    index: int
    image: EncodedImage


@dataclass(slots=True)
class StreamCount:
    """What became of one camera's ticks: ``due == sent + skipped``.

    Attributes:
        sent: shots handed out.
        late: of these, more than ``LATE_NS`` after their time.
        skipped: ticks so late that the next one was due already.
        worst_late_ns: largest lateness of a shot, nanoseconds.
    """

    sent: int = 0
    late: int = 0
    skipped: int = 0
    worst_late_ns: int = 0


class Ticks:
    """When one camera takes its pictures: multiples of the period, so that no error adds up.

    Args:
        rate_hz: ticks per second.
        phase: 0 to 1, the part of a period by which the first tick is delayed.
        jitter_ms: standard deviation of each tick about its place; cut off at half a period, so
            that ticks stay in order.
        seed: of the jitter.
    """

    def __init__(self, rate_hz: float, phase: float, jitter_ms: float, seed: int) -> None:
        self.period_ns = 1e9 / rate_hz
        self._phase = phase
        self._jitter_ns = jitter_ms * 1e6
        self._random = random.Random(seed)

    def __iter__(self) -> Iterator[int]:
        """Yield the time of each tick, nanoseconds after the start."""
        most = self.period_ns * 0.49
        number = 0
        while True:
            shift = self._random.gauss(0.0, self._jitter_ns) if self._jitter_ns else 0.0
            place = (number + self._phase) * self.period_ns
            yield max(0, round(place + min(max(shift, -most), most)))
            number += 1


class CameraStreams:
    """Every camera of a vehicle, played at its rate.

    One thread serves all cameras in the order in which they are due; cameras of one rate are
    spread evenly over the period, as staggered triggers do, or due at the same time, as one
    trigger for all does (``sim.trigger``). A tick that comes late is handed out at once and counted
    as late; when the next one of the same camera is due already, it is skipped and counted as that.
    ``stop`` may be called more than once.

    Args:
        config: cameras, sources and seed.
        emit: called on the streams' thread with each shot; what it raises ends the streams.
        on_progress: called with words on how far reading and encoding ahead is.
        on_error: called on the streams' thread with what ended the streams.
        stopping: asked between two pictures that are read ahead whether to give up.
        cache_bytes: most memory that encoded pictures may take.

    Raises:
        ConfigError: a source cannot be read, or an encoding does not fit the transport.
        StoppedError: ``stopping`` said so.
    """

    def __init__(
        self,
        config: Config,
        emit: Callable[[Shot], None],
        *,
        on_progress: Callable[[str], None] | None = None,
        on_error: Callable[[BaseException], None] | None = None,
        stopping: Callable[[], bool] = lambda: False,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self._emit = emit
        self._on_error = on_error
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._start_ns = 0
        self._thread = named_thread(self._run, 'camera_streams')
        self._cameras = config.cameras
        self._loops = open_loops(config, on_progress or _ignore, Album(cache_bytes), stopping)
        spread = 1 / len(self._cameras) if config.sim.trigger == 'staggered' else 0.0
        self._ticks = [
            iter(Ticks(c.rate_hz, i * spread, c.sim.jitter_ms, config.sim.seed + i))
            for i, c in enumerate(self._cameras)
        ]
        self.counts = {camera.name: StreamCount() for camera in self._cameras}

    @property
    def running(self) -> bool:
        """Whether shots are still to come."""
        return self._thread.is_alive()

    def loop(self, camera: str) -> Loop:
        """Return what a camera plays."""
        return self._loops[camera]

    def start(self) -> None:
        """Begin to hand out shots."""
        self._start_ns = time.monotonic_ns()
        self._thread.start()

    def stop(self) -> None:
        """Hand out no further shot.

        Raises:
            Exception: what ``emit`` or a source raised, if that ended the streams.
        """
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _run(self) -> None:
        try:
            self._play()
        except BaseException as error:  # handed to whoever calls stop()
            self._error = error
            if self._on_error is not None:
                self._on_error(error)

    def _play(self) -> None:
        due = [(next(ticks), 0, number) for number, ticks in enumerate(self._ticks)]
        heapq.heapify(due)
        while not self._stop.is_set():
            after_ns, tick, number = due[0]
            wait_ns = self._start_ns + after_ns - time.monotonic_ns()
            if wait_ns > 0:
                self._stop.wait(wait_ns / 1e9)
                continue
            following_ns = next(self._ticks[number])
            heapq.heapreplace(due, (following_ns, tick + 1, number))
            if time.monotonic_ns() - self._start_ns >= following_ns:
                self.counts[self._cameras[number].name].skipped += 1
            else:
                self._shoot(self._cameras[number].name, tick, after_ns)

    def _shoot(self, camera: str, tick: int, after_ns: int) -> None:
        loop, count = self._loops[camera], self.counts[camera]
        index = loop.index(tick, after_ns / 1e9)
        shot = Shot(camera, tick, self._start_ns + after_ns, index, loop.image(index))
        late_ns = time.monotonic_ns() - shot.due_ns
        self._emit(shot)
        count.sent += 1
        count.late += late_ns > LATE_NS
        count.worst_late_ns = max(count.worst_late_ns, late_ns)


def optical_frame(camera: str) -> str:
    """Return the frame_id of a camera's images (REP 103: z forward, x right, y down)."""
    return f'{camera}_optical_frame'


def to_frame(
    shot: Shot,
    sequence: int,
    stamp_ns: int,
    received_ns: int,
    levels: tuple[int, int] = FOUND,
) -> Frame:
    """Return a shot as it looks behind the middleware, for pipelines in the same process.

    Args:
        shot: from :class:`CameraStreams`.
        sequence: arrival number among the frames of its camera.
        stamp_ns: header stamp in the ROS clock, nanoseconds.
        received_ns: arrival in the monotonic clock, nanoseconds.
        levels: see :class:`core.frame.Frame`.
    """
    image = shot.image
    return Frame(
        shot.camera,
        sequence,
        stamp_ns,
        received_ns,
        optical_frame(shot.camera),
        image.encoding,
        image.height,
        image.width,
        image.step,
        image.data,
        levels=levels,
    )


def _ignore(text: str) -> None:
    del text
