"""Which lane is each camera's home: an exact search over all assignments.

A frame costs a lane the same whichever camera it comes from, so the price of a lane depends only on
the *set* of cameras on it. That turns the search over ``lanes ** cameras`` assignments into dynamic
programming over sets: ``3 ** cameras`` steps per lane (6,561 for eight cameras), each exact.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

# A score packed into one int64, so that NumPy can compare whole tables of them.
_LATE_SHIFT, _UNSERVED_SHIFT = 36, 40
_MAX_UNSERVED = (1 << 23) - 1
_MAX_RESPONSE = (1 << 32) - 1
MAX_CAMERAS = 10
"""Most cameras one search takes; time and memory grow with ``3 ** cameras``."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What a camera asks for.

    Attributes:
        camera: its name.
        rate_hz: frames per second.
        priority: weight of its response time, > 0.
        deadline_ns: longest useful response, nanoseconds; 0: none.
        lane: the only lane it may be placed on; empty: any.
    """

    camera: str
    rate_hz: float
    priority: float = 1.0
    deadline_ns: int = 0
    lane: str = ''


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a lane offers while the other lanes are busy too.

    Attributes:
        lane: its name.
        response_ns: time of a call with one frame.
        frame_ns: time per frame at its most economical batch size.
    """

    lane: str
    response_ns: int
    frame_ns: int


@dataclass(frozen=True, slots=True, order=True)
class Score:
    """How bad a placement is; compared field by field, smaller is better.

    Attributes:
        unserved_mhz: frames per 1000 s that the lanes cannot keep up with (saturates at 8388608).
        late: cameras whose worst response misses their deadline.
        worst_us: largest priority-weighted worst response, microseconds.
        total_us: sum of the weighted worst responses, microseconds.
    """

    unserved_mhz: int
    late: int
    worst_us: int
    total_us: int

    @property
    def feasible(self) -> bool:
        """Return whether every rate and every deadline is met."""
        return self.unserved_mhz == 0 and self.late == 0


@dataclass(frozen=True, slots=True)
class Placement:
    """A camera → lane assignment with what it promises.

    Attributes:
        lanes: lane of every camera.
        score: how it compares.
        utilisation: per lane; 1 and more means that it cannot keep up.
        response_ns: worst response of every camera on its lane alone, nanoseconds.
        missing: what a camera does not get, in words; cameras that get everything are left out.
    """

    lanes: Mapping[str, str]
    score: Score
    utilisation: Mapping[str, float]
    response_ns: Mapping[str, int]
    missing: Mapping[str, str]


def utilisation(demands: Sequence[Demand], capacity: Capacity) -> float:
    """Return the fraction of its time that a lane needs for these cameras."""
    return sum(demand.rate_hz for demand in demands) * capacity.frame_ns / 1e9


def responses(demands: Sequence[Demand], capacity: Capacity) -> list[int]:
    """Return each camera's worst response on one lane, nanoseconds.

    The worst case of a mailbox that holds one frame per camera: all cameras deliver at once, those
    of equal or higher priority go first, and a frame of lower priority has just been started
    (non-preemptive fixed priority, one job per camera). A lane that cannot keep up stretches this
    by its utilisation.
    """
    stretch = max(1.0, utilisation(demands, capacity))
    result = []
    for own in demands:
        ahead = sum(other.priority >= own.priority for other in demands)
        blocked = any(other.priority < own.priority for other in demands)
        result.append(round((ahead + blocked) * capacity.response_ns * stretch))
    return result


def lane_score(demands: Sequence[Demand], capacity: Capacity) -> Score:
    """Return what this set of cameras costs on this lane."""
    if not demands:
        return Score(0, 0, 0, 0)
    rate = sum(demand.rate_hz for demand in demands)
    excess = rate - 1e9 / capacity.frame_ns
    unserved = max(1, math.ceil(excess * 1000)) if excess >= 0 else 0
    worst = responses(demands, capacity)
    weighted = [
        min(_MAX_RESPONSE, round(demand.priority * response / 1000))
        for demand, response in zip(demands, worst, strict=True)
    ]
    late = sum(
        0 < demand.deadline_ns < response for demand, response in zip(demands, worst, strict=True)
    )
    return Score(min(unserved, _MAX_UNSERVED), late, max(weighted), sum(weighted))


