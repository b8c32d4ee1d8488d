"""The dispatcher on a virtual clock: a discrete-event simulation of a machine that one may not own.

Nothing here decides anything: frames arrive, a :class:`core.machine.Machine` takes its time, and
:class:`schedule.dispatcher.Dispatcher`, the same as in the real pipeline, does the rest.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import product

import numpy as np

from yolox_trt_ros.core.config import CameraConfig, LaneConfig
from yolox_trt_ros.core.extra_crops import least_size
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.machine import Job, Machine
from yolox_trt_ros.core.profile import Profile
from yolox_trt_ros.core.snapshot import PipelineSnapshot
from yolox_trt_ros.schedule.dispatcher import Dispatcher
from yolox_trt_ros.schedule.state import Batch
from yolox_trt_ros.schedule.warmup import TIMED_RUNS, sizes_to_measure

WATCH_NS = 100_000_000
"""How often lanes ask for frames without any event, as the real supervisor makes them."""
SETTLE_NS = 1_000_000_000
"""What happens before is the start, and not counted in figures."""
_NO_PIXELS = np.empty(0, np.uint8)


@dataclass(frozen=True, slots=True)
class Outage:
    """A lane that fails and, perhaps, comes back, seconds from the start."""

    lane: str
    down_s: float
    up_s: float = float('inf')


@dataclass(frozen=True, slots=True)
class SimulatedResult:
    """One published frame, virtual nanoseconds."""

    camera: str
    received_ns: int
    taken_ns: int
    published_ns: int


@dataclass(frozen=True, slots=True)
class Run:
    """One call on a lane, virtual nanoseconds; what waited behind another call starts after it.

    ``crops`` are how many extra crops each camera's frame had; empty: none.
    """

    lane: str
    cameras: tuple[str, ...]
    start_ns: int
    end_ns: int
    crops: tuple[int, ...] = ()

    @property
    def images(self) -> int:
        """Return how many places of a batch it had: frames and their crops."""
        return len(self.cameras) + sum(self.crops)


@dataclass(slots=True)
class Record:
    """What happened.

    Attributes:
        duration_ns: simulated time.
        results, runs: in order of time.
        settled, final: all accounts when it had settled, and at the end.
        decisions: how often the policy was asked.
    """

    duration_ns: int
    results: list[SimulatedResult] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    settled: PipelineSnapshot | None = None
    final: PipelineSnapshot | None = None
    decisions: int = 0


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is simulated.

    Attributes:
        cameras: rates, priorities, deadlines, pins; ``sim.jitter_ms`` moves their arrivals.
        lanes: as configured; their figures come from ``profile``.
        profile: the machine.
        duration_s: simulated seconds.
        seed: of phases and jitter.
        phases: arrival of each camera's first frame as a fraction of its period; None: random.
        publish_ns: time a lane's thread spends on publishing a batch.
        outages: lanes that fail.
    """

    cameras: Sequence[CameraConfig]
    lanes: Sequence[LaneConfig]
    profile: Profile
    duration_s: float = 10.0
    seed: int = 0
    phases: Sequence[float] | None = None
    publish_ns: int = 0
    outages: Sequence[Outage] = ()


