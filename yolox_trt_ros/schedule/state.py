"""What the dispatcher remembers of each camera, lane and running batch."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import InitVar, dataclass, field

from yolox_trt_ros.core.config import CameraConfig, LaneConfig
from yolox_trt_ros.core.errors import DropReason
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.snapshot import CameraSnapshot, LaneSnapshot, LaneState
from yolox_trt_ros.schedule.allowance import Allowance
from yolox_trt_ros.schedule.mailbox import Mailbox
from yolox_trt_ros.schedule.pace import Pace

USE_MEMORY_NS = 500_000_000
"""How far back a lane's utilisation is remembered."""
HANG_FACTOR = 10
"""A batch that takes this many times its expected cost hangs …"""
HANG_NS = 2_000_000_000
"""… but not before this time has passed."""
DECODED_NS = 200
"""Longest time that a core takes to decode a pixel, however many scans refine it."""
GAP_MEMORY = 8
"""About so many frames a camera's shortest and longest gap are remembered for."""
LOSING = 16
"""So many frames must be taken in time before a camera no longer counts as losing them."""
BACKOFF_NS = 500_000_000
"""Pause before the first rebuild of a failed lane; it doubles with every failure in a row."""
CIRCUIT_FAILURES = 5
"""After this many failures in a row a lane's circuit opens …"""
CIRCUIT_NS = 60_000_000_000
"""… and it is tried only this often."""
HEALED_NS = 30_000_000_000
"""A lane that ran this long starts again with its first pause when it fails."""


