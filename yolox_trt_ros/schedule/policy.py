"""Which waiting frames does each free lane take now? Pure: it reads, decides, changes nothing.

Rules, in this order:

1. Order. The caller's: :mod:`schedule.order`. Frames that are expected soon are in it too.
2. Deadline. A frame that even the quickest lane, started as early as possible, would finish after
   its deadline is hopeless.
3. Price. A frame goes where it is done first, all things considered: to a lane that is free, or
   behind what waits for one that is busy. To its finish is added what it does to others: a lane
   that begins to work for a regular camera slows the busy ones down, and a lane that is taken makes
   a weightier frame, expected before it is free again, wait. So a lane may be kept free for a
   moment. The home lane wins a tie.
4. Order on the topic. No lane starts a frame that it would finish before an older frame of the same
   camera that is still running elsewhere.
5. Batches. A frame joins the batch that a lane is about to take if the batch gains by it and no
   frame in it misses its deadline. An idle lane does not wait for a batch to fill; a lane that is
   running one takes the next in advance only if it is full.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from yolox_trt_ros.schedule.order import Entry
from yolox_trt_ros.schedule.rhythm import GRACE_NS, NEVER_NS
from yolox_trt_ros.schedule.state import Camera, Lane

MOST_USED = 0.9
"""A lane that is used more than this has no time to wait for an expected frame."""
FULL = 0.5
"""Highest utilisation that a backlog is reckoned with, which makes it take twice as long."""
LOST = 2.0
"""Time that a lane loses counts so often: for the frame that it runs and for one that waits."""


@dataclass(slots=True)
class Decision:
    """What happens now.

    Attributes:
        takes: every lane that starts a batch, with the cameras whose frames it takes.
        hopeless: cameras whose waiting frame is to be dropped.
        ask_ns: when to decide again even if nothing happens until then; ``NEVER_NS``: not needed.
    """

    takes: list[tuple[Lane, list[Camera]]]
    hopeless: list[Camera] = field(default_factory=list)
    ask_ns: int = NEVER_NS


def decide(now_ns: int, line: Iterable[Entry], plans: Sequence[LanePlan]) -> Decision:
    """Return what each free lane takes now and which frames are hopeless.

    Args:
        now_ns: monotonic time.
        line: waiting and expected frames, the first comes first.
        plans: an empty one for each running lane.
    """
    decision = Decision([])
    for camera, weight, arrival_ns in line:
        able = plans
        if camera.pinned and camera.home is not None:
            able = [plan for plan in plans if plan.lane is camera.home]
        if arrival_ns > now_ns:
            _expect(able, weight, arrival_ns)
            continue
        due_ns = NEVER_NS
        if camera.deadline_ns:
            due_ns = arrival_ns + camera.deadline_ns
            if due_ns < min([plan.hoped_ns for plan in able], default=0):
                decision.hopeless.append(camera)
                continue
        lost = 0.0
        if camera.rhythm.next_ns != NEVER_NS:  # otherwise a newcomer takes what this one leaves
            lost = LOST * sum([plan.drag for plan in plans if plan.busy])
        ask_ns = _assign(camera, weight, able, due_ns, lost)
        decision.ask_ns = min(decision.ask_ns, ask_ns)
    decision.takes += [(plan.lane, plan.batch) for plan in plans if plan.batch and plan.starts]
    return decision


def _expect(able: Sequence[LanePlan], weight: float, arrival_ns: int) -> None:
    """Note an expected frame at the lane that would be done with it first, if that may idle."""
    best, best_ns = None, NEVER_NS
    for plan in able:
        finish_ns = plan.yield_from(max(plan.begin_ns(), arrival_ns)) + plan.single_ns
        if finish_ns < best_ns:
            best, best_ns = plan, finish_ns
    if best is not None and best.used < MOST_USED:
        best.expected.append((arrival_ns, weight))
        best.expected.sort()


def _assign(
    camera: Camera, weight: float, able: Sequence[LanePlan], due_ns: int, lost: float
) -> int:
    """Put the frame into a free lane's batch, or behind what waits; return when to ask again."""
    best, best_price, best_starts = None, float(NEVER_NS), False
    for plan in able:
        price: float
        finish_ns = plan.joined_ns(due_ns)
        starts = finish_ns is not None
        if finish_ns is None:
            price = plan.waited_ns()
        elif finish_ns < camera.running_until_ns:
            continue
        else:
            price = finish_ns
            if lost and not plan.busy:
                # A lane that works most of the time slows the others down sooner or later anyway.
                price += lost * plan.single_ns * (1 - plan.used)
            if plan.expected and plan.expected[0][0] < finish_ns:
                price += plan.delays(finish_ns) / weight
                held_ns, held_price = plan.held_ns()
                if held_price < price and held_ns <= due_ns:
                    price, starts = held_price, False
        if price < best_price or (price == best_price and plan.lane is camera.home):
            best, best_price, best_starts = plan, price, starts
    if best is None:
        return NEVER_NS
    if best_starts:
        best.join(camera, due_ns)
        return NEVER_NS
    best.behind += 1
    kept = best.free and best.expected and not best.batch
    return best.expected[0][0] + GRACE_NS if kept else NEVER_NS