class Simulation:
    """Runs one scenario.

    Args:
        scenario: what is simulated.
        dispatcher: makes the scheduler; another one than :class:`Dispatcher` is a comparison.
        watch: called with the dispatcher and the time after every decision.
        keep: whether results and runs are recorded; a long search for broken invariants needs none.
    """

    def __init__(
        self,
        scenario: Scenario,
        dispatcher: Callable[..., Dispatcher] = Dispatcher,
        *,
        watch: Callable[[Dispatcher, int], None] | None = None,
        keep: bool = True,
    ) -> None:
        self._scenario = scenario
        self._watch = watch
        self._keep = keep
        self._random = np.random.default_rng(scenario.seed)
        profiles = {lane.name: scenario.profile.lane(lane) for lane in scenario.lanes}
        self._machine = Machine(profiles, scenario.seed)
        self._dispatcher = dispatcher(scenario.cameras, scenario.lanes)
        self._record = Record(round(scenario.duration_s * 1e9))
        self._events: list[tuple[int, int, Callable[[int], None]]] = []
        self._scheduled = 0
        self._running: dict[int, tuple[Job, Batch]] = {}
        self._lane_ends: dict[str, int] = {}
        self._depth = {lane.name: lane.in_flight for lane in scenario.lanes}

    def run(self) -> Record:
        """Simulate and return what happened; the last frames may still be on their way."""
        self._warm_up()
        for camera, arrivals in zip(self._scenario.cameras, self._arrivals(), strict=True):
            self._next_arrival(camera.name, least_size(camera.extra_crops), arrivals, 0)
        for outage in self._scenario.outages:
            self._at(outage.down_s * 1e9, partial(self._lane_down, outage.lane))
            self._at(outage.up_s * 1e9, partial(self._lane_up, outage.lane))
        self._at(WATCH_NS, self._watch_lanes)
        self._at(SETTLE_NS, self._settle)
        self._loop()
        self._record.final = self._dispatcher.snapshot(self._record.duration_ns)
        return self._record

    # ---------------------------------------------------------------- clock

    def _at(self, time_ns: float, action: Callable[[int], None]) -> None:
        if time_ns <= self._record.duration_ns:
            self._scheduled += 1
            heapq.heappush(self._events, (round(time_ns), self._scheduled, action))

    def _loop(self) -> None:
        while self._events:
            following = self._machine.next_finish()
            if following is not None and following[0] <= self._events[0][0]:
                for job in self._machine.advance(following[0]):
                    self._finished(job, following[0])
            else:
                now_ns, _, action = heapq.heappop(self._events)
                action(now_ns)

    # --------------------------------------------------------------- events

    def _warm_up(self) -> None:
        beside = len(self._scenario.lanes) - 1
        for lane in self._scenario.lanes:
            profile = self._scenario.profile.lane(lane)
            for model, costs in self._dispatcher.lanes[lane.name].costs.items():
                for size, load in product(sizes_to_measure(lane.max_batch), (0, beside)):
                    for _ in range(TIMED_RUNS):
                        costs.observe(size, load, profile.cost_ns(size, load, model))
            self._dispatcher.lane_up(lane.name, 0)

    def _arrivals(self) -> Iterator[Iterator[int]]:
        phases = self._scenario.phases
        if phases is None:
            phases = self._random.random(len(self._scenario.cameras)).tolist()
        for index, (camera, phase) in enumerate(zip(self._scenario.cameras, phases, strict=True)):
            yield _arrivals(camera, phase, np.random.default_rng((self._scenario.seed, index)))

    def _next_arrival(
        self, camera: str, size: tuple[int, int], arrivals: Iterator[int], sequence: int
    ) -> None:
        def arrive(now_ns: int) -> None:
            self._dispatcher.offer(
                Frame(camera, sequence, now_ns, now_ns, '', 'mono8', *size, 0, _NO_PIXELS)
            )
            self._next_arrival(camera, size, arrivals, sequence + 1)
            self._dispatch(now_ns)

        self._at(next(arrivals), arrive)

    def _dispatch(self, now_ns: int) -> None:
        while True:
            self._record.decisions += 1
            batches = self._dispatcher.dispatch(now_ns)
            if self._watch is not None:
                self._watch(self._dispatcher, now_ns)
            for batch in batches:
                job = self._machine.start(batch.lane, batch.places, now_ns, batch.model)
                self._running[id(job)] = (job, batch)
                self._look_ahead(batch.lane, now_ns)
            if not batches:
                break
        for lane in self._dispatcher.lanes.values():
            # A lane's thread that has nothing more to submit waits for its device.
            lane.accepts = not lane.running

    def _look_ahead(self, lane: str, now_ns: int) -> None:
        """Dispatch again when a running lane may take its next batch."""
        ahead_ns = self._dispatcher.lanes[lane].ahead_ns
        if self._depth[lane] > 1 and ahead_ns > now_ns:
            self._at(ahead_ns, self._dispatch)

    def _finished(self, job: Job, now_ns: int) -> None:
        _, batch = self._running.pop(id(job))
        if not self._dispatcher.collect(batch, now_ns):
            return
        if self._keep:
            start_ns = max(batch.taken_ns, self._lane_ends.get(batch.lane, 0))
            self._lane_ends[batch.lane] = now_ns
            cameras = tuple(frame.camera for frame in batch.frames)
            crops = tuple(len(frame.crops) for frame in batch.frames)
            run = Run(batch.lane, cameras, start_ns, now_ns, crops if any(crops) else ())
            self._record.runs.append(run)
        if self._depth[batch.lane] > 1:
            self._dispatcher.lanes[batch.lane].accepts = True
            self._look_ahead(batch.lane, now_ns)
            self._dispatch(now_ns)
        if self._scenario.publish_ns:
            self._at(now_ns + self._scenario.publish_ns, partial(self._publish, batch))
        else:
            self._publish(batch, now_ns)

    def _publish(self, batch: Batch, now_ns: int) -> None:
        for frame in batch.frames:
            if self._dispatcher.admit(frame):
                self._dispatcher.published(frame, now_ns)
                if self._keep:
                    self._record.results.append(
                        SimulatedResult(frame.camera, frame.received_ns, batch.taken_ns, now_ns)
                    )
        self._dispatcher.release(batch.lane)
        self._dispatcher.lanes[batch.lane].accepts = True
        self._dispatch(now_ns)

    def _lane_down(self, name: str, now_ns: int) -> None:
        self._machine.abort(name, now_ns)
        self._dispatcher.lane_down(name, 'simulated outage', now_ns)
        self._dispatch(now_ns)

    def _lane_up(self, name: str, now_ns: int) -> None:
        self._dispatcher.lane_up(name, now_ns)
        self._dispatch(now_ns)

    def _watch_lanes(self, now_ns: int) -> None:
        self._dispatch(now_ns)
        self._at(now_ns + WATCH_NS, self._watch_lanes)

    def _settle(self, now_ns: int) -> None:
        self._record.settled = self._dispatcher.snapshot(now_ns)


def _arrivals(camera: CameraConfig, phase: float, random: np.random.Generator) -> Iterator[int]:
    """Yield increasing arrival times: every period, moved by the camera's jitter."""
    period_ns = 1e9 / camera.rate_hz
    last_ns = -1
    count = 0
    while True:
        moved_ns = random.normal(0.0, camera.sim.jitter_ms * 1e6) if camera.sim.jitter_ms else 0.0
        last_ns = max(last_ns + 1, round((count + phase) * period_ns + moved_ns), 0)
        yield last_ns
        count += 1
