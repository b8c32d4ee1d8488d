"""Read a recorded drive, and say plainly what is wrong with one that cannot be read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from yolox_trt_ros.bags.definitions import Definitions, full_name
from yolox_trt_ros.bags.rosbags_library import interfaces, rosbag2
from yolox_trt_ros.bags.salvage import advice, topics_there
from yolox_trt_ros.core.errors import BagError, did_you_mean

MAPPED_BYTES = 1 << 40
"""Of a sqlite3 file; it maps what there is, and reads the rest."""


@dataclass(frozen=True, slots=True)
class Topic:
    """One recorded topic.

    Attributes:
        name: as recorded.
        type: such as ``sensor_msgs/msg/Image``.
        count: recorded messages.
        qos: what its publishers offered; empty where the bag does not tell.
        digest: hash of its definition (REP 2016), or an empty string.
    """

    name: str
    type: str
    count: int
    qos: tuple[interfaces.Qos, ...]
    digest: str


class Recorded(NamedTuple):
    """One recorded message.

    Attributes:
        topic: its topic's name.
        type: such as ``sensor_msgs/msg/Image``.
        t_ns: when it was recorded, nanoseconds of the ROS clock.
        cdr: its bytes as they came, encapsulation header and body.
    """

    topic: str
    type: str
    t_ns: int
    cdr: bytes


class Bag:
    """A bag that is open for reading; a context manager.

    Args:
        path: the bag's folder, or one ``.mcap`` or ``.db3`` file of it.

    Attributes:
        path: of the bag.
        topics: by name.
        start_ns, end_ns: time of the first and of the last message, nanoseconds; 0 of an empty bag.
        definitions: read and write the bag's messages.

    Raises:
        BagError: there is no bag, it is damaged, or of a kind that cannot be read; the message
            lists the topics that are there all the same.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.definitions = Definitions()
        if not self.path.exists():
            raise BagError(f'{self.path}: there is no such bag')
        try:
            self._reader = rosbag2.Reader(self.path)
            self._reader.open()
        except Exception as error:  # the library lets struct's, SQLite's and zstd's errors through
            raise _told(self.path, error) from error
        files = getattr(self._reader.storage, 'storages', None) or [self._reader.storage]
        _find_all_topics(files, self._reader.connections)
        for file in files:
            if database := getattr(file, 'dbconn', None):  # mapped, an image costs a third less
                database.execute(f'PRAGMA mmap_size={MAPPED_BYTES}')
        self.topics = {topic.name: topic for topic in map(_topic, self._by_topic())}
        for connection in self._reader.connections:
            self.definitions.give(connection.msgtype, connection.msgdef)
        # Of the files, not of metadata.yaml: what lies outside would not be played.
        spans = [file.metadata for file in files if file.metadata.message_count]
        self.start_ns = min((span.start_time for span in spans), default=0)
        self.end_ns = max((span.end_time - 1 for span in spans), default=0)

    def __enter__(self) -> Bag:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the bag's files."""
        if self._reader.is_open:
            self._reader.close()

    @property
    def storage(self) -> str:
        """Return how the bag is stored, for people."""
        mode = self._reader.compression_mode
        kind = 'mcap' if list(self._files('.mcap')) else 'sqlite3'
        return f'{kind}, zstd per {mode}' if mode else kind

    def messages(
        self,
        topics: Sequence[str] | None = None,
        start_ns: int | None = None,
        stop_ns: int | None = None,
    ) -> Iterator[Recorded]:
        """Yield messages in the order in which they were recorded.

        Args:
            topics: only these; None for all.
            start_ns: from this recording time on.
            stop_ns: before this recording time.

        Raises:
            BagError: a topic is not there, the bag ends early, or has none of the messages that its
                metadata tells of.
        """
        chosen = self.require(topics) if topics is not None else set(self.topics)
        connections = [c for c in self._reader.connections if c.topic in chosen]
        names = {c.msgtype: full_name(c.msgtype) for c in connections}
        count = 0
        if not connections:
            return
        try:
            for connection, t_ns, cdr in self._reader.messages(connections, start_ns, stop_ns):
                yield Recorded(connection.topic, names[connection.msgtype], t_ns, cdr)
                count += 1
        except Exception as error:
            raise _told(self.path, error, f' after {count} messages') from error
        expected = sum(c.msgcount for c in connections)
        all_of_it = (start_ns or 0) <= self.start_ns and (stop_ns or 2**63) > self.end_ns
        if expected and not count and all_of_it:
            raise BagError(
                f'{self.path}: expected {expected} messages of {", ".join(sorted(chosen))}, as its '
                'metadata.yaml tells, found none: "ros2 bag reindex" writes another one, or give '
                'the .mcap or .db3 file itself'
            )

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

    def parse(self, message: Recorded) -> Any:
        """Return a message as an object with the fields of its definition.

        Raises:
            BagError: its type is known nowhere, or its bytes are damaged.
        """
        try:
            return self.definitions.read(message.type, message.cdr)
        except BagError as error:
            raise BagError(f'{self.path}: {message.topic}: {error}') from error

    def _by_topic(self) -> Iterator[list[interfaces.Connection]]:
        for info in self._reader.topics.values():
            yield info.connections

    def _files(self, suffix: str) -> Iterator[Path]:
        return chain(
            [self.path] if self.path.suffix == suffix else [], self.path.glob(f'*{suffix}*')
        )


def _find_all_topics(files: Sequence[Any], told: Sequence[interfaces.Connection]) -> None:
    """Let topics be found in a bag's files whatever else its metadata.yaml says of them.

    The library takes a topic of a file for the one of the metadata only if QoS and hash of the
    definition are the same too, and passes over all its messages without a word if not. Converters
    and people who change the QoS to play a bag write them differently.
    """
    for file in files:
        for i, there in enumerate(file.connections):
            same = [
                c
                for c in told
                if (c.topic, full_name(c.msgtype)) == (there.topic, full_name(there.msgtype))
            ]
            if same and not any(c.ext == there.ext for c in same):
                file.connections[i] = there._replace(
                    msgtype=same[0].msgtype, ext=same[0].ext, digest=same[0].digest
                )


def listed(items: Sequence[str]) -> str:
    """Return items as a sentence has them."""
    return ', '.join(items) if items else 'nothing'


def _topic(connections: list[interfaces.Connection]) -> Topic:
    first = connections[0]
    types = {full_name(c.msgtype) for c in connections}
    if len(types) > 1:
        raise BagError(f'{first.topic}: recorded with several types: {", ".join(sorted(types))}')
    count = sum(c.msgcount for c in connections)
    qos = tuple(dict.fromkeys(chain.from_iterable(c.ext.offered_qos_profiles for c in connections)))
    return Topic(first.topic, types.pop(), count, qos, first.digest)


def _told(path: Path, error: Exception, when: str = '') -> BagError:
    there = topics_there(path)
    seen = f' Topics that are there: {", ".join(there)}.' if there else ''
    return BagError(
        f'{path}: cannot be read{when}: {str(error).rstrip(".")}. {advice(path, error)}{seen}'
    )