def evaluate(
    lanes: Mapping[str, str], demands: Sequence[Demand], capacities: Sequence[Capacity]
) -> Placement:
    """Return what an assignment of cameras to lanes promises.

    Raises:
        ValueError: a camera's lane is not one of ``capacities``, or not the one it asks for.
    """
    known = [capacity.lane for capacity in capacities]
    for demand in demands:
        at = lanes.get(demand.camera, '')
        if at not in known or demand.lane not in ('', at):
            raise ValueError(
                f'camera {demand.camera}: expected one of {[demand.lane] if demand.lane else known}'
                f', got "{at}"'
            )
    scores, used, response, missing = [], {}, {}, {}
    for capacity in capacities:
        here = [demand for demand in demands if lanes[demand.camera] == capacity.lane]
        scores.append(lane_score(here, capacity))
        used[capacity.lane] = utilisation(here, capacity)
        for demand, worst in zip(here, responses(here, capacity), strict=True):
            response[demand.camera] = worst
            lack = _missing(demand, worst, used[capacity.lane], here)
            if lack:
                missing[demand.camera] = lack
    score = Score(
        sum(s.unserved_mhz for s in scores),
        sum(s.late for s in scores),
        max(s.worst_us for s in scores),
        sum(s.total_us for s in scores),
    )
    return Placement(
        {demand.camera: lanes[demand.camera] for demand in demands}, score, used, response, missing
    )


def _missing(demand: Demand, worst_ns: int, load: float, beside: Sequence[Demand]) -> str:
    lacks = []
    if load >= 1:
        rates = fair_rates(beside, sum(other.rate_hz for other in beside) / load)
        got = rates[demand.camera]
        if got < demand.rate_hz:
            lacks.append(f'{got:.1f} of {demand.rate_hz:g} Hz')
    if 0 < demand.deadline_ns < worst_ns:
        lacks.append(
            f'worst response {worst_ns / 1e6:.1f} ms, deadline {demand.deadline_ns / 1e6:g} ms'
        )
    return ', '.join(lacks)


def fair_rates(demands: Sequence[Demand], capacity_hz: float) -> dict[str, float]:
    """Return each camera's weighted fair share of ``capacity_hz`` (water filling).

    Shares are proportional to priority; what a camera does not need goes to the others.
    """
    rates: dict[str, float] = {}
    left = capacity_hz
    rest = sorted(demands, key=lambda demand: demand.rate_hz / demand.priority)
    while rest:
        demand = rest[0]
        share = left * demand.priority / sum(other.priority for other in rest)
        rates[demand.camera] = min(demand.rate_hz, share)
        left -= rates[demand.camera]
        rest = rest[1:]
    return rates


def place(demands: Sequence[Demand], capacities: Sequence[Capacity]) -> Placement:
    """Return the placement with the smallest :class:`Score`; if none is feasible, the least bad.

    The same arguments always give the same placement, among equals too.

    Raises:
        ValueError: no lane, more than :data:`MAX_CAMERAS` cameras, or a pin to an unknown lane.
    """
    names = [capacity.lane for capacity in capacities]
    if not names:
        raise ValueError('placement: expected at least one lane, got none')
    if len(demands) > MAX_CAMERAS:
        raise ValueError(f'placement: expected at most {MAX_CAMERAS} cameras, got {len(demands)}')
    for demand in demands:
        if demand.lane and demand.lane not in names:
            raise ValueError(f'camera {demand.camera}: no lane "{demand.lane}" among {names}')
    tables = [_table(demands, capacity) for capacity in capacities]
    least = _assign(tables, [table.worst for table in tables], np.maximum)
    # Second pass: among the assignments that reach the least worst case, the smallest sum.
    worst = evaluate(_named(least, demands, names), demands, capacities).score.worst_us
    for table in tables:
        table.allowed &= table.worst <= worst
    least = _assign(tables, [table.total for table in tables], np.add)
    return evaluate(_named(least, demands, names), demands, capacities)