class LanePlan:
    """A lane as this decision has filled it so far.

    Args:
        lane: a running one.
        now_ns: monotonic time.
        cost: expected time of a call with this many frames at the present load, nanoseconds.
        drag: how much longer its calls take if one more lane is busy, as a part of them.
        proven: whether the costs were measured lately; a frame is not given up on an old guess.
    """

    __slots__ = (
        '_cost', '_due_ns', '_most', '_start_ns', 'batch', 'behind', 'busy', 'drag',
        'expected', 'free', 'hoped_ns', 'lane', 'single_ns', 'used',
    )  # fmt: skip

    def __init__(
        self,
        lane: Lane,
        now_ns: int,
        cost: Callable[[int], int],
        drag: float,
        proven: bool,
    ) -> None:
        self.lane = lane
        self.batch: list[Camera] = []
        self.behind = 0
        self.expected: list[tuple[int, float]] = []
        self.free = lane.free
        self.busy = bool(lane.running)
        self.single_ns = cost(1)
        self._cost = cost
        self._most = lane.config.max_batch
        self._due_ns = NEVER_NS
        self.used = min(lane.utilisation, MOST_USED)
        self.drag = drag
        # Work that is overdue by some time is expected to take that time once more.
        ahead_ns = lane.busy_until_ns - now_ns
        self._start_ns = now_ns + (max(0, ahead_ns) if self.free else abs(ahead_ns))
        self.hoped_ns = self._start_ns + self.single_ns if proven else self._start_ns

    @property
    def starts(self) -> bool:
        """Return whether the lane takes its batch now."""
        return not self.lane.running or len(self.batch) == self._most

    def joined_ns(self, due_ns: int) -> int | None:
        """Return when the lane's next batch would be done with one frame more, if it may grow."""
        if not self.free or self.behind:
            return None
        size = len(self.batch)
        if size == 0:
            return self._start_ns + self.single_ns
        if size == self._most:
            return None
        together = self._cost(size + 1)
        apart = self._cost(size) + self.single_ns
        finish_ns = self._start_ns + together
        return finish_ns if together < apart and finish_ns <= min(self._due_ns, due_ns) else None

    def join(self, camera: Camera, due_ns: int) -> None:
        """Take the camera's frame into the lane's next batch."""
        self.batch.append(camera)
        self.busy = True
        self._due_ns = min(self._due_ns, due_ns)

    def begin_ns(self) -> int:
        """Return when the lane is done with its batch and with the full batches that wait.

        While a backlog is worked off new frames arrive and go ahead; by the time they are done too
        it has taken ``1 / (1 - utilisation)`` as long (the delay cycle of a queue with priorities).
        """
        begin_ns = self._start_ns
        if self.batch:
            begin_ns += self._cost(len(self.batch))
        if self.behind >= self._most:
            ahead_ns = self.behind // self._most * self._cost(self._most)
            begin_ns += round(ahead_ns / (1 - min(self.used, FULL)))
        return begin_ns

    def waited_ns(self) -> int:
        """Return when the lane would be done with a frame that waits for all that goes ahead."""
        begin_ns = self.begin_ns() if self.behind or self.batch else self._start_ns
        if self.expected:
            begin_ns = self.yield_from(begin_ns)
        rest = self.behind % self._most
        return begin_ns + (self._cost(rest + 1) if rest else self.single_ns)

    def held_ns(self) -> tuple[int, float]:
        """Return when a frame is done if the first expected one goes ahead, and the price of that.

        The lane idles until then; the busier it has been, the longer it takes to make up for that.
        """
        first_ns = self.expected[0][0]
        finish_ns = self.yield_from(first_ns) + self.single_ns
        return finish_ns, finish_ns + (first_ns - self._start_ns) * self.used / (1 - self.used)

    def yield_from(self, begin_ns: int) -> int:
        """Return when a frame may begin if it lets those go ahead that will have arrived."""
        for arrival_ns, _ in self.expected:
            if arrival_ns > begin_ns:
                break
            begin_ns += self.single_ns
        return begin_ns

    def delays(self, finish_ns: int) -> float:
        """Return the weighted time that expected frames wait if the lane is taken until then."""
        return sum([(finish_ns - at) * weight for at, weight in self.expected if at < finish_ns])
