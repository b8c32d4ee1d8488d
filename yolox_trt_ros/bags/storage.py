"""The interface of a bag file of any format, and what all formats share."""

from __future__ import annotations

import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple, Protocol

from yolox_trt_ros.bags.limits import Clock, Limits, size_text
from yolox_trt_ros.bags.packing import DamageError
from yolox_trt_ros.bags.rosbags_library import interfaces
from yolox_trt_ros.core.errors import BagError

LAST_NS = (2**31) * 10**9
"""Times of ROS end here, in 2038."""
Message = tuple[int, int, bytes]
"""Time in nanoseconds, id of the topic in its file, bytes."""
Warn = Callable[[str], None]


@dataclass(slots=True)
class FileTopic:
    """A topic of one file.

    Attributes:
        id: of the topic in this file.
        name, type: as recorded.
        encoding: of its messages, such as ``cdr`` or ``ros1``.
        definition: of its type, as the file brings it.
        qos: what its publishers offered, as YAML.
        digest: hash of the definition (REP 2016), or an empty string.
        count: its messages.
    """

    id: int
    name: str
    type: str
    encoding: str = 'cdr'
    definition: interfaces.MessageDefinition | None = None
    qos: str = ''
    digest: str = ''
    count: int = 0


@dataclass(slots=True)
class Contents:
    """What a file holds, as far as it is whole."""

    topics: dict[int, FileTopic] = field(default_factory=dict)
    start_ns: int = LAST_NS
    end_ns: int = -1
    count: int = 0

    def span(self, start_ns: int, end_ns: int) -> None:
        """Let the time of the file reach from one time to the other."""
        self.start_ns, self.end_ns = min(self.start_ns, start_ns), max(self.end_ns, end_ns)


class RegularFile:
    """A regular file that is read by position, from any thread.

    Raises:
        DamageError: it is none, or cannot be opened or read.
    """

    near = True

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            # A pipe would make open() wait for a writer.
            self._file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise DamageError(f'cannot be opened: {error.strerror}') from error
        status = os.fstat(self._file)
        if not stat.S_ISREG(status.st_mode):
            os.close(self._file)
            raise DamageError(f'expected a regular file, got {kind_of_file(status.st_mode)}')
        self.size = status.st_size

    def read(self, count: int, at: int) -> bytes:
        """Return so many bytes from a position on, fewer at the end of the file."""
        try:
            data = os.pread(self._file, count, at)
            if len(data) == count or not data:
                return data
            parts = [data]
            while data and (left := count - sum(map(len, parts))):
                data = os.pread(self._file, left, at + count - left)
                parts.append(data)
            return b''.join(parts)
        except OSError as error:
            raise DamageError(f'cannot be read at byte {at}: {error.strerror}') from error

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def kind_of_file(mode: int) -> str:
    """Return what a file is that is no regular one."""
    kinds = {
        stat.S_IFIFO: 'a pipe',
        stat.S_IFSOCK: 'a socket',
        stat.S_IFCHR: 'a device',
        stat.S_IFBLK: 'a device',
        stat.S_IFDIR: 'a folder',
    }
    return kinds.get(stat.S_IFMT(mode), 'something else')


