"""A detector without a network: it takes the time of an engine profile and finds nothing.

All simulated lanes of a process share one :class:`SimulatedMachine`, so that they slow each other
down as the profile's lanes do. What is real is everything around them: topics, threads, copies.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence

from yolox_trt_ros.core.backends import LaneSetup
from yolox_trt_ros.core.config import LaneConfig
from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.detector import Detected, FrameResult
from yolox_trt_ros.core.errors import LaneError
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.machine import Job, Machine
from yolox_trt_ros.core.profile import LaneProfile


def lane_detector(lane: LaneConfig, setup: LaneSetup) -> SimulatedDetector:
    """Return the detector of a lane that follows an engine profile."""
    return SimulatedDetector(setup.machine, lane.name, lane.max_batch, setup.model)


class SimulatedMachine:
    """The lanes of a profile on the real clock, for several threads.

    Args:
        lanes: their figures by name.
        seed: of the jitter.
        clock: monotonic nanoseconds.
    """

    def __init__(
        self,
        lanes: Mapping[str, LaneProfile],
        seed: int = 0,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.clock = clock
        self._machine = Machine(lanes, seed)
        self._changed = threading.Condition()

    def start(self, lane: str, batch: int, model: str = '') -> Job:
        """Begin a call on a lane, with one of the vehicle's models."""
        with self._changed:
            job = self._machine.start(lane, batch, self.clock(), model)
            self._changed.notify_all()
            return job

    def wait(self, job: Job) -> None:
        """Block until a call is done; other lanes' calls may delay it meanwhile.

        Raises:
            LaneError: the lane was closed.
        """
        with self._changed:
            while True:
                now_ns = self.clock()
                if self._machine.advance(now_ns):
                    self._changed.notify_all()
                if job.finished_ns is not None:
                    return
                following = self._machine.next_finish()
                if following is None:
                    raise LaneError(f'lane {job.lane} was closed while a call was running')
                self._changed.wait(max(0, following[0] - now_ns) / 1e9)

    def close(self, lane: str) -> None:
        """Forget what runs on a lane."""
        with self._changed:
            self._machine.abort(lane, self.clock())
            self._changed.notify_all()


class SimulatedDetector:
    """One lane of a :class:`SimulatedMachine`; every result is empty.

    Args:
        machine: shared by all simulated lanes of the process.
        lane: name in the machine.
        max_batch: most frames of a call.
        model: whose times it takes; empty: those of the vehicle's ``model``.
    """

    def __init__(
        self, machine: SimulatedMachine, lane: str, max_batch: int, model: str = ''
    ) -> None:
        self._machine = machine
        self._lane = lane
        self._max_batch = max_batch
        self._model = model
        self._last: Job | None = None
        self.about = 'no network: it follows an engine profile'

    @property
    def max_batch(self) -> int:
        """Return how many frames one call accepts."""
        return self._max_batch

    def submit(self, frames: Sequence[Frame]) -> SimulatedTicket:
        """Start a batch of frames that take 1 to ``max_batch`` places."""
        places = sum([frame.places for frame in frames])
        if not 1 <= places <= self._max_batch:
            raise ValueError(f'expected 1 to {self._max_batch} places, got {places}')
        submitted_ns = self._machine.clock()
        before, self._last = self._last, self._machine.start(self._lane, places, self._model)
        return SimulatedTicket(self._machine, self._last, before, len(frames), submitted_ns)

    def close(self) -> None:
        """Forget what runs."""
        self._machine.close(self._lane)


class SimulatedTicket:
    """A running call, which began when it was submitted and the one before was done."""

    def __init__(
        self,
        machine: SimulatedMachine,
        job: Job,
        before: Job | None,
        frames: int,
        submitted_ns: int,
    ) -> None:
        self._machine = machine
        self._job, self._before = job, before
        self._frames = frames
        self._submitted_ns = submitted_ns

    def sleep(self) -> None:
        """Block until the call is done, or its lane closed."""
        self._machine.wait(self._job)

    def wait(self) -> list[FrameResult]:
        """Block until the call is done and return an empty result per frame."""
        self._machine.wait(self._job)
        done_ns = self._machine.clock()
        begun_ns = self._submitted_ns
        if self._before is not None and self._before.finished_ns is not None:
            begun_ns = max(begun_ns, self._before.finished_ns)
        return [
            Detected(Detections.empty(), begun_ns, begun_ns, done_ns, done_ns)
            for _ in range(self._frames)
        ]
