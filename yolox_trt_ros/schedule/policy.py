"""Which waiting frames does each free lane take now? Pure: it reads, decides, changes nothing.

Rules, in this order:

1. Order. As the caller says; see :class:`schedule.dispatcher.Dispatcher`.
2. Deadline. A frame that even the quickest lane, started as early as possible, would finish after
   its deadline is hopeless.
3. Home or help. A frame goes to the lane that will be done with it first: to one that is free, or
   behind what waits for one that is busy. What waits there is expected to take longer the busier
   the lane has been, because new frames will get ahead of it. The home lane wins a tie.
4. Order on the topic. No lane starts a frame that it would finish before an older frame of the same
   camera that is still running elsewhere.
5. Batches. A frame joins the batch that a lane is about to take if the batch gains by it and no
   frame in it misses its deadline. An idle lane does not wait for a batch to fill; a lane that is
   running one takes the next in advance only if it is full.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from yolox_trt_ros.schedule.state import NEVER_NS, Camera, Lane

Cost = Callable[[Lane, int], int]
"""Expected time of one call on a lane with a batch of this size, nanoseconds."""

FULL = 0.5
"""Highest utilisation that a backlog is reckoned with, which makes it take twice as long."""


@dataclass(slots=True)
class Decision:
    """What happens now.

    Attributes:
        takes: every lane that starts a batch, with the cameras whose frames it takes.
        hopeless: cameras whose waiting frame is to be dropped.
    """

    takes: list[tuple[Lane, list[Camera]]]
    hopeless: list[Camera]


def decide(
    now_ns: int,
    cameras: Iterable[Camera],
    lanes: Sequence[Lane],
    cost: Cost,
    proven: Callable[[Lane], bool],
    order: Callable[[Camera], float],
) -> Decision:
    """Return what each free lane takes now and which frames are hopeless.

    Args:
        now_ns: monotonic time.
        cameras: all of them; those without a waiting frame are passed over.
        lanes: the running lanes.
        cost: expected cost of a call at the present load.
        proven: whether a lane's cost was measured lately; a frame is not given up on an old guess.
        order: of two waiting cameras the one with the smaller value comes first; among equals, the
            one that was declared first.
    """
    hopeless: list[Camera] = []
    plans = [_Plan(lane, now_ns, cost, proven(lane)) for lane in lanes]
    waiting = [camera for camera in cameras if len(camera.mailbox)]
    for camera in sorted(waiting, key=order):
        home = next((plan for plan in plans if plan.lane is camera.home), None)
        if camera.pinned and camera.home is not None:
            able = [] if home is None else [home]
        else:
            able = plans
        due_ns = camera.due_ns()
        if due_ns < min((plan.hoped_ns for plan in able), default=0):
            hopeless.append(camera)
        else:
            _assign(camera, home, able, due_ns)
    return Decision([(plan.lane, plan.batch) for plan in plans if plan.starts], hopeless)


def _assign(camera: Camera, home: _Plan | None, able: Sequence[_Plan], due_ns: int) -> None:
    """Put the camera's frame into a free lane's batch, or behind what waits for a busy lane."""
    best, best_ns, starts_now = None, NEVER_NS, False
    for plan in able:
        finish_ns = plan.joined_ns(due_ns)
        starts = finish_ns is not None
        if finish_ns is None:
            finish_ns = plan.waited_ns()
        elif finish_ns < camera.running_until_ns:
            continue
        if finish_ns < best_ns or (plan is home and finish_ns == best_ns):
            best, best_ns, starts_now = plan, finish_ns, starts
    if best is None:
        return
    if starts_now:
        best.join(camera, due_ns)
    else:
        best.behind += 1


class _Plan:
    """A lane as this decision has filled it so far."""

    __slots__ = (
        '_cost',
        '_due_ns',
        '_earliest_ns',
        '_start_ns',
        'batch',
        'behind',
        'hoped_ns',
        'lane',
    )

    def __init__(self, lane: Lane, now_ns: int, cost: Cost, proven: bool) -> None:
        self.lane = lane
        self.batch: list[Camera] = []
        self.behind = 0
        self._cost = cost
        self._due_ns = NEVER_NS
        # Work that is overdue by some time is expected to take that time once more.
        ahead_ns = lane.busy_until_ns - now_ns
        self._start_ns = now_ns + (max(0, ahead_ns) if lane.free else abs(ahead_ns))
        self._earliest_ns = self._start_ns + cost(lane, 1)
        self.hoped_ns = self._earliest_ns if proven else self._start_ns

    @property
    def starts(self) -> bool:
        """Return whether the lane takes its batch now."""
        return bool(self.batch) and (
            not self.lane.running or len(self.batch) == self.lane.max_batch
        )

    def joined_ns(self, due_ns: int) -> int | None:
        """Return when the lane's next batch would be done with one frame more, if it may grow."""
        size = len(self.batch)
        if not self.lane.free or self.behind or size == self.lane.max_batch:
            return None
        if size == 0:
            return self._earliest_ns
        together = self._cost(self.lane, size + 1)
        apart = self._cost(self.lane, size) + self._cost(self.lane, 1)
        finish_ns = self._start_ns + together
        return finish_ns if together < apart and finish_ns <= min(self._due_ns, due_ns) else None

    def join(self, camera: Camera, due_ns: int) -> None:
        """Take the camera's frame into the lane's next batch."""
        self.batch.append(camera)
        self._due_ns = min(self._due_ns, due_ns)

    def waited_ns(self) -> int:
        """Return when the lane would be done with a frame that waits for all that is before it.

        While a backlog is worked off new frames arrive and go ahead; by the time they are done too
        it has taken ``1 / (1 - utilisation)`` as long (the delay cycle of a queue with priorities).
        """
        most = self.lane.max_batch
        full, rest = divmod(self.behind, most)
        taken_ns = self._cost(self.lane, len(self.batch)) if self.batch else 0
        ahead_ns = full * self._cost(self.lane, most) if full else 0
        stretch = 1 / (1 - min(self.lane.utilisation, FULL))
        own_ns = self._cost(self.lane, rest + 1)
        return self._start_ns + taken_ns + round(ahead_ns * stretch) + own_ns