class ByteSource(Protocol):
    """A file that is read by position; :class:`RegularFile` is one.

    Attributes:
        path: what it is called in messages.
        size: bytes.
        near: whether a read of a few bytes costs next to nothing, as on a disk.
    """

    path: Path
    size: int
    near: bool

    def read(self, count: int, at: int) -> bytes:
        """Return so many bytes from a position on, fewer at the end of the file."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...


OpenFile = Callable[[Path], ByteSource]


class Chunk(NamedTuple):
    """Messages that are read from a file in one go.

    Attributes:
        start_ns, end_ns: times of its first and last message.
        offset, size: where it lies, bytes.
        ids: of the topics in it; None where that is unknown.
        packed: a chunk record; otherwise messages without one.
    """

    start_ns: int
    end_ns: int
    offset: int
    size: int
    ids: frozenset[int] | None
    packed: bool = True


def in_order(
    chunks: Iterable[Chunk],
    read: Callable[[Chunk], list[Message]],
    ids: Collection[int],
    start_ns: int,
    stop_ns: int,
    limits: Limits,
) -> Iterator[Message]:
    """Yield the messages of chunks in the order of their times, reading each chunk once.

    Only chunks whose times overlap are held together.

    Args:
        chunks: of one file.
        read: returns all messages of a chunk.
        ids: topics that are wanted.
        start_ns, stop_ns: from the first time on, before the second.
        limits: on what is held.

    Raises:
        BagError: more than the limit would have to be held.
    """
    wanted = frozenset(ids)
    held: list[Message] = []
    size = 0
    for chunk in sorted(chunks, key=itemgetter(0, 2)):
        if chunk.end_ns < start_ns or chunk.start_ns >= stop_ns:
            continue
        if chunk.ids is not None and wanted.isdisjoint(chunk.ids):
            continue
        ready = _before(held, chunk.start_ns)
        for message in held[:ready]:
            size -= len(message[2])
            yield message
        del held[:ready]
        new = [m for m in read(chunk) if start_ns <= m[0] < stop_ns and m[1] in wanted]
        size += sum(len(m[2]) for m in new)
        if held and size > limits.memory_bytes:
            raise BagError(
                f'chunks overlap in time so much that {size_text(size)} would be held to put '
                'messages in order; --bag-memory raises the limit'
            )
        held += new
        held.sort(key=itemgetter(0))
    yield from held


def _before(held: list[Message], t_ns: int) -> int:
    """Return how many of the held messages are earlier than a time."""
    if not held or held[-1][0] < t_ns:
        return len(held)
    return next(i for i, message in enumerate(held) if message[0] >= t_ns)


class Losses:
    """Warns of what is lost of a file, once each."""

    def __init__(self, path: Path, warn: Warn) -> None:
        self._path, self._warn = path, warn
        self._said: set[str] = set()

    def add(self, sentence: str) -> None:
        """Say it, unless it was said already."""
        if sentence not in self._said:
            self._said.add(sentence)
            self._warn(f'{self._path}: {sentence}')


class Storage(ABC):
    """One file that is open for reading; whatever of it is whole.

    Args:
        path: of the file.
        limits: what reading it may take.
        warn: called with each loss.
        open_file: opens it.

    Attributes:
        kind: its format, for people.
        contents: topics, times and counts.
        chunks: where its messages lie, for those formats that have chunks.
        reported: where chunks begin that are known to be damaged.

    Raises:
        BagError: it takes more than the limits.
        DamageError: it is no file of this format.
    """

    kind = ''

    def __init__(
        self, path: Path, limits: Limits, warn: Warn, open_file: OpenFile = RegularFile
    ) -> None:
        self.path, self.limits = path, limits
        self.losses = Losses(path, warn)
        self.source = open_file(path)
        self.clock = Clock(limits, path, self.source.size)
        self.contents = Contents()
        self.chunks: list[Chunk] = []
        self.reported: set[int] = set()
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    @abstractmethod
    def _open(self) -> None:
        """Find topics, times, counts and chunks."""

    def close(self) -> None:
        """Close the file."""
        self.source.close()

    def messages(self, ids: Collection[int], start_ns: int, stop_ns: int) -> Iterator[Message]:
        """Yield the messages of some topics in the order of their times.

        A damaged chunk is reported and left out.
        """
        return in_order(self.chunks, self._read, ids, start_ns, stop_ns, self.limits)

    def _read(self, chunk: Chunk) -> list[Message]:
        """Return the messages of a chunk; what is wrong with it is reported."""
        raise NotImplementedError

    def lost_chunk(self, at: int, size: int, whole: int, lost: int, why: str) -> None:
        """Say that a chunk is not whole, once.

        Args:
            at, size: where it lies, bytes.
            whole: messages in front of the damage, which are read.
            lost: messages that are known to be lost; 0 if nothing says how many.
            why: what is wrong.
        """
        if at not in self.reported:
            self.reported.add(at)
            behind = f' behind {whole} messages' if whole else ''
            messages = f', {lost} messages' if lost else ''
            self.losses.add(
                f'the chunk at byte {at} ({size_text(size)}{messages}) is damaged{behind} and '
                f'left out: {why}'
            )
