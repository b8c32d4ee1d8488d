"""Which waiting frames does each free lane take now? Pure: it reads, decides, changes nothing.

Rules, in this order:

1. Order. The caller's: :mod:`schedule.order`.
2. Deadline. A frame that even the quickest lane, started as early as possible, would finish after
   its deadline is hopeless.
3. Claim. A camera that is owed a frame keeps the lane that would be done with it first: no other
   frame starts there that would make the next one of the owed camera miss its deadline.
4. Lane. A frame goes where it is done first: to a lane that is free, or behind what waits for one
   that is busy; where lanes are short of time, newer frames go ahead of a backlog too. A camera
   that has had clearly less than its share waits only where it is done in half the time. A lane's
   ``price`` multiplies the time until it is done, where deadlines allow it.
5. Order on the topic. No lane starts a frame that it would finish before an older frame of the same
   camera that is still running elsewhere.
6. Batches. Frames in a batch are of cameras of one model. Their number follows from the whole cost
   curve, see :class:`schedule.costs.Quote`; no frame in a batch misses its deadline by it, and one
   that a lane has failed with is run alone. An idle lane waits for a batch to fill only under
   overload, if less time is lost so and no deadline by it; a lane that is running one takes the
   next in advance only if that has the most economical size. When it may do that says
   :meth:`schedule.state.Lane.free`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from yolox_trt_ros.schedule.camera import Camera
from yolox_trt_ros.schedule.costs import Quote
from yolox_trt_ros.schedule.order import NEVER_NS, Entry
from yolox_trt_ros.schedule.state import Lane

BACKLOG = 2
"""Where lanes are short of time a backlog takes so many times as long: newer frames go ahead. And a
camera that has had clearly less than its share waits only where that is so much better."""


@dataclass(slots=True)
class Decision:
    """What happens now.

    Attributes:
        takes: every lane that starts a batch, with the cameras whose frames it takes.
        hopeless: cameras whose waiting frame is to be dropped, and whether a lane that was free in
            time could have met its deadline.
    """

    takes: list[tuple[Lane, list[Camera]]]
    hopeless: list[tuple[Camera, bool]] = field(default_factory=list)


def decide(
    now_ns: int,
    line: Iterable[Entry],
    plans: Sequence[LanePlan],
    decision: Decision | None = None,
    earlier: Sequence[Sequence[LanePlan]] = (),
) -> Decision:
    """Return what each free lane takes now and which frames are hopeless.

    Args:
        now_ns: monotonic time.
        line: waiting frames, and frames that owed cameras will send; the first comes first.
        plans: an empty one for each running lane.
        decision: what frames of other models do, to which these are added.
        earlier: the plans of these, of the same lanes; frames of this model come after them.
    """
    decision = decision or Decision([])
    for others in earlier:
        for plan, first in zip(plans, others, strict=True):
            plan.follow(first)
    undecided = sum([plan.open for plan in plans])
    for camera, arrival_ns in line:
        able = plans
        if camera.pin is not None:
            pinned = [plan for plan in plans if plan.lane is camera.pin]
            if pinned or camera.bound:
                able = pinned
        if camera.strikes:  # one lane at a time: the others prove themselves with other frames
            able = [plan for plan in able if not plan.batch and not camera.in_flight]
        if arrival_ns > now_ns:
            _claim(able, arrival_ns, camera.deadline_ns)
            continue
        due_ns = NEVER_NS
        if camera.deadline_ns:
            due_ns = arrival_ns + camera.deadline_ns
            if due_ns < min([plan.hoped_ns for plan in able], default=0):
                quickest_ns = min([plan.single_ns for plan in able])
                decision.hopeless.append((camera, quickest_ns <= camera.deadline_ns))
                continue
        if not undecided:
            continue
        best, starts = _choose(camera, able, now_ns, due_ns)
        if best is None:
            continue
        if starts:
            best.join(camera, due_ns)
            best.open = best.open and not camera.strikes
            undecided -= not best.open
        else:
            undecided -= best.open
            best.wait(camera.places)
    decision.takes += [(plan.lane, plan.members()) for plan in plans if plan.batch and plan.starts]
    return decision


def _claim(able: Sequence[LanePlan], arrival_ns: int, deadline_ns: int) -> None:
    """Keep a lane so that a frame which will come at ``arrival_ns`` meets its deadline there.

    Several cameras may keep one lane: which is first there is decided when their frames have come.
    """
    due_ns = arrival_ns + deadline_ns
    best, best_order = None, (True, NEVER_NS)
    for plan in able:
        finish_ns = max(plan.start_ns, arrival_ns) + plan.single_ns
        order = (finish_ns > due_ns, finish_ns)
        if order < best_order and plan.single_ns <= deadline_ns:
            best, best_order = plan, order
    if best is not None:
        best.latest_ns = min(best.latest_ns, due_ns - best.single_ns)
        best.begin_ns = max(best.begin_ns, best_order[1])
        best.waited_ns = best.begin_ns + best.single_ns


def _choose(
    camera: Camera, able: Sequence[LanePlan], now_ns: int, due_ns: int
) -> tuple[LanePlan | None, bool]:
    """Return the lane that is best for the frame, and whether it takes the frame now."""
    best, best_price, best_starts = None, (True, float(NEVER_NS)), False
    for plan in able:
        finish_ns = plan.joined_ns(camera.places, due_ns) if plan.open else None
        starts = finish_ns is not None
        if finish_ns is None:
            finish_ns = plan.waited_ns
        elif finish_ns < camera.running_until_ns:
            continue
        price_ns = (finish_ns - now_ns) * plan.lane.config.price
        if camera.behind and not starts:
            price_ns *= BACKLOG
        price = (finish_ns > due_ns, price_ns)
        if price < best_price:
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
        size: frames that its next batch is to have if so many join it; a crop counts as one.
        short: whether lanes are short of time, so that throughput counts.
        least: frames without which it does not start, if it is idle.
        wait_ns: how long it may wait for them.

    Attributes:
        batch: cameras whose frames it takes next.
        behind: frames, and their crops, that wait for it after that.
        open: whether a frame may join the batch.
        start_ns: when it may start its next batch.
        latest_ns: when its next batch has to be done for a camera that is owed a frame.
        begin_ns: when it may be done with its batch and with the full batches that wait.
        waited_ns: when it may be done with a frame that waits for all that goes ahead.
    """

    __slots__ = (
        '_call_ns', '_due_ns', '_least', '_places', '_proven', '_quote', '_ready_ns', '_short',
        '_size', '_wait_ns', 'batch', 'begin_ns', 'behind', 'lane', 'latest_ns', 'open',
        'single_ns', 'start_ns', 'waited_ns',
    )  # fmt: skip

    def __init__(
        self, lane: Lane, free: bool, now_ns: int, quote: Quote, proven: bool,
        size: int = 1, short: bool = False, least: int = 1, wait_ns: int = 0,
    ) -> None:  # fmt: skip
        self.lane = lane
        self.batch: list[Camera] = []
        self.behind = 0
        self.open = free
        self.latest_ns = NEVER_NS
        self.single_ns = quote.single_ns
        self._quote = quote
        # Where lanes are short of time, calls get the frames that make them quicker.
        self._call_ns = quote.room_ns if short else quote.call_ns
        self._proven = proven
        self._size = size
        self._short = short
        self._least = quote.economical if lane.running else least
        self._wait_ns = wait_ns
        self._places = 0
        self._due_ns: list[int] = []
        # Work that is overdue by some time is expected to take that time once more.
        ahead_ns = lane.busy_until_ns - now_ns
        if ahead_ns < 0:
            ahead_ns = 0 if free and not lane.running else -ahead_ns
        self._ready_ns = self.start_ns = self.begin_ns = now_ns + ahead_ns
        self.waited_ns = self.begin_ns + quote.single_ns

    @staticmethod
    def may_start(lane: Lane, free: bool, quote: Quote, waiting: int) -> bool:
        """Return whether so many frames, with their crops, could be enough for a lane to start."""
        return free and (not lane.running or waiting >= quote.economical)

    @property
    def hoped_ns(self) -> int:
        """Return when the lane is done with a frame at the earliest, whatever else waits for it."""
        return self._ready_ns + self.single_ns if self._proven else self._ready_ns

    @property
    def starts(self) -> bool:
        """Return whether the lane takes its batch now."""
        if self._places >= self._least:
            return True
        if self.lane.running:
            return False
        full_ns = self.start_ns + self._wait_ns + self._quote.call_ns(self._least)
        return full_ns > min(self.latest_ns, *self._due_ns)

    def joined_ns(self, places: int, due_ns: int) -> int | None:
        """Return when the lane's next batch would be done with one frame more.

        None if there is no room for it, or a frame would miss its deadline by it, or a camera that
        is owed one its turn. The lane is ``open``.

        Args:
            places: that the frame takes; a lane that never has so many takes it in what it has.
            due_ns: when it has to be done.
        """
        most = self._quote.most
        size = self._places + (places if places < most else most)
        if size > most:
            return None
        finish_ns = self.start_ns + self._call_ns(size)
        if finish_ns > self.latest_ns:
            return None
        if self.batch and finish_ns > min(due_ns, *self._due_ns):
            return None
        return finish_ns

    def join(self, camera: Camera, due_ns: int) -> None:
        """Take the camera's frame into the lane's next batch."""
        self.batch.append(camera)
        self._due_ns.append(due_ns)
        self._places += min(camera.places, self._quote.most)
        self.open = self._places < self._size
        self._estimate()

    def follow(self, first: LanePlan) -> None:
        """Come after what frames of another model do on the lane."""
        self.latest_ns = min(self.latest_ns, first.latest_ns)
        if first.batch or first.behind:
            self.open = False
            if first.batch and first.starts:
                self.start_ns = max(self.start_ns, first.begin_ns)
            self.begin_ns = max(self.begin_ns, first.begin_ns)
            self.waited_ns = self.begin_ns + self.single_ns

    def wait(self, places: int = 1) -> None:
        """Put a frame behind what waits; from now on none joins the batch."""
        self.behind += places
        self.open = False
        self._estimate()

    def members(self) -> list[Camera]:
        """Return the batch; if fewer frames joined than were hoped for, the first of them."""
        count, places = len(self.batch), self._places
        if places < self._size:
            count, places = self._first(self._quote.size(places, self._short))
        while count > 1:
            finish_ns = self.start_ns + self._quote.call_ns(places)
            if finish_ns <= min(self.latest_ns, *self._due_ns[:count]):
                break
            count, places = self._first(self._quote.size(places - 1, self._short))
        return self.batch[:count]

    def _first(self, room: int) -> tuple[int, int]:
        """Return how many of the batch's frames, at least one, fit into so much of it."""
        if self._places == len(self.batch):
            return room, room
        count, places = 0, 0
        for camera in self.batch:
            more = places + min(camera.places, self._quote.most)
            if count and more > room:
                break
            count, places = count + 1, more
        return count, places

    def _estimate(self) -> None:
        """Work out ``begin_ns`` and ``waited_ns``."""
        call_ns, most = self._call_ns, self._quote.economical
        begin_ns = self.start_ns
        if self.batch:
            begin_ns += call_ns(self._places)
        if self.behind >= most:
            begin_ns += self.behind // most * call_ns(most) * (BACKLOG if self._short else 1)
        self.begin_ns = begin_ns
        self.waited_ns = begin_ns + call_ns(self.behind % most + 1)
