"""Read a recorded drive: every whole message, and a warning for each loss."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from heapq import merge
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

from yolox_trt_ros.bags.definitions import Definitions
from yolox_trt_ros.bags.limits import Limits
from yolox_trt_ros.bags.names import full_name, plain
from yolox_trt_ros.bags.packing import ZSTD_MAGIC, DamageError, unpack
from yolox_trt_ros.bags.parts import open_parts
from yolox_trt_ros.bags.storage import LAST_NS, OpenFile, RegularFile, Storage, Warn
from yolox_trt_ros.bags.topics import Topic, TopicTable
from yolox_trt_ros.core.errors import BagError, YoloxTrtRosError, did_you_mean

__all__ = ['Bag', 'Limits', 'Recorded', 'Topic', 'listed']
LOG = logging.getLogger('yolox_trt_ros.bags')
LONG_NS = 31 * 24 * 3600 * 10**9
"""A recording that spans more has times of two clocks."""


class Recorded(NamedTuple):
    """One recorded message.

    Attributes:
        topic: its topic's name.
        type: such as ``sensor_msgs/msg/Image``.
        t_ns: when it was recorded, nanoseconds of the ROS clock.
        cdr: its bytes as they came, encapsulation header and body; those of ROS 1 are converted.
    """

    topic: str
    type: str
    t_ns: int
    cdr: bytes


class Bag:
    """A bag that is open for reading; a context manager.

    What is damaged, missing or surprising is reported and left out; the rest is read.

    Args:
        path: the bag's folder, or one ``.mcap``, ``.db3`` or ``.bag`` file, zstd or not; a video
            is a bag of one camera.
        limits: memory, disk and time that reading it may take; None: as the environment says.
        warn: called with each loss or surprise, a sentence each; None: Python's logging,
            which shows it on the terminal.
        open_file: opens an MCAP file to read parts of it.

    Attributes:
        path: of the bag.
        topics: by name.
        start_ns, end_ns: time of the first and of the last message, nanoseconds; 0 of an empty bag.
        definitions: read and write the bag's messages.
        warnings: all that was reported so far.

    Raises:
        BagError: there is no bag, nothing of it can be read, or it takes more than the limits.
    """

    def __init__(
        self,
        path: str | Path,
        limits: Limits | None = None,
        warn: Warn | None = None,
        open_file: OpenFile = RegularFile,
    ) -> None:
        self.path = Path(path)
        self.definitions = Definitions()
        self.warnings: list[str] = []
        self._limits = limits or Limits.here()
        self._forward: Warn = warn or LOG.warning
        self._stack = ExitStack()
        try:
            self._open(open_file)
        except BaseException as error:
            self._stack.close()
            if isinstance(error, YoloxTrtRosError) or not isinstance(error, Exception):
                raise
            raise BagError(f'{self.path}: cannot be read: {plain(error)}') from error

    def _open(self, open_file: OpenFile) -> None:
        if not self.path.exists() and not self.path.is_symlink():
            raise BagError(f'{self.path}: there is no such bag')
        files, self._metadata, self._packed = open_parts(
            self.path, self._limits, self._warn, self._stack, open_file
        )
        table = TopicTable(
            files, self._metadata, self.definitions, lambda said: self._warn(f'{self.path}: {said}')
        )
        self.topics, self._files = table.topics, files
        self._by_file = table.by_file
        spans = [file.contents for file in files if file.contents.count]
        self.start_ns = min((span.start_ns for span in spans), default=0)
        self.end_ns = max((span.end_ns for span in spans), default=0)
        count = sum(topic.count for topic in self.topics.values())
        if not count and (table.left_out or (self.warnings and self._damaged())):
            raise self._nothing(table.left_out or self.warnings)
        self._compare(count)

    def _nothing(self, why: Sequence[str]) -> BagError:
        """Return what is reported for a bag without messages."""
        names = {name: topic.type for name, topic in self.topics.items()}
        names |= (
            {n: kind for n, (kind, _) in self._metadata.topics.items()} if self._metadata else {}
        )
        there = [f'{plain(name)} ({plain(full_name(kind))})' for name, kind in names.items()]
        return BagError(
            f'{self.path}: has no message that can be read: {"; ".join(why)}; topics that it '
            f'names: {listed(there)}'
        )

    def _damaged(self) -> bool:
        return any(' whole' in said or 'left out' in said for said in self.warnings)

    def _compare(self, count: int) -> None:
        """Compare what is there with what metadata.yaml says, and with what can be.

        Raises:
            BagError: there are no messages where there should be some.
        """
        said = self._metadata.count if self._metadata else None
        if said and not count:
            raise self._nothing(
                [f'expected {said} messages, as its metadata.yaml says, found none']
            )
        if said is not None and said != count:
            self._warn(f'{self.path}: metadata.yaml says {said} messages, the files have {count}')
        if self.end_ns - self.start_ns > LONG_NS:
            days = (self.end_ns - self.start_ns) / 86_400e9
            self._warn(
                f'{self.path}: its messages lie {days:.0f} days apart, so a clock was set '
                'meanwhile; --start and --duration choose a part'
            )

    def _warn(self, sentence: str) -> None:
        if sentence not in self.warnings:
            self.warnings.append(sentence)
            self._forward(sentence)

    def __enter__(self) -> Bag:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the bag's files."""
        self._stack.close()

    @property
    def storage(self) -> str:
        """Return how the bag is stored, for people."""
        kinds = ' and '.join(dict.fromkeys(file.kind for file in self._files))
        mode = 'file' if self._packed else self._metadata.mode if self._metadata else ''
        return f'{kinds}, zstd per {mode}' if mode else kinds

    def messages(
        self,
        topics: Sequence[str] | None = None,
        start_ns: int | None = None,
        stop_ns: int | None = None,
    ) -> Iterator[Recorded]:
        """Yield messages in the order in which they were recorded.

        DamageError ones are reported and left out.

        Args:
            topics: only these; None for all.
            start_ns: from this recording time on.
            stop_ns: before this recording time.

        Raises:
            BagError: a topic is not there, or reading takes more than the limits.
        """
        chosen = self.require(topics) if topics is not None else set(self.topics)
        span = (start_ns or 0, LAST_NS if stop_ns is None else min(stop_ns, LAST_NS))
        found: Counter[str] = Counter()
        before = len(self.warnings)
        try:
            for message in self._merged(chosen, *span):
                yield message
                found[message.topic] += 1
        except YoloxTrtRosError:
            raise
        except Exception as error:
            raise BagError(
                f'{self.path}: cannot be read after {sum(found.values())} messages: {plain(error)}'
            ) from error
        if span[0] <= self.start_ns and span[1] > self.end_ns and before == len(self.warnings):
            for name in sorted(chosen):
                if found[name] != (expected := self.topics[name].count):
                    self._warn(
                        f'{self.path}: {name}: expected {expected} messages, found {found[name]}'
                    )

    def _merged(self, chosen: set[str], start_ns: int, stop_ns: int) -> Iterator[Recorded]:
        """Yield the messages of all files, one file after the other where times allow it."""
        together: list[int] = []
        end_ns = -1
        for number, file in enumerate(self._files):
            if together and file.contents.start_ns > end_ns:
                yield from self._together(together, chosen, start_ns, stop_ns)
                together = []
            together.append(number)
            end_ns = max(end_ns, file.contents.end_ns)
        if together:
            yield from self._together(together, chosen, start_ns, stop_ns)

    def _together(
        self, numbers: Sequence[int], chosen: set[str], start_ns: int, stop_ns: int
    ) -> Iterator[Recorded]:
        streams = [self._of_file(n, chosen, start_ns, stop_ns) for n in numbers]
        return streams[0] if len(streams) == 1 else merge(*streams, key=itemgetter(2))

    def _of_file(
        self, number: int, chosen: set[str], start_ns: int, stop_ns: int
    ) -> Iterator[Recorded]:
        file: Storage = self._files[number]
        known = {i: names for i, names in self._by_file[number].items() if names[0] in chosen}
        if not known:
            return
        types = {name: topic.type for name, topic in self.topics.items()}
        wrong: Counter[tuple[str, str]] = Counter()
        for t_ns, i, data in file.messages(known, start_ns, stop_ns):
            name, ros1 = known[i]
            try:
                if ros1:
                    data = self.definitions.from_ros1(types[name], data)
                elif data.startswith(ZSTD_MAGIC):  # a message begins with 0
                    data = self._unpacked(data)
            except (DamageError, BagError) as error:
                if 'limit' in str(error):
                    raise
                wrong[name, str(error)] += 1
                continue
            yield Recorded(name, types[name], t_ns, data)
        for (name, why), count in wrong.items():
            self._warn(f'{file.path}: {name}: {count} messages are left out: {why}')

    def _unpacked(self, data: bytes) -> bytes:
        return unpack(data, 'zstd', None, self._limits)

    def require(self, topics: Sequence[str]) -> set[str]:
        """Return the topics, all of which are in the bag.

        Raises:
            BagError: one is not; the message lists those that are.
        """
        missing = [name for name in topics if name not in self.topics]
        if missing:
            near = did_you_mean(missing[0], self.topics) if len(missing) == 1 else ''
            near = near if 'did you mean' in near else ''
            raise BagError(
                f'{self.path}: has no topic {", ".join(missing)}{near}; it has '
                f'{listed([f"{t.name} ({t.type})" for t in self.topics.values()])}'
            )
        return set(topics)

    def of_type(self, msgtype: str) -> list[str]:
        """Return the names of the topics of a type."""
        return [topic.name for topic in self.topics.values() if topic.type == full_name(msgtype)]

    def parsed(self, topics: Sequence[str]) -> Iterator[tuple[Recorded, Any]]:
        """Yield messages of some topics with their objects; damaged ones are reported and left out.

        Raises:
            BagError: as :meth:`messages`, or a type is known nowhere.
        """
        for name in sorted(self.require(topics)):
            try:
                self.definitions.prepare(self.topics[name].type)
            except BagError as error:
                raise BagError(f'{self.path}: {name}: {error}') from error
        wrong: Counter[str] = Counter()
        for message in self.messages(topics):
            try:
                found = self.parse(message)
            except BagError as error:
                wrong[message.topic] += 1
                if wrong[message.topic] == 1:
                    self._warn(f'{error}; it is left out')
                continue
            yield message, found
        for name, count in wrong.items():
            self._warn(f'{self.path}: {name}: {count} damaged messages are left out')

    def parse(self, message: Recorded) -> Any:
        """Return a message as an object with the fields of its definition.

        Raises:
            BagError: its type is known nowhere, or its bytes are damaged.
        """
        try:
            return self.definitions.read(message.type, message.cdr)
        except BagError as error:
            raise BagError(f'{self.path}: {message.topic}: {error}') from error


def listed(items: Sequence[str]) -> str:
    """Return items as a sentence has them."""
    return ', '.join(items) if items else 'nothing'
