"""What the dispatcher remembers of each lane and running batch."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from yolox_trt_ros.core.config import CameraConfig, LaneConfig
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.snapshot import LaneSnapshot, LaneState
from yolox_trt_ros.schedule.costs import CostModel

USE_MEMORY_NS = 500_000_000
"""How far back a lane's utilisation is remembered."""
HANG_FACTOR = 10
"""A batch that takes this many times its expected cost hangs …"""
HANG_NS = 2_000_000_000
"""… but not before this time has passed."""
DECODED_NS = 200
"""Longest time that a core takes to decode a pixel, however many scans refine it."""
BACKOFF_NS = 500_000_000
"""Pause before the first rebuild of a failed lane; it doubles with every failure in a row."""
CIRCUIT_FAILURES = 5
"""After this many failures in a row a lane's circuit opens …"""
CIRCUIT_NS = 60_000_000_000
"""… and it is tried only this often."""
AHEAD_NS = 4_000_000
"""A running lane takes its next batch so long before it is expected to be done: a GPU gets eight
1920×1280 images in 1 ms, and its host has to wake up. What waits in a mailbox stays the newest."""
HEALED_NS = 30_000_000_000
"""A lane that ran this long starts again with its first pause when it fails."""


@dataclass(slots=True, eq=False)
class Batch:
    """Frames that a lane has taken and runs in one call.

    Attributes:
        lane: who runs it.
        frames: at least one.
        taken_ns: when they left their mailboxes.
        load: how many other lanes were busy then.
        expected_ns: the cost that was expected.
        started_ns: when the lane begins it: at once, or when the batch before it is done.
        model: the one that all its cameras have; empty: the vehicle's ``model``.
        grace_ns: time that its images' decoding may take beyond that before the lane is thought to
            hang: it is the cameras' time and not the lane's.
        valid: False once the lane has failed; its result is then worth nothing.
        blamed: whether that was held against its camera.
    """

    lane: str
    frames: Sequence[Frame]
    taken_ns: int
    load: int
    expected_ns: int
    started_ns: int
    model: str = ''
    grace_ns: int = 0
    valid: bool = True
    blamed: bool = False

    @property
    def places(self) -> int:
        """Return how many images its call has: frames and their crops."""
        return sum([frame.places for frame in self.frames])


