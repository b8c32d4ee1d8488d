"""Join what several topics say of one image, by its exact header stamp."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Sequence
from typing import Any


class StampJoin:
    """Waits until every stream has brought its part of a stamp; holds a bounded number of parts.

    Streams may come in any order, and so may the stamps within one. A stream that holds more than
    ``limit`` parts forgets its oldest arrival. A part whose stamp its stream holds already takes
    the place of the earlier one.

    Args:
        streams: their names.
        limit: parts held per stream.

    Attributes:
        alone: parts by stream that were forgotten before the others came.
    """

    def __init__(self, streams: Sequence[str], limit: int) -> None:
        if limit < 1:
            raise ValueError(f'limit: expected at least 1, got {limit}')
        self._limit = limit
        self._held: dict[str, OrderedDict[int, Any]] = {name: OrderedDict() for name in streams}
        self.alone: Counter[str] = Counter()

    def add(self, stream: str, stamp_ns: int, part: Any) -> dict[str, Any] | None:
        """Take a part; return all parts of the stamp, by stream, if this was the last missing one.

        Args:
            stream: where it came from.
            stamp_ns: header stamp, nanoseconds.
            part: what came.
        """
        held = self._held[stream]
        self.alone[stream] += held.pop(stamp_ns, None) is not None
        held[stamp_ns] = part
        if all(stamp_ns in parts for parts in self._held.values()):
            return {name: parts.pop(stamp_ns) for name, parts in self._held.items()}
        if len(held) > self._limit:
            held.popitem(last=False)
            self.alone[stream] += 1
        return None
