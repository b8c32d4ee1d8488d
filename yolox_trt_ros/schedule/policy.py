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
   frame in it misses its deadline; one that a lane has failed with is run alone. An idle lane does
   not wait for a batch to fill; a lane that is running one takes the next in advance only if it is
   full.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from yolox_trt_ros.schedule.costs import Quote
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
    busy = [plan for plan in plans if plan.busy]
    undecided = sum([plan.free for plan in plans])
    for camera, weight, arrival_ns in line:
        able = plans
        if camera.pinned and camera.home is not None:
            able = [plan for plan in plans if plan.lane is camera.home]
        if camera.strikes:  # one lane at a time: the others prove themselves with other frames
            able = [plan for plan in able if not plan.batch and not camera.in_flight]
        if arrival_ns > now_ns:
            if undecided:
                _expect(able, weight, arrival_ns)
            continue
        due_ns = NEVER_NS
        if camera.deadline_ns:
            due_ns = arrival_ns + camera.deadline_ns
            if due_ns < min([plan.hoped_ns for plan in able], default=0):
                decision.hopeless.append(camera)
                continue
        if not undecided:
            continue
        lost = 0.0
        if camera.rhythm.next_ns != NEVER_NS:  # otherwise a newcomer takes what this one leaves
            lost = LOST * sum([plan.drag for plan in busy])
        best, starts = _choose(camera, weight, able, due_ns, lost)
        if best is None:
            continue
        if starts:
            if not best.busy:
                busy.append(best)
            best.join(camera, due_ns)
            best.open = best.open and not camera.strikes
            undecided -= not best.open
        else:
            best.wait()
            if best.free and best.expected and not best.batch:
                decision.ask_ns = min(decision.ask_ns, best.expected[0][0] + GRACE_NS)
    decision.takes += [(plan.lane, plan.batch) for plan in plans if plan.batch and plan.starts]
    return decision


def _expect(able: Sequence[LanePlan], weight: float, arrival_ns: int) -> None:
    """Note an expected frame at the lane that would be done with it first, if that may idle."""
    best, best_ns = None, NEVER_NS
    for plan in able:
        begin_ns = plan.begin_ns if plan.begin_ns > arrival_ns else arrival_ns
        if plan.expected:
            begin_ns = plan.yield_from(begin_ns)
        if begin_ns + plan.single_ns < best_ns:
            best, best_ns = plan, begin_ns + plan.single_ns
    if best is not None and best.used < MOST_USED:
        best.expect(weight, arrival_ns)


def _choose(
    camera: Camera, weight: float, able: Sequence[LanePlan], due_ns: int, lost: float
) -> tuple[LanePlan | None, bool]:
    """Return the lane with the best price for the frame, and whether it takes the frame now."""
    best, best_price, best_starts = None, float(NEVER_NS), False
    for plan in able:
        price: float
        finish_ns = plan.joined_ns(due_ns) if plan.open else None
        starts = finish_ns is not None
        if finish_ns is None:
            price = plan.waited_ns
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
    return best, best_starts


class LanePlan:
    """A lane as this decision has filled it so far.

    Args:
        lane: a running one.
        free: whether it takes a batch now.
        now_ns: monotonic time.
        quote: what its calls take at the present load.
        proven: whether that was measured lately; a frame is not given up on an old guess.

    Attributes:
        batch: cameras whose frames it takes next.
        behind: frames that wait for it after that.
        expected: (arrival, weight) of frames that will come, the first one first.
        open: whether a frame may join the batch.
        busy: whether it runs a batch or is about to.
        drag: how much longer its calls take if one more lane is busy, as a part of them.
        begin_ns: when it may be done with its batch and with the full batches that wait.
        waited_ns: when it may be done with a frame that waits for all that goes ahead.
    """

    __slots__ = (
        '_due_ns', '_proven', '_quote', '_start_ns', 'batch', 'begin_ns', 'behind',
        'busy', 'drag', 'expected', 'free', 'lane', 'open', 'single_ns', 'used', 'waited_ns',
    )  # fmt: skip

    def __init__(self, lane: Lane, free: bool, now_ns: int, quote: Quote, proven: bool) -> None:
        self.lane = lane
        self.batch: list[Camera] = []
        self.behind = 0
        self.expected: list[tuple[int, float]] = []
        self.free = self.open = free
        self.busy = bool(lane.running)
        used = lane.utilisation
        self.used = used if used < MOST_USED else MOST_USED
        self.single_ns = quote.single_ns
        self._quote = quote
        self._proven = proven
        self._due_ns = NEVER_NS
        self.drag = quote.drag
        # Work that is overdue by some time is expected to take that time once more.
        ahead_ns = lane.busy_until_ns - now_ns
        if ahead_ns < 0:
            ahead_ns = 0 if free else -ahead_ns
        self._start_ns = self.begin_ns = now_ns + ahead_ns
        self.waited_ns = self.begin_ns + quote.single_ns

    @property
    def hoped_ns(self) -> int:
        """Return when the lane is done with a frame at the earliest."""
        return self._start_ns + self.single_ns if self._proven else self._start_ns

    @property
    def starts(self) -> bool:
        """Return whether the lane takes its batch now."""
        return not self.lane.running or not self.room

    @property
    def room(self) -> int:
        """Return how many frames more the batch may hold."""
        return self.lane.config.max_batch - len(self.batch)

    def joined_ns(self, due_ns: int) -> int | None:
        """Return when the lane's next batch would be done with one frame more, if it gains by it.

        None too if a frame in it would miss its deadline. The lane is ``open``.
        """
        size = len(self.batch)
        if size == 0:
            return self._start_ns + self.single_ns
        together = self._quote.call_ns(size + 1)
        apart = self._quote.call_ns(size) + self.single_ns
        finish_ns = self._start_ns + together
        return finish_ns if together < apart and finish_ns <= min(self._due_ns, due_ns) else None

    def join(self, camera: Camera, due_ns: int) -> None:
        """Take the camera's frame into the lane's next batch."""
        self.batch.append(camera)
        self.busy = True
        self.open = self.room > 0
        self._due_ns = min(self._due_ns, due_ns)
        self._reckon()

    def wait(self) -> None:
        """Put a frame behind what waits; from now on none joins the batch."""
        self.behind += 1
        self.open = False
        self._reckon()

    def expect(self, weight: float, arrival_ns: int) -> None:
        """Note a frame that will come."""
        self.expected.append((arrival_ns, weight))
        self.expected.sort()
        self._reckon()

    def _reckon(self) -> None:
        """Work out ``begin_ns`` and ``waited_ns``.

        While a backlog is worked off new frames arrive and go ahead; by the time they are done too
        it has taken ``1 / (1 - utilisation)`` as long (the delay cycle of a queue with priorities).
        """
        call_ns, most = self._quote.call_ns, self.lane.config.max_batch
        begin_ns = self._start_ns
        if self.batch:
            begin_ns += call_ns(len(self.batch))
        if self.behind >= most:
            ahead_ns = self.behind // most * call_ns(most)
            begin_ns += round(ahead_ns / (1 - (self.used if self.used < FULL else FULL)))
        self.begin_ns = begin_ns
        last = self.behind % most + 1
        self.waited_ns = self.yield_from(begin_ns) + call_ns(last)

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
