"""Read ROS 1 bags (format 2.0) chunk by chunk; no index is needed.

The format is described at https://wiki.ros.org/Bags/Format/2.0.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from struct import Struct

from yolox_trt_ros.bags.limits import size_text
from yolox_trt_ros.bags.names import decoded, plain
from yolox_trt_ros.bags.packing import DamageError, unpack
from yolox_trt_ros.bags.rosbags_library import interfaces
from yolox_trt_ros.bags.storage import LAST_NS, Chunk, Contents, FileTopic, Message, Storage
from yolox_trt_ros.core.errors import BagError

MAGIC = b'#ROSBAG V'
VERSION = b'#ROSBAG V2.0\n'
MESSAGE, HEADER, INDEX, CHUNK, CHUNK_INFO, CONNECTION = range(2, 8)
U32, TIME, COUNTS = Struct('<I'), Struct('<II'), Struct('<II')
CODECS = {b'none': '', b'bz2': 'bz2', b'lz4': 'lz4'}
LONGEST_HEADER = 1 << 20
WINDOW = 1 << 24
CHUNK_START = re.compile(rb'[\s\S]{8}compression=(?:none|bz2|lz4)')
Header = dict[bytes, bytes]


class Ros1File(Storage):
    """A ROS 1 bag; its messages come as ROS 1 wrote them."""

    kind = 'ROS 1'

    # -- opening -------------------------------------------------------------------------------

    def _open(self) -> None:
        begin = self.source.read(len(VERSION), 0)
        if begin != VERSION:
            raise DamageError(
                f'is a ROS 1 bag of another version ({plain(decoded(begin).strip())}); "rosbag '
                'fix" or "rosbag migrate" of ROS 1 writes one of 2.0'
            )
        try:
            header, _, _ = self._record(len(VERSION))
            if header.get(b'encryptor'):
                raise BagError(f'{self.path}: is an encrypted ROS 1 bag, which only ROS 1 reads')
            self._index(header)
        except DamageError as error:
            self.contents, self.chunks = Contents(), []
            self._scan()
            self.losses.add(
                f'{error}; read from its start instead: {self.contents.count} messages are whole'
            )

    def _index(self, header: Header) -> None:
        """Take topics, chunks and counts from the index at the end of the file.

        Raises:
            DamageError: it is missing, or does not fit the file.
        """
        at, size = int.from_bytes(header.get(b'index_pos', b''), 'little'), self.source.size
        if not len(VERSION) < at < size:
            raise DamageError('has no index: the recording was interrupted, or the file is cut off')
        chunks: list[tuple[Header, bytes]] = []
        while at < size:
            self.clock.check()
            record, data_at, end = self._record(at)
            data = self.source.read(end - data_at, data_at)
            if _op(record) == CONNECTION:
                self._connection(record, data)
            elif _op(record) == CHUNK_INFO:
                chunks.append((record, data))
            at = end
        if len(chunks) != _u32(header, b'chunk_count'):
            raise DamageError('has a damaged index')
        last = 0
        for record, data in sorted(chunks, key=lambda chunk: chunk[0].get(b'chunk_pos', b'')[::-1]):
            last = self._indexed_chunk(record, data, last)

    def _indexed_chunk(self, info: Header, data: bytes, last: int) -> int:
        """Take a chunk that the index reports; return where it ends."""
        at = int.from_bytes(info.get(b'chunk_pos', b''), 'little')
        record, _, end = self._record(at)
        start_ns, end_ns = _time(info, b'start_time'), _time(info, b'end_time')
        counts = dict(COUNTS.iter_unpack(data[: len(data) // COUNTS.size * COUNTS.size]))
        fits = last <= at and _op(record) == CHUNK and end <= self.source.size
        known = counts.keys() <= self.contents.topics.keys()
        codec = record.get(b'compression') in CODECS
        if not (fits and known and codec and start_ns <= end_ns < LAST_NS):
            raise DamageError('has an index that does not fit its chunks')
        self._take(Chunk(start_ns, end_ns, at, end - at, frozenset(counts)), counts)
        return end

    def _take(self, chunk: Chunk, counts: Mapping[int, int]) -> None:
        for number, count in counts.items():
            self.contents.topics[number].count += count
        self.contents.count += sum(counts.values())
        self.contents.span(chunk.start_ns, chunk.end_ns)
        self.chunks.append(chunk)

    def _scan(self) -> None:
        """Read the file from start to end."""
        at, size = len(VERSION), self.source.size
        while at < size:
            self.clock.check()
            try:
                header, data_at, end = self._record(at)
            except DamageError:
                at = self._behind_damage(at)
                continue
            kind = _op(header)
            if kind == CHUNK:
                self._chunk(header, at, data_at, end)
            elif kind == CONNECTION:
                self._connection(header, self.source.read(end - data_at, data_at))
            at = end

    def _record(self, at: int) -> tuple[Header, int, int]:
        """Return the header of a record, and where its data begin and end.

        Raises:
            DamageError: there is no record, or it goes beyond the end of the file.
        """
        (size,) = U32.unpack(self._exactly(4, at))
        if size > LONGEST_HEADER:
            raise DamageError(f'a record header of {size} bytes')
        header = fields(self._exactly(size, at + 4))
        if _op(header) == 0:
            raise DamageError('a record without its kind')
        (length,) = U32.unpack(self._exactly(4, at + 4 + size))
        data_at = at + 8 + size
        if data_at + length > self.source.size and _op(header) != CHUNK:
            raise DamageError('a record that is cut off')
        return header, data_at, data_at + length

    def _exactly(self, count: int, at: int) -> bytes:
        data = self.source.read(count, at)
        if len(data) < count:
            raise DamageError('a record that is cut off')
        return data

    def _behind_damage(self, at: int) -> int:
        """Return where the next chunk begins behind bytes that are no record."""
        start, size = at, self.source.size
        at += 1
        found = size
        while at < size and found == size:
            self.clock.check()
            window = self.source.read(WINDOW + 64, at)
            for place in CHUNK_START.finditer(window):
                try:
                    header, _, end = self._record(at + place.start())
                except DamageError:
                    continue
                if _op(header) == CHUNK and end <= size:
                    found = at + place.start()
                    break
            at += WINDOW
        self.losses.add(f'{size_text(found - start)} from byte {start} on contain no whole record')
        return found

    def _chunk(self, header: Header, at: int, data_at: int, end: int) -> None:
        """Read all of a chunk: its topics, times and counts."""
        counts: Counter[int] = Counter()
        times = [LAST_NS, -1]
        try:
            for t_ns, number, _ in self._in_chunk(header, data_at, end, describe=True):
                counts[number] += 1
                times[0], times[1] = min(times[0], t_ns), max(times[1], t_ns)
        except DamageError as error:
            self.lost_chunk(at, end - at, sum(counts.values()), 0, str(error))
        if end > self.source.size:
            self.losses.add(
                f'ends within the chunk at byte {at}: {sum(counts.values())} whole messages of it '
                'are there'
            )
        if counts:
            self._take(Chunk(times[0], times[1], at, end - at, frozenset(counts)), counts)

    def _connection(self, header: Header, data: bytes) -> None:
        number, more = _u32(header, b'conn'), fields(data)
        name = header.get(b'topic', b'')
        definition = interfaces.MessageDefinition(
            interfaces.MessageDefinitionFormat.MSG, decoded(more.get(b'message_definition', b''))
        )
        latched = more.get(b'latching') == b'1'
        self.contents.topics.setdefault(
            number,
            FileTopic(
                number,
                decoded(name),
                decoded(more.get(b'type', b'')),
                'ros1',
                definition,
                LATCHED if latched else '',
            ),
        )

    # -- reading -------------------------------------------------------------------------------

    def _read(self, chunk: Chunk) -> list[Message]:
        found: list[Message] = []
        try:
            header, data_at, end = self._record(chunk.offset)
            for message in self._in_chunk(header, data_at, end):
                found.append(message)
        except DamageError as error:
            self.lost_chunk(chunk.offset, chunk.size, len(found), 0, str(error))
        return found

    def _in_chunk(
        self, header: Header, data_at: int, end: int, describe: bool = False
    ) -> Iterator[Message]:
        """Yield the messages of a chunk; with ``describe``, take its topics in.

        Raises:
            DamageError: behind what was yielded it is not whole.
        """
        codec, size = header.get(b'compression', b''), _u32(header, b'size')
        if codec not in CODECS:
            raise DamageError(f'unknown compression "{plain(decoded(codec))}"')
        there = min(end, self.source.size) - data_at
        self.limits.check_memory(there, f'{self.path}: the chunk at byte {data_at}')
        packed = self.source.read(there, data_at)
        data = unpack(packed, CODECS[codec], size, self.limits)
        if end <= self.source.size and len(data) != size:
            raise DamageError(f'{len(data)} of {size} bytes unpack')
        at = 0
        while at + 4 <= len(data):
            (length,) = U32.unpack_from(data, at)
            head_end = at + 4 + length
            if head_end + 4 > len(data):
                break
            record = fields(data[at + 4 : head_end])
            (length,) = U32.unpack_from(data, head_end)
            start, at = head_end + 4, head_end + 4 + length
            if at > len(data):
                break
            kind = _op(record)
            if kind == CONNECTION and describe:
                self._connection(record, data[start:at])
            elif kind == MESSAGE:
                number, t_ns = _u32(record, b'conn'), _time(record, b'time')
                if number in self.contents.topics and t_ns < LAST_NS:
                    yield t_ns, number, data[start:at]
            elif kind == 0:
                raise DamageError('a record without its kind')


LATCHED = '- {history: 1, depth: 1, reliability: 1, durability: 1}'
"""Quality of service of a latched ROS 1 topic."""


def fields(data: bytes) -> Header:
    """Return the fields of a header.

    Raises:
        DamageError: these bytes are none.
    """
    found: Header = {}
    at = 0
    while at + 4 <= len(data):
        (size,) = U32.unpack_from(data, at)
        name, equals, value = data[at + 4 : at + 4 + size].partition(b'=')
        at += 4 + size
        if not equals or at > len(data):
            raise DamageError('an invalid header')
        found[name] = value
    return found


def _op(header: Header) -> int:
    return int.from_bytes(header.get(b'op', b'')[:1], 'little')


def _u32(header: Header, name: bytes) -> int:
    value = header.get(name, b'')
    if len(value) != 4:
        raise DamageError(f'a record without {name.decode()}')
    return int.from_bytes(value, 'little')


def _time(header: Header, name: bytes) -> int:
    value = header.get(name, b'')
    if len(value) != 8:
        raise DamageError(f'a record without {name.decode()}')
    seconds, nanoseconds = TIME.unpack(value)
    return int(seconds) * 10**9 + int(nanoseconds)
