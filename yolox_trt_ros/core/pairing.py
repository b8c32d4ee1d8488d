"""Match messages of several topics by their exact header stamp."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Sequence
from typing import Any


class StampJoin:
    """Waits until every stream has brought its part of a stamp; holds a bounded number of parts.

    Streams may come in any order, and so may the stamps within one. A stream that holds more than
    ``limit`` parts forgets its oldest arrival. A stamp that a stream brings again says nothing
    any more: some of the images may have been dropped on the way to one of the streams, so nobody
    knows which parts belong together, and none of them is joined.

    Args:
        streams: their names.
        limit: parts held per stream.

    Attributes:
        alone: parts by stream that were forgotten before the others came.
        repeated: parts by stream that were not joined since their stamp came more than once.
    """

    def __init__(self, streams: Sequence[str], limit: int) -> None:
        if limit < 1:
            raise ValueError(f'limit: expected at least 1, got {limit}')
        self._limit = limit
        self._held: dict[str, OrderedDict[int, Any]] = {name: OrderedDict() for name in streams}
        self._joined: OrderedDict[int, None] = OrderedDict()
        self._ambiguous: OrderedDict[int, None] = OrderedDict()
        self.alone: Counter[str] = Counter()
        self.repeated: Counter[str] = Counter()

    def add(self, stream: str, stamp_ns: int, part: Any) -> dict[str, Any] | None:
        """Take a part; return all parts of the stamp, by stream, if this was the last missing one.

        Args:
            stream: where it came from.
            stamp_ns: header stamp, nanoseconds.
            part: what came.
        """
        held = self._held[stream]
        if stamp_ns in held or stamp_ns in self._joined or stamp_ns in self._ambiguous:
            self._give_up(stream, stamp_ns)
            return None
        held[stamp_ns] = part
        if all(stamp_ns in parts for parts in self._held.values()):
            self._remember(self._joined, stamp_ns)
            return {name: parts.pop(stamp_ns) for name, parts in self._held.items()}
        if len(held) > self._limit:
            held.popitem(last=False)
            self.alone[stream] += 1
        return None

    def _give_up(self, stream: str, stamp_ns: int) -> None:
        """Note that a stamp came again, and forget what waits for its other parts."""
        self._remember(self._ambiguous, stamp_ns)
        self.repeated[stream] += 1
        for name, parts in self._held.items():
            if stamp_ns in parts:
                del parts[stamp_ns]
                self.repeated[name] += 1

    def _remember(self, stamps: OrderedDict[int, None], stamp_ns: int) -> None:
        stamps[stamp_ns] = None
        stamps.move_to_end(stamp_ns)
        if len(stamps) > self._limit:
            stamps.popitem(last=False)
