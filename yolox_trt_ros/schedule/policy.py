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
   :meth:`schedule.state.Lane.free`. A batch that waits so lets one of another model go first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from yolox_trt_ros.schedule.camera import Camera
from yolox_trt_ros.schedule.order import NEVER_NS, Entry
from yolox_trt_ros.schedule.state import Lane, Moment

BACKLOG = 2
"""Where lanes are short of time a backlog takes so many times as long: newer frames go ahead. And a
camera that has had clearly less than its share waits only where that is so much better."""


EXPLORE = 32
"""At most one batch in so many has another size than the best, so that no cost grows stale."""
PROVEN_NS = 1_000_000_000
"""A lane's cost counts as proven for this long after its last batch."""


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


def decide(moment: Moment, line: Iterable[Entry], plans: Sequence[LanePlan]) -> Decision:
    """Return what each free lane takes now and which frames are hopeless.

    Args:
        moment: of the decision.
        line: waiting frames, and frames that owed cameras will send; the first comes first.
        plans: an empty one for each running lane.
    """
    decision, now_ns = Decision([]), moment.now_ns
    undecided = sum([plan.open for plan in plans])
    for camera, arrival_ns in line:
        able = plans
        if camera.pin is not None or camera.strikes:
            able = _able(camera, plans)
        if arrival_ns > now_ns:
            _claim(camera, able, arrival_ns)
            continue
        due_ns = NEVER_NS
        if camera.deadline_ns:
            due_ns = arrival_ns + camera.deadline_ns
            model = camera.config.model
            if due_ns < min([plan.hoped_ns(model) for plan in able], default=0):
                quickest_ns = min([plan.quotes[model].single_ns for plan in able])
                decision.hopeless.append((camera, quickest_ns <= camera.deadline_ns))
                continue
        if not undecided:
            continue
        best, starts = _choose(camera, able, now_ns, due_ns)
        if best is not None:
            undecided -= best.open
            if starts:
                best.join(camera, due_ns)
            else:
                best.wait(camera, due_ns)
            undecided += best.open
    for plan in plans:
        if plan.batch and (plan.starts or plan.yields()):
            decision.takes.append((plan.lane, plan.members()))
    return decision


def _able(camera: Camera, plans: Sequence[LanePlan]) -> Sequence[LanePlan]:
    """Return the lanes that may run the camera's frame."""
    if camera.pin is not None:
        pinned = [plan for plan in plans if plan.lane is camera.pin]
        if pinned or camera.bound:
            plans = pinned
    if camera.strikes:  # one lane at a time: the others prove themselves with other frames
        plans = [plan for plan in plans if not plan.batch and not camera.in_flight]
    return plans


def _claim(camera: Camera, able: Sequence[LanePlan], arrival_ns: int) -> None:
    """Keep a lane so that a frame which will come at ``arrival_ns`` meets its deadline there.

    Several cameras may keep one lane: which is first there is decided when their frames have come.
    """
    due_ns = arrival_ns + camera.deadline_ns
    best, best_order, best_ns = None, (True, NEVER_NS), 0
    for plan in able:
        single_ns = plan.quotes[camera.config.model].single_ns
        finish_ns = max(plan.start_ns, arrival_ns) + single_ns
        order = (finish_ns > due_ns, finish_ns)
        if order < best_order and single_ns <= camera.deadline_ns:
            best, best_order, best_ns = plan, order, single_ns
    if best is not None:
        best.latest_ns = min(best.latest_ns, due_ns - best_ns)
        best.begin_ns = max(best.begin_ns, best_order[1])


