"""What the dispatcher remembers of a camera."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import InitVar, dataclass, field

from yolox_trt_ros.admission.allowance import Allowance
from yolox_trt_ros.admission.pace import Pace
from yolox_trt_ros.core.config import CameraConfig
from yolox_trt_ros.core.errors import DropReason, FrameError
from yolox_trt_ros.core.extra_crops import CropPace
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.snapshot import CameraSnapshot
from yolox_trt_ros.schedule.mailbox import Mailbox
from yolox_trt_ros.schedule.state import Lane

GAP_MEMORY = 8
"""About so many frames a camera's shortest and longest gap are remembered for."""
LATE = 8
"""A frame is still expected when it is late by its camera's longest gap divided by this."""


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
        behind: whether it has had clearly less than its share.
        losing: positive for some frames after one was hopeless only because lanes were busy.
        arrived_ns: arrival of its newest frame that went to the mailbox.
        gap_ns: shortest and longest time between its latest frames.
        ran: frames that each lane has run.
        drops: frames without a result since the last published one.
        crops: when which extra crop is due; None: it has none.
        next_crops: those of its waiting frame, the most important first.
        places: how many places of a batch that frame takes.
        crops_run: crops that lanes have taken.
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
    crops: CropPace | None = field(init=False)
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
    next_crops: list[int] = field(default_factory=list)
    places: int = 1
    crops_run: int = 0
    dropped: dict[DropReason, int] = field(default_factory=lambda: dict.fromkeys(DropReason, 0))
    served: float = 0.0
    losing: int = 0
    behind: bool = False
    arrived_ns: int | None = None
    gap_ns: tuple[int, int] = (0, 0)
    ran: dict[str, int] = field(default_factory=dict)
    newest_ns: int | None = None
    last_received_ns: int | None = None
    last_published_ns: int | None = None

    def __post_init__(self, live: bool) -> None:
        self.allowance = Allowance(self.config, live=live)
        self.pace = Pace(self.config.max_rate_hz)
        self.crops = CropPace(crops) if (crops := self.config.extra_crops) else None

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

    def due_ns(self, now_ns: int) -> tuple[int, int] | None:
        """Return when its next frame may come, first and last; None: none is to be expected."""
        low, high = self.gap_ns
        if self.arrived_ns is None or now_ns > self.arrived_ns + high + high // LATE:
            return None
        return max(now_ns, self.arrived_ns + low), self.arrived_ns + high + high // LATE

    @property
    def pin_name(self) -> str:
        """Return the name of the lane that runs it; empty: any."""
        return self.pin.config.name if self.pin else ''

    @property
    def share_after(self) -> float:
        """Return what ``served`` will be after one frame more."""
        return self.served + 1 / self.priority

    @property
    def most_places(self) -> int:
        """Return how many places of a batch a frame of it may take."""
        return 1 + len(self.config.crops)

    @property
    def waiting_places(self) -> int:
        """How many places of a batch its waiting frame takes; 0 if none waits."""
        return 0 if self.mailbox.head is None else self.places

    @property
    def usual_places(self) -> float:
        """Return how many places its frames take on average, while there is time for all."""
        shares = [crop.share(self.processed_hz) for crop in self.crops.crops] if self.crops else []
        return 1 + sum(shares)

    def refusal(self, frame: Frame) -> FrameError | None:
        """Return what is wrong with a frame that is not to be taken at all; None: nothing."""
        refusal = self.allowance.refusal(frame)
        return refusal if refusal or self.crops is None else self.crops.refusal(frame)

    def choose_crops(self, frame: Frame, overloaded: bool) -> None:
        """Note which crops its waiting frame has."""
        if self.crops is not None:
            self.next_crops = self.crops.due(frame, self.priority, short=overloaded)
            self.places = 1 + len(self.next_crops)

    def leave_out_crop(self) -> None:
        """Let the least important crop of its waiting frame wait for a later one."""
        self.next_crops.pop()
        self.places -= 1

    def refused(self, frame: Frame, reason: DropReason) -> None:
        """Count a frame that must not get to a lane; raises as :meth:`arrived` does."""
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

    def take(self, room: int = 1) -> Frame:
        """Give the next waiting frame to a lane that has so many places for it."""
        frame = self.mailbox.take()
        if self.crops is not None:
            chosen = self.next_crops[: room - 1]
            frame = self.crops.take(frame, chosen)
            self.crops_run += len(chosen)
            self.next_crops, self.places = [], 1
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
        if self.crops is not None:
            self.crops.give_back()
            self.crops_run -= len(frame.crops)
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

    def update(
        self,
        priority: float | None = None,
        deadline_ms: float | None = None,
        limits: tuple[float, float] | None = None,
        max_rate_hz: float | None = None,
    ) -> None:
        """Change its values; in lockstep its deadline and rate stay."""
        if limits is not None:
            self.allowance.update(*limits)
        if priority is not None:
            self.priority = priority
        if deadline_ms is not None and not self.bound:
            self.deadline_ns = round(deadline_ms * 1e6)
        if max_rate_hz is not None and not self.bound:
            self.pace.update(max_rate_hz)

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
            crops=self.crops_run if self.crops else None,
        )


def of_models(cameras: Iterable[Camera]) -> dict[str, list[Camera]]:
    """Return the cameras of each model; the first camera's model comes first."""
    models: dict[str, list[Camera]] = {}
    for camera in cameras:
        models.setdefault(camera.config.model, []).append(camera)
    return models
