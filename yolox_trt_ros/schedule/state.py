"""What the dispatcher remembers of each camera, lane and running batch."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from yolox_trt_ros.core.config import CameraConfig, LaneConfig
from yolox_trt_ros.core.errors import DropReason
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.snapshot import CameraSnapshot, LaneSnapshot, LaneState
from yolox_trt_ros.schedule.mailbox import Mailbox
from yolox_trt_ros.schedule.rhythm import Rhythm

USE_MEMORY_NS = 500_000_000
"""How far back a lane's utilisation is remembered."""


@dataclass(slots=True, eq=False)
class Camera:
    """One camera's mailbox, account and age.

    Attributes:
        config, mailbox: given.
        priority: weight against the other cameras, > 0.
        deadline_ns: longest useful response; 0: none.
        home: lane it is placed on, or None.
        pinned: whether no other lane may help.
        reference_ns: arrival of the newest frame that a lane has taken: its information will be as
            old as this.
        running_until_ns: when its newest running frame is expected to finish; 0: none runs.
        offered_sequence, taken_sequence, published_sequence, retried_sequence: newest frame that
            arrived, was taken, was published, was given back by a failed lane; -1: none.
        turn: frames taken since overload began, divided by the priority; see
            :class:`schedule.order.Turns`.
        rhythm: when its next frame is expected.
        ran: frames that each lane has run.
        drops: frames without a result since the last published one.
    """

    config: CameraConfig
    mailbox: Mailbox
    priority: float
    deadline_ns: int
    home: Lane | None = None
    pinned: bool = False
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
    dropped: dict[DropReason, int] = field(default_factory=lambda: dict.fromkeys(DropReason, 0))
    turn: float = 0.0
    rhythm: Rhythm = field(default_factory=Rhythm)
    ran: dict[str, int] = field(default_factory=dict)
    newest_ns: int | None = None
    last_received_ns: int | None = None
    last_published_ns: int | None = None

    def take(self) -> Frame:
        """Give the next waiting frame to a lane."""
        frame = self.mailbox.take()
        self.in_flight += 1
        self.taken_sequence = frame.sequence
        self.reference_ns = frame.received_ns
        self.turn += 1 / self.priority
        return frame

    def drop(self, reason: DropReason, count: int = 1) -> None:
        """Count frames that give no result."""
        self.dropped[reason] += count
        self.drops += count

    def snapshot(self) -> CameraSnapshot:
        """Return the account as it stands."""
        return CameraSnapshot(
            name=self.config.name,
            lane=self.home.config.name if self.home else '',
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
        valid: False once the lane has failed; its result is then worth nothing.
    """

    lane: str
    frames: Sequence[Frame]
    taken_ns: int
    load: int
    expected_ns: int
    started_ns: int
    valid: bool = True


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
