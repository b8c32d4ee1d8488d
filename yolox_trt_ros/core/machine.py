"""A model of a machine whose lanes slow each other down, on a real or virtual clock.

The simulation moves it along a virtual clock; simulated detectors move it along the real one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from yolox_trt_ros.core.profile import LaneProfile

_NEVER = 1 << 62


@dataclass(slots=True, eq=False)
class Job:
    """One call on a lane.

    Attributes:
        lane: where it runs.
        left_ns: what is left of it, in time of an otherwise idle machine.
        finished_ns: when it was done, or None.
    """

    lane: str
    left_ns: float
    finished_ns: int | None = None


@dataclass(slots=True)
class _Lane:
    profile: LaneProfile
    jobs: deque[Job] = field(default_factory=deque)


class Machine:
    """Lanes that run one job at a time each, slower while others are busy.

    While ``k`` other lanes are busy a job proceeds at ``1 / slowdown[k]`` of its speed; the
    speed changes with every start and end, so a job's time is the integral over its neighbours.

    Args:
        lanes: the lanes' figures by name.
        seed: of the jitter.
    """

    def __init__(self, lanes: Mapping[str, LaneProfile], seed: int = 0) -> None:
        self._lanes = {name: _Lane(profile) for name, profile in lanes.items()}
        self._random = np.random.default_rng(seed)
        self._now_ns = 0

    def start(self, lane: str, batch: int, now_ns: int, model: str = '') -> Job:
        """Begin a call with a model, behind those that the lane already has."""
        self.advance(now_ns)
        profile = self._lanes[lane].profile
        cost_ns = float(profile.cost_ns(batch, model=model))
        if profile.jitter:
            # Log-normal with mean 1: never negative, with a tail towards long times.
            sigma = profile.jitter
            cost_ns *= self._random.lognormal(-sigma * sigma / 2, sigma)
        job = Job(lane, cost_ns)
        self._lanes[lane].jobs.append(job)
        return job

    def abort(self, lane: str, now_ns: int) -> None:
        """Forget all that runs on a lane."""
        self.advance(now_ns)
        self._lanes[lane].jobs.clear()

    def next_finish(self) -> tuple[int, str] | None:
        """Return when and where the next job is done if nothing else starts, or None."""
        busy = self._busy()
        ends = [
            (self._now_ns + _whole(lane.jobs[0].left_ns * lane.profile.slowed(busy - 1)), name)
            for name, lane in self._lanes.items()
            if lane.jobs
        ]
        return min(ends) if ends else None

    def advance(self, now_ns: int) -> list[Job]:
        """Let time pass and return the jobs that are done by then, earliest first."""
        done: list[Job] = []
        while True:
            following = self.next_finish()
            until_ns = min(now_ns, following[0] if following else _NEVER)
            self._pass(until_ns)
            if following is None or following[0] > now_ns:
                return done
            job = self._lanes[following[1]].jobs.popleft()
            job.finished_ns = self._now_ns
            done.append(job)

    def _busy(self) -> int:
        return sum(1 for lane in self._lanes.values() if lane.jobs)

    def _pass(self, until_ns: int) -> None:
        if until_ns <= self._now_ns:
            return
        busy = self._busy()
        for lane in self._lanes.values():
            if lane.jobs:
                spent = (until_ns - self._now_ns) / lane.profile.slowed(busy - 1)
                lane.jobs[0].left_ns = max(0.0, lane.jobs[0].left_ns - spent)
        self._now_ns = until_ns


def _whole(ns: float) -> int:
    """Return ``ns`` rounded up, so that a finished job has nothing left."""
    return int(-(-ns // 1))
