"""Cut bags into segments: what will run, piece by piece."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone

from yolox_trt_ros.bags.reader import LONG_NS
from yolox_trt_ros.fleet.index import CameraTopic, IndexedBag

SECOND_NS = 1_000_000_000
LETTERS = re.compile('[^A-Za-z0-9_-]+')


@dataclass(frozen=True, slots=True)
class FleetSegment:
    """A stretch of one bag, which one worker runs in one go.

    Attributes:
        bag: its path or URI.
        number: from 0 in the bag.
        start_ns, stop_ns: recording times from, and before which its messages are.
        cameras: whose images run.
        images: how many there are, as far as the index says; an estimate within a bag.
        conditions: of the bag.
    """

    bag: str
    number: int
    start_ns: int
    stop_ns: int
    cameras: tuple[CameraTopic, ...]
    images: int
    conditions: Mapping[str, str] = field(default_factory=dict)

    @property
    def day(self) -> str:
        """Return the day on which it begins, UTC: the partition of its results."""
        return datetime.fromtimestamp(self.start_ns // SECOND_NS, timezone.utc).strftime('%Y-%m-%d')

    @property
    def file(self) -> str:
        """Return where its rows are in each table."""
        return f'day={self.day}/{bag_id(self.bag)}-{self.number:05d}.parquet'


def bag_id(uri: str) -> str:
    """Return a short name of a bag that no other bag has."""
    last = uri.partition('?')[0].rstrip('/').rpartition('/')[2]
    digest = hashlib.sha256(uri.encode('utf-8', 'surrogateescape')).hexdigest()[:10]
    return f'{LETTERS.sub("_", last)[:40]}-{digest}'


def segments_of(bag: IndexedBag, segment_s: float) -> Iterator[FleetSegment]:
    """Yield the segments of a bag: equally long, every message in exactly one.

    A recording of two clocks has hours or years without a message, and is one segment.

    Args:
        bag: one that can run.
        segment_s: length, seconds.
    """
    span = bag.end_ns + 1 - bag.start_ns
    length = round(segment_s * SECOND_NS)
    count = 1 if span > LONG_NS else max(1, -(-span // length))
    for number in range(count):
        start = bag.start_ns + number * length
        stop = bag.end_ns + 1 if number == count - 1 else start + length
        # Differences of rounded sums, so that those of all segments are the bag's.
        before, behind = (round(bag.images * (t - bag.start_ns) / span) for t in (start, stop))
        yield FleetSegment(
            bag.found.uri, number, start, stop, bag.cameras, behind - before, bag.found.conditions
        )


@dataclass(frozen=True, slots=True)
class FleetPlan:
    """All bags, and the segments of those that can run."""

    bags: Sequence[IndexedBag]
    segments: Sequence[FleetSegment]

    @classmethod
    def of(cls, bags: Sequence[IndexedBag], segment_s: float) -> FleetPlan:
        """Return the plan of these bags, in segments of at most so many seconds."""
        runs = (bag for bag in bags if not bag.problem)
        return cls(bags, [s for bag in runs for s in segments_of(bag, segment_s)])

    @property
    def unreadable(self) -> list[IndexedBag]:
        """Return the bags of which nothing can run."""
        return [bag for bag in self.bags if bag.problem]

    @property
    def images(self) -> int:
        """Return how many images will run."""
        return sum(bag.images for bag in self.bags if not bag.problem)