def _choose(
    camera: Camera, able: Sequence[LanePlan], now_ns: int, due_ns: int
) -> tuple[LanePlan | None, bool]:
    """Return the lane that is best for the frame, and whether it takes the frame now."""
    best, best_price, best_starts = None, (True, float(NEVER_NS)), False
    for plan in able:
        finish_ns = plan.joined_ns(camera, due_ns) if plan.open else None
        starts = finish_ns is not None
        if finish_ns is None:
            finish_ns = plan.waited_ns(camera.config.model)
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
        load: how many other lanes are busy.
        moment: of the decision.

    Attributes:
        quotes: what its calls take with each model.
        batch: cameras whose frames it takes next, all of one model.
        places: that these frames take, with their crops.
        open: whether a frame may join the batch.
        start_ns: when it may start its next batch.
        latest_ns: when its next batch has to be done for a camera that is owed a frame.
        begin_ns: when it may be done with its batch and with the full batches that wait.
    """

    __slots__ = (
        '_behind', '_due_ns', '_least', '_moment', '_quote', '_size', '_wait_ns',
        'batch', 'begin_ns', 'lane', 'latest_ns', 'open', 'places', 'quotes', 'start_ns',
    )  # fmt: skip

    def __init__(self, lane: Lane, free: bool, load: int, moment: Moment) -> None:
        now_ns = moment.now_ns
        self.lane = lane
        self.open = free
        self.quotes = {model: costs.quote(load) for model, costs in lane.costs.items()}
        self.batch: list[Camera] = []
        self.places = 0
        self.latest_ns = NEVER_NS
        self._moment = moment
        self._due_ns: list[int] = []
        self._behind: dict[str, list[tuple[Camera, int]]] = {}
        # Work that is overdue by some time is expected to take that time once more.
        ahead_ns = lane.busy_until_ns - now_ns
        if ahead_ns < 0:
            ahead_ns = 0 if free and not lane.running else -ahead_ns
        self.start_ns = self.begin_ns = now_ns + ahead_ns

    def hoped_ns(self, model: str) -> int:
        """Return when the lane is done with a frame at the earliest, whatever else waits for it.

        A frame is not given up on a cost that was not measured lately.
        """
        proven = self.lane.measured_ns > self._moment.now_ns - PROVEN_NS
        return self.start_ns + self.quotes[model].single_ns if proven else self.start_ns

    @property
    def starts(self) -> bool:
        """Return whether the lane takes its batch now."""
        if self.places >= self._least:
            return True
        if self.lane.running:
            return False
        full_ns = self.start_ns + self._wait_ns + self._quote.call_ns(self._least)
        return full_ns > min(self.latest_ns, *self._due_ns)

    def joined_ns(self, camera: Camera, due_ns: int) -> int | None:
        """Return when the lane's next batch would be done with the camera's frame too.

        None if the batch is of another model or has no room for it, or if a frame would miss its
        deadline by it, or a camera that is owed one its turn. The lane is ``open``.
        """
        model = camera.config.model
        if self.batch and model != self.batch[0].config.model:
            return None
        size = self.places + self._taken(camera)
        if size > self.quotes[model].most:
            return None
        finish_ns = self.start_ns + self._call_ns(model, size)
        if finish_ns > self.latest_ns or (self.batch and finish_ns > min(due_ns, *self._due_ns)):
            return None
        return finish_ns

    def _taken(self, camera: Camera) -> int:
        """Return the places that a frame takes: at most all that the lane's calls have."""
        return min(camera.places, self.quotes[camera.config.model].most)

    def join(self, camera: Camera, due_ns: int) -> None:
        """Take the camera's frame into the lane's next batch."""
        if not self.batch:
            self._begin(camera.config.model)
        self.batch.append(camera)
        self._due_ns.append(due_ns)
        self.places += self._taken(camera)
        self.open = self.places < self._size and not camera.strikes
        self._estimate()

    def _begin(self, model: str) -> None:
        """Work out how many frames of a model the batch is to have, and whether to wait for them.

        ``_least`` is without how many the lane does not start, ``_wait_ns`` for how long.
        """
        lane, moment = self.lane, self._moment
        quote = self._quote = self.quotes[model]
        self._size = self._least = quote.economical
        self._wait_ns = 0
        if lane.running or lane.config.max_batch == 1:
            return
        waiting, waits_ns = moment.waiting[model], moment.waits_ns(model)
        self._size = quote.size(waiting, moment.short)
        if waits_ns:
            self._size, self._wait_ns = quote.worth_waiting(waiting, waits_ns)
        rounds, left = divmod(lane.batches, EXPLORE)
        other = 0 if left else quote.other_size(rounds, waiting)
        if other:
            self._size, self._wait_ns = other, 0
        self._least = self._size if self._size > waiting else 1

    def wait(self, camera: Camera, due_ns: int) -> None:
        """Put a frame behind what waits; from now on none of its model joins the batch."""
        model = camera.config.model
        self._behind.setdefault(model, []).append((camera, due_ns))
        if not self.batch or self.batch[0].config.model == model:
            self.open = False
        self._estimate()

    def yields(self) -> bool:
        """Let a batch of another model go first, while this one waits for more frames.

        Returns whether there is one that lets this one meet its deadlines.
        """
        own, due_ns = self.batch[0].config.model, min(self.latest_ns, *self._due_ns)
        self.latest_ns = due_ns - self._quote.call_ns(self.places)
        for model, frames in self._behind.items():
            if model == own:
                continue
            self.batch, self._due_ns, self.places = [], [], 0
            for camera, due_ns in frames:
                done_ns = self.joined_ns(camera, due_ns)
                if done_ns is not None and done_ns >= camera.running_until_ns:
                    self.join(camera, due_ns)
                    if not self.open:
                        break
            if self.batch and self.starts:
                return True
        return False

    def members(self) -> list[Camera]:
        """Return the batch; if fewer frames joined than were hoped for, the first of them."""
        count, places, short = len(self.batch), self.places, self._moment.short
        if places < self._size:
            count, places = self._first(self._quote.size(places, short))
        while count > 1:
            finish_ns = self.start_ns + self._quote.call_ns(places)
            if finish_ns <= min(self.latest_ns, *self._due_ns[:count]):
                break
            count, places = self._first(self._quote.size(places - 1, short))
        return self.batch[:count]

    def _first(self, room: int) -> tuple[int, int]:
        """Return how many of the batch's frames, at least one, fit, and the places they take."""
        count, places = 0, 0
        for camera in self.batch:
            more = places + self._taken(camera)
            if count and more > room:
                break
            count, places = count + 1, more
        return count, places

    def waited_ns(self, model: str) -> int:
        """Return when it may be done with a frame more that waits for all that goes ahead."""
        done_ns, own = self.begin_ns, 1
        for other, frames in self._behind.items():
            left = _places(frames) % self.quotes[other].economical
            if other == model:
                own += left
            elif left:
                done_ns += self._call_ns(other, left)
        return done_ns + self._call_ns(model, own)

    def _call_ns(self, model: str, size: int) -> int:
        """Return what a call takes; short of time, calls get the frames that make them quicker."""
        quote = self.quotes[model]
        return quote.room_ns(size) if self._moment.short else quote.call_ns(size)

    def _estimate(self) -> None:
        """Work out ``begin_ns``."""
        begin_ns = self.start_ns
        if self.batch:
            begin_ns += self._call_ns(self.batch[0].config.model, self.places)
        times = BACKLOG if self._moment.short else 1
        for model, frames in self._behind.items():
            most = self.quotes[model].economical
            full = _places(frames) // most
            if full:
                begin_ns += times * full * self._call_ns(model, most)
        self.begin_ns = begin_ns


def _places(frames: Sequence[tuple[Camera, int]]) -> int:
    return sum([camera.places for camera, _ in frames])