@dataclass(slots=True, eq=False)
class Lane:
    """One lane's state and account.

    Attributes:
        config: given.
        costs: what its calls take, by model.
        state: where it is in its life.
        accepts: whether its thread looks for a batch, and neither submits one nor waits for its
            device.
        publishing: whether a collected batch is still being published.
        running: batches taken and not yet collected, oldest first.
        busy_until_ns: when they are expected to be done.
        measured_ns: when its last batch was done.
        utilisation: fraction of the latest time that it was busy, 0 to 1.
        failures_in_row: failures without a long run between them.
        up_ns: when it last came up.
        note: what happened to it last.
        runs: what its detector says of itself.
        step: where in what it is doing the thread is.
        room: places of one call for a frame and its crops, however many frames a batch may have.
        doing, doing_since_ns: what its thread is at before it takes frames, and since when; empty
            if it waits or serves.
    """

    config: LaneConfig
    state: LaneState = LaneState.STARTING
    costs: dict[str, CostModel] = field(default_factory=dict)
    accepts: bool = False
    publishing: bool = False
    running: deque[Batch] = field(default_factory=deque)
    busy_until_ns: int = 0
    measured_ns: int = -(1 << 62)
    processed: int = 0
    batches: int = 0
    busy_ns: int = 0
    failures: int = 0
    failures_in_row: int = 0
    restarts: int = 0
    up_ns: int = 0
    utilisation: float = 0.0
    note: str = ''
    doing: str = ''
    step: str = ''
    runs: str = ''
    doing_since_ns: int = 0
    room: int = 1

    @classmethod
    def of(cls, config: LaneConfig, most: int) -> Lane:
        """Return a lane of whose batches no more than so many places are ever filled."""
        limited = replace(config, max_batch=min(config.max_batch, most))
        return cls(limited, room=config.max_batch)

    def come_up(self, now_ns: int) -> None:
        """Take frames from now on."""
        self.restarts += self.failures > 0
        self.state = LaneState.RUNNING
        self.accepts = True
        self.up_ns = self.measured_ns = self.busy_until_ns = now_ns

    def fail(self, why: str, now_ns: int) -> int:
        """Take no frames any more and return the pause until the next attempt, nanoseconds."""
        if self.state is LaneState.RUNNING and now_ns - self.up_ns > HEALED_NS:
            self.failures_in_row = 0
        self.failures += 1
        self.failures_in_row += 1
        is_open = self.failures_in_row >= CIRCUIT_FAILURES
        self.state = LaneState.OPEN if is_open else LaneState.QUARANTINED
        self.accepts = self.publishing = False
        self.note, self.doing = why, ''
        return CIRCUIT_NS if is_open else BACKOFF_NS << (self.failures_in_row - 1)

    def hangs(self, now_ns: int) -> str:
        """Return what was expected and what happened if the oldest batch hangs, or nothing."""
        if not self.running:
            return ''
        batch = self.running[0]
        spent_ns = now_ns - batch.started_ns
        # A lane decodes a batch's images while the batch before may still be running.
        grace_ns = sum(ahead.grace_ns for ahead in self.running)
        if spent_ns <= max(HANG_NS, HANG_FACTOR * batch.expected_ns) + grace_ns:
            return ''
        return (
            f'no result after {spent_ns / 1e9:.1f} s, '
            f'expected one after {batch.expected_ns / 1e6:.1f} ms'
        )

    def time_lost(self, from_ns: int, to_ns: int) -> None:
        """Take a time in which nothing could run out of what the lane is doing."""
        for batch in self.running:
            if batch.started_ns < to_ns:
                batch.started_ns += to_ns - max(from_ns, batch.started_ns)
        if self.doing and self.doing_since_ns < to_ns:
            self.doing_since_ns += to_ns - max(from_ns, self.doing_since_ns)

    def used(self, cost_ns: int, now_ns: int) -> None:
        """Take in that the lane has just been busy for ``cost_ns``."""
        since_ns = max(1, cost_ns, now_ns - self.measured_ns)
        self.measured_ns = now_ns
        self.busy_ns += cost_ns
        weight = 1 - math.exp(-since_ns / USE_MEMORY_NS)
        self.utilisation += weight * (cost_ns / since_ns - self.utilisation)

    def free(self, now_ns: int) -> bool:
        """Return whether the lane takes a batch now."""
        return (
            self.state is LaneState.RUNNING
            and len(self.running) + self.publishing < self.config.in_flight
            and (self.accepts or (bool(self.running) and now_ns >= self.ahead_ns))
        )

    def filled(self, waiting: Mapping[str, int], load: int) -> bool:
        """Return whether the frames that wait, by model, could be enough for it to start."""
        if not self.running:
            return any(waiting.values())
        return any(n >= self.costs[m].quote(load).economical for m, n in waiting.items())

    @property
    def ahead_ns(self) -> int:
        """Return from when on the lane takes a batch while it runs one."""
        return self.busy_until_ns - AHEAD_NS

    @property
    def busy(self) -> bool:
        """Return whether a batch runs on the lane."""
        return bool(self.running)

    def snapshot(
        self,
        cameras: Sequence[str],
        cost_ns: dict[int, int],
        others_ns: dict[str, dict[int, int]],
        now_ns: int,
    ) -> LaneSnapshot:
        """Return the account as it stands; the costs are of the first model, and of the others."""
        notes = [self.note] if self.note else []
        if self.doing:
            spent_s = (now_ns - self.doing_since_ns) / 1e9
            notes.append(f'{self.doing} for {spent_s:.0f} s' + (self.step and f': {self.step}'))
        return LaneSnapshot(
            name=self.config.name,
            device=self.config.device,
            backend=self.config.backend,
            state=self.state,
            cameras=tuple(cameras),
            processed=self.processed,
            batches=self.batches,
            busy_ns=self.busy_ns,
            failures=self.failures,
            restarts=self.restarts,
            cost_ns=cost_ns,
            note='; '.join(notes),
            runs=self.runs,
            other_cost_ns=others_ns,
        )


@dataclass(slots=True)
class Moment:
    """What a decision is made of, besides frames and lanes.

    Attributes:
        now_ns: monotonic time.
        short: whether lanes are short of time, so that throughput counts.
        waiting: frames that wait, and their crops, by model.
        waits_ns: returns in how long a model's next frames are expected, in order; none: an idle
            lane waits for no frame.
    """

    now_ns: int
    short: bool
    waiting: Mapping[str, int]
    waits_ns: Callable[[str], Sequence[int]]


def check_names(cameras: Sequence[CameraConfig], lanes: Sequence[LaneConfig]) -> None:
    """Raise ValueError if names are missing, twice, or unknown."""
    names = [config.name for config in lanes]
    for kind, given in (('camera', [config.name for config in cameras]), ('lane', names)):
        if not given or len(set(given)) != len(given):
            raise ValueError(f'expected at least one {kind} and no name twice, got {given}')
    for config in cameras:
        if config.lane and config.lane not in names:
            raise ValueError(
                f'camera {config.name} is pinned to "{config.lane}": expected one of {names}'
            )
