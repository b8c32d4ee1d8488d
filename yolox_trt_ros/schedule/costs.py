"""How long a lane takes: measured at warm-up, then learned from every batch it runs."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import accumulate

from yolox_trt_ros.core.medians import RollingMedian


class Quote:
    """What a lane's calls take at one load, and how many frames a call is to have.

    Where lanes are short of time, a batch has the size that does most frames a second, of those
    that the waiting frames can fill. Where they are not, the waiting frames are divided into
    batches so that the sum of the times until they are done is least. Under overload a lane may
    also wait for frames that are to come soon. All look at the whole cost curve, which need not be
    convex: with 3.4, 5.1, 11.8 and 13.5 ms for 1, 2, 4 and 8 frames a batch of 8 does most frames a
    second, although 4 do fewer than 2.

    Args:
        call_ns: time of a call with so many frames.
        max_batch: most frames of a call.

    Attributes:
        call_ns: returns the time of a call with 1 to ``most`` frames.
        most: most frames of a call; a crop counts as a frame in all of this.
        single_ns: time of a call with one frame.
        economical: the size that does most frames a second.
        frame_ns: time per frame in calls of that size.
        room_ns: returns the time of the quickest call with at least so many frames.
        lost_ns: by size, the time of a call beyond what its frames take in economical calls.
    """

    __slots__ = (
        '_most', '_quick', 'call_ns', 'economical', 'frame_ns', 'lost_ns', 'most', 'room_ns',
        'single_ns',
    )  # fmt: skip

    def __init__(self, call_ns: Callable[[int], int], max_batch: int) -> None:
        times_ns = [0, *map(call_ns, range(1, max_batch + 1))]  # asked for once: lanes wait
        self.call_ns = self.room_ns = times_ns.__getitem__
        self.single_ns, self.most = times_ns[1], max_batch
        self.frame_ns = float(self.single_ns)
        self._most, self._quick, self.lost_ns, self.economical = [0, 1], [0, 1], [0, 0], 1
        if max_batch == 1:  # there is nothing to weigh, and this is done after nearly every call
            return
        self.room_ns = [*accumulate(reversed(times_ns[1:]), min), 0][::-1].__getitem__
        self._most, self._quick = [0], [0]
        least_ns = [0]
        for waiting in range(1, max_batch + 1):
            most = self._most[-1]
            if not most or times_ns[waiting] * most < times_ns[most] * waiting:
                most = waiting
            self._most.append(most)
            sums_ns = [
                waiting * times_ns[size] + least_ns[waiting - size]
                for size in range(1, waiting + 1)
            ]
            least_ns.append(min(sums_ns))
            sums_ns.reverse()  # of equal ones the largest batch, which leaves the lane more time
            self._quick.append(waiting - sums_ns.index(least_ns[-1]))
        self.economical = self._most[-1]
        self.frame_ns = times_ns[self.economical] / self.economical
        self.lost_ns = [round(time_ns - n * self.frame_ns) for n, time_ns in enumerate(times_ns)]

    def size(self, waiting: int, short: bool) -> int:
        """Return how many of the waiting frames the next call is to have.

        Args:
            waiting: how many could be run.
            short: whether the lanes are short of time.
        """
        sizes = self._most if short else self._quick
        return sizes[waiting] if waiting < len(sizes) else sizes[-1]

    def worth_waiting(self, waiting: int, waits_ns: Sequence[int]) -> tuple[int, int]:
        """Return the size that loses the lane least time, and how long it waits for its frames.

        Idle time is lost, and so is what a call takes beyond its frames' time in economical calls.

        Args:
            waiting: how many frames could be run at once, at least one.
            waits_ns: in how long the next ones come, in order.
        """
        comes_ns = [0] * waiting + list(waits_ns)
        sizes = range(1, min(len(comes_ns), len(self.lost_ns) - 1) + 1)
        best = min(sizes, key=lambda size: comes_ns[size - 1] + self.lost_ns[size])
        return best, comes_ns[best - 1]

    def other_size(self, rounds: int, waiting: int) -> int:
        """Return a size to try so that its cost does not grow stale; 0: none this time.

        What loses more time is tried more seldom: trying takes some hundredths of it at most.
        ``rounds`` counts how often this is asked.
        """
        most = min(waiting, len(self._most) - 1)
        size = most if rounds % 2 else 1 + rounds // 2 % most
        dear = 2 * self.lost_ns[size] // self.call_ns(self.economical)
        return size if rounds and rounds // 2 // most % (1 + dear) == dear else 0


class CostModel:
    """Expected time of a lane's calls with one model, by batch size and load.

    The load of a call is the number of other lanes that were busy when it was dispatched: lanes
    share memory bandwidth (or cores), so a lane's cost depends on its neighbours. What is expected
    is within 1 % of the median. A load that was never measured borrows from the nearest one of the
    same batch size, and a batch size that was never measured is interpolated between its
    neighbours.

    Args:
        max_batch: most frames of a call.
    """

    def __init__(self, max_batch: int = 1) -> None:
        self._max_batch = max_batch
        self._medians: dict[tuple[int, int], RollingMedian] = {}
        self._expected: dict[int, dict[int, int]] = {}
        self._quotes: dict[int, Quote] = {}

    def observe(self, batch: int, load: int, cost_ns: int) -> None:
        """Learn from one call of ``batch`` frames that took ``cost_ns`` nanoseconds."""
        median = self._medians.setdefault((batch, load), RollingMedian())
        median.add(max(1, cost_ns))
        loads = self._expected.setdefault(batch, {})
        # Quotes are made anew for what matters, not after each call.
        if abs(median.value - loads.get(load, 0)) * 100 > median.value:
            loads[load] = median.value
            self._quotes.clear()

    def quote(self, load: int) -> Quote:
        """Return what a decision needs to know of the lane at a load, at once."""
        quote = self._quotes.get(load)
        if quote is None:
            quote = Quote(lambda size: self.expect(size, load), self._max_batch)
            self._quotes[load] = quote
        return quote

    def expect(self, batch: int, load: int = 0) -> int:
        """Return the expected time of one call in nanoseconds; something was measured before."""
        loads = self._expected.get(batch)
        if loads is not None:
            if load not in loads:
                load = min(loads, key=lambda at: (abs(at - load), -at))
            return loads[load]
        known = sorted(self._expected)
        place = bisect_left(known, batch)
        if place in (0, len(known)):
            nearest = known[0] if place == 0 else known[-1]
            return round(self.expect(nearest, load) * batch / nearest)
        low, high = known[place - 1], known[place]
        below, above = self.expect(low, load), self.expect(high, load)
        return round(below + (above - below) * (batch - low) / (high - low))

    def table(self, load: int = 0) -> dict[int, int]:
        """Return the expected cost of every measured batch size at ``load``, nanoseconds."""
        return {batch: self.expect(batch, load) for batch in sorted(self._expected)}