@dataclass(slots=True, eq=False)
class Camera:
    """One camera's mailbox, account and age.

    Attributes:
        config, mailbox: given.
        priority: weight against the other cameras, > 0.
        deadline_ns: longest useful response; 0: none.
        live: whether it may be slowed down; see :class:`Allowance`.
        allowance: what its images may cost.
        pin: the lane that runs it, or None: any.
        bound: whether no other lane runs it even while that one is down.
        reference_ns: arrival of the newest frame that a lane has taken: its information will be as
            old as this.
        running_until_ns: when its newest running frame is expected to finish; 0: none runs.
        offered_sequence, taken_sequence, published_sequence, retried_sequence: newest frame that
            arrived, was taken, was published, was given back by a failed lane; -1: none.
        served: frames taken, divided by the priority; see :class:`schedule.order.FairQueue`.
        losing: positive for some frames after one was hopeless only because lanes were busy.
        arrived_ns: arrival of its newest frame that went to the mailbox.
        gap_ns: shortest and longest time between its latest frames.
        ran: frames that each lane has run.
        drops: frames without a result since the last published one.
        strikes: how often lanes have failed with one of its frames since its last result; a camera
            that has any is not batched with others, and is on one lane at a time.
    """

    config: CameraConfig
    mailbox: Mailbox
    priority: float
    deadline_ns: int
    live: InitVar[bool] = True
    allowance: Allowance = field(init=False)
    pace: Pace = field(init=False)
    pin: Lane | None = None
    bound: bool = False
    reference_ns: int = 0
    running_until_ns: int = 0
    offered_sequence: int = -1
    taken_sequence: int = -1
    published_sequence: int = -1
    retried_sequence: int = -1
    received: int = 0
    published: int = 0
    in_flight: int = 0
    late: int = 0
    drops: int = 0
    strikes: int = 0
    dropped: dict[DropReason, int] = field(default_factory=lambda: dict.fromkeys(DropReason, 0))
    served: float = 0.0
    losing: int = 0
    arrived_ns: int | None = None
    gap_ns: tuple[int, int] = (0, 0)
    ran: dict[str, int] = field(default_factory=dict)
    newest_ns: int | None = None
    last_received_ns: int | None = None
    last_published_ns: int | None = None

    def __post_init__(self, live: bool) -> None:
        self.allowance = Allowance(self.config, live=live)
        self.pace = Pace(self.config.max_rate_hz)

    @property
    def processed_hz(self) -> float:
        """Return the rate at which its images come to the lanes."""
        rate_hz, most_hz = self.config.rate_hz, self.pace.max_hz
        return min(rate_hz, most_hz) if most_hz else rate_hz

    def arrived(self, frame: Frame) -> bool:
        """Put a frame into the mailbox and return whether it has replaced another one.

        Raises:
            ValueError: ``sequence`` does not follow the earlier frames.
        """
        self._count(frame)
        last_ns, self.arrived_ns = self.arrived_ns, frame.received_ns
        if last_ns is not None:
            self._learn_gap(frame.received_ns - last_ns)
        replaced = self.mailbox.put(frame) is not None
        if replaced:
            self.drop(DropReason.REPLACED)
        return replaced

    def _learn_gap(self, gap_ns: int) -> None:
        """Follow the shortest gap down and the longest one up at once, and back slowly."""
        low, high = self.gap_ns if self.gap_ns[1] else (gap_ns, gap_ns)
        self.gap_ns = (
            min(gap_ns, low + (gap_ns - low) // GAP_MEMORY),
            max(gap_ns, high + (gap_ns - high) // GAP_MEMORY),
        )

    def due_ns(self, now_ns: int) -> int | None:
        """Return when its next frame may come, later than now; None: none is to be expected."""
        low, high = self.gap_ns
        if self.arrived_ns is None or now_ns > self.arrived_ns + high:
            return None
        return max(now_ns + 1, self.arrived_ns + low)

    def lost(self, to_others: bool) -> None:
        """Drop the waiting frame, which is hopeless: because lanes were busy, or in any case."""
        self.mailbox.take()
        self.drop(DropReason.HOPELESS)
        if to_others:
            self.losing = LOSING

    @property
    def pin_name(self) -> str:
        """Return the name of the lane that runs it; empty: any."""
        return self.pin.config.name if self.pin else ''

    @property
    def share_after(self) -> float:
        """Return what ``served`` will be after one frame more."""
        return self.served + 1 / self.priority

    def refused(self, frame: Frame, reason: DropReason) -> None:
        """Count a frame that must not get to a lane; no other one is expected after it.

        Raises:
            ValueError: ``sequence`` does not follow the earlier frames.
        """
        self._count(frame)
        self.drop(reason)

    def _count(self, frame: Frame) -> None:
        if frame.sequence <= self.offered_sequence:
            raise ValueError(
                f'camera {frame.camera}: expected a sequence above {self.offered_sequence}, '
                f'got {frame.sequence}'
            )
        self.offered_sequence = frame.sequence
        if self.last_received_ns is None:
            self.reference_ns = frame.received_ns
        self.received += 1
        self.last_received_ns = frame.received_ns

    def take(self) -> Frame:
        """Give the next waiting frame to a lane."""
        frame = self.mailbox.take()
        self.in_flight += 1
        self.taken_sequence = frame.sequence
        self.reference_ns = frame.received_ns
        self.served = self.share_after
        self.losing -= self.losing > 0
        return frame

    def take_back(self, frame: Frame, now_ns: int) -> bool:
        """Let a failed lane's frame wait again, once, if it is the newest there is and in time."""
        in_time = not self.deadline_ns or now_ns < frame.received_ns + self.deadline_ns
        newest = frame.sequence == self.taken_sequence
        first = frame.sequence != self.retried_sequence
        if newest and self.newest_ns is not None:
            self.reference_ns = self.newest_ns
        if not (in_time and newest and first and self.mailbox.put_back(frame) is None):
            return False
        self.retried_sequence = frame.sequence
        self.taken_sequence = frame.sequence - 1
        self.in_flight -= 1
        return True

    def publish(self, frame: Frame, now_ns: int) -> int:
        """Count a published result and return the drops since the one before it."""
        self.in_flight -= 1
        self.allowance.succeeded(frame)
        self.strikes = 0
        self.published += 1
        self.published_sequence = frame.sequence
        self.newest_ns = frame.received_ns
        self.last_published_ns = now_ns
        self.late += 0 < self.deadline_ns < now_ns - frame.received_ns
        drops, self.drops = self.drops, 0
        return drops

    def drop(self, reason: DropReason, count: int = 1) -> None:
        """Count frames that give no result."""
        self.dropped[reason] += count
        self.drops += count

    def drop_waiting(self, reason: DropReason) -> None:
        """Drop what no lane has taken."""
        while self.mailbox.head is not None:
            self.mailbox.take()
            self.drop(reason)

    def snapshot(self, lane: str, now_ns: int) -> CameraSnapshot:
        """Return the account as it stands; ``lane`` is the one that its frames go to."""
        return CameraSnapshot(
            name=self.config.name,
            lane=lane,
            ran=dict(self.ran),
            priority=self.priority,
            deadline_ms=self.deadline_ns / 1e6,
            received=self.received,
            published=self.published,
            waiting=len(self.mailbox),
            in_flight=self.in_flight,
            dropped=dict(self.dropped),
            late=self.late,
            last_received_ns=self.last_received_ns,
            last_published_ns=self.last_published_ns,
            newest_ns=self.newest_ns,
            slowed=self.allowance.slowed(now_ns),
        )


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
    grace_ns: int = 0
    valid: bool = True
    blamed: bool = False


@dataclass(slots=True, eq=False)
class Lane:
    """One lane's state and account.

    Attributes:
        config: given.
        state: where it is in its life.
        accepts: whether its thread is ready to submit, not waiting for the device.
        publishing: whether a collected batch is still being published.
        running: batches taken and not yet collected, oldest first.
        busy_until_ns: when they are expected to be done.
        measured_ns: when its last batch was done.
        utilisation: fraction of the latest time that it was busy, 0 to 1.
        failures_in_row: failures without a long run between them.
        up_ns: when it last came up.
        note: what happened to it last.
        doing, doing_since_ns: what its thread is at before it takes frames, and since when; empty
            if it waits or serves.
    """

    config: LaneConfig
    state: LaneState = LaneState.STARTING
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
    doing_since_ns: int = 0

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

    @property
    def free(self) -> bool:
        """Return whether the lane takes a batch now."""
        return (
            self.accepts
            and self.state is LaneState.RUNNING
            and len(self.running) + self.publishing < self.config.in_flight
        )

    @property
    def busy(self) -> bool:
        """Return whether a batch runs on the lane."""
        return bool(self.running)

    def snapshot(
        self, cameras: Sequence[str], cost_ns: dict[int, int], now_ns: int
    ) -> LaneSnapshot:
        """Return the account as it stands."""
        notes = [self.note] if self.note else []
        if self.doing:
            notes.append(f'{self.doing} for {(now_ns - self.doing_since_ns) / 1e9:.0f} s')
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
        )