def _named(sets: Sequence[int], demands: Sequence[Demand], names: Sequence[str]) -> dict[str, str]:
    return {
        demand.camera: next(
            name for name, members in zip(names, sets, strict=True) if members >> index & 1
        )
        for index, demand in enumerate(demands)
    }


@dataclass(slots=True)
class _Table:
    """A lane's price for every set of cameras; the set is a bit mask and the index."""

    unserved: np.ndarray
    late: np.ndarray
    worst: np.ndarray
    total: np.ndarray
    allowed: np.ndarray


def _table(demands: Sequence[Demand], capacity: Capacity) -> _Table:
    size = 1 << len(demands)
    scores = np.zeros((4, size), np.int64)
    barred = sum(
        1 << index for index, demand in enumerate(demands) if demand.lane not in ('', capacity.lane)
    )
    allowed = (np.arange(size) & barred) == 0
    for members in np.flatnonzero(allowed).tolist():
        here = [demand for index, demand in enumerate(demands) if members >> index & 1]
        score = lane_score(here, capacity)
        scores[:, members] = (score.unserved_mhz, score.late, score.worst_us, score.total_us)
    return _Table(scores[0], scores[1], scores[2], scores[3], allowed)


@lru_cache(maxsize=4)
def _splits(cameras: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return every (set, subset) pair, ordered by set, and where each set's pairs begin."""
    sets, subsets = [], []
    for members in range(1 << cameras):
        subset = members
        while True:
            sets.append(members)
            subsets.append(subset)
            if subset == 0:
                break
            subset = (subset - 1) & members
    begin = np.flatnonzero(np.diff(sets, prepend=-1))
    return np.array(sets), np.array(subsets), begin


def _assign(
    tables: Sequence[_Table], responses: Sequence[np.ndarray], combine: np.ufunc
) -> list[int]:
    """Return each lane's set of cameras so that the combined price of all lanes is least.

    ``best[S]`` is the least price of serving set S with the lanes seen so far; the next lane takes
    a subset T and leaves the rest of S to them. Unserved rates and late cameras add up, responses
    are combined by ``combine``; all three only grow, so the best rest is part of the best whole.
    """
    cameras = len(tables[0].allowed).bit_length() - 1
    sets, subsets, begin = _splits(cameras)
    unserved = np.where(np.arange(1 << cameras) == 0, 0, _MAX_UNSERVED)
    late = np.zeros_like(unserved)
    response = np.zeros_like(unserved)
    choices = []
    for table, own in zip(tables, responses, strict=True):
        rest = sets ^ subsets
        all_unserved = np.minimum(unserved[rest] + table.unserved[subsets], _MAX_UNSERVED)
        all_late = late[rest] + table.late[subsets]
        all_response = combine(response[rest], own[subsets])
        key = (all_unserved << _UNSERVED_SHIFT) + (all_late << _LATE_SHIFT) + all_response
        key[~table.allowed[subsets]] = np.iinfo(np.int64).max
        least = np.minimum.reduceat(key, begin)
        first = np.flatnonzero(key == least[sets])
        pick = first[np.searchsorted(sets[first], np.arange(1 << cameras))]
        choices.append(subsets[pick])
        unserved, late, response = all_unserved[pick], all_late[pick], all_response[pick]
    left = (1 << cameras) - 1
    result = []
    for choice in reversed(choices):
        result.append(int(choice[left]))
        left ^= result[-1]
    return result[::-1]
