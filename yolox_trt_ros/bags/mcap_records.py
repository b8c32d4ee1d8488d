"""Records of the MCAP format: their layout, and the search for the next whole one."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from struct import Struct
from typing import NamedTuple

from yolox_trt_ros.bags.limits import Clock
from yolox_trt_ros.bags.names import decoded
from yolox_trt_ros.bags.packing import CODECS, DamageError
from yolox_trt_ros.bags.storage import ByteSource

MAGIC = b'\x89MCAP0\r\n'
HEADER, FOOTER, SCHEMA, CHANNEL, MESSAGE, CHUNK, MESSAGE_INDEX, CHUNK_INDEX = range(1, 9)
ATTACHMENT, ATTACHMENT_INDEX, STATISTICS, METADATA, METADATA_INDEX = range(9, 14)
SUMMARY_OFFSET, DATA_END = 14, 15
PREFIX = Struct('<BQ')
MESSAGE_HEAD = Struct('<HIQQ')
CHUNK_HEAD = Struct('<QQQI')
FOOTER_SIZE = PREFIX.size + 20 + len(MAGIC)
LONGEST_NAME = 1 << 16
WINDOW = 1 << 24
"""Bytes that are searched in one go for the next record."""
CHAINED = 3
"""Records that have to follow one another until the first of them is believed."""
LIKELY = re.compile(rb'(?=[\x01-\x0f][\s\S]{5}\x00\x00\x00)')
"""In front of an opcode and a length below 1 TB."""


class Fields:
    """Reads the fields of a record one by one; every error is :class:`DamageError`."""

    def __init__(self, data: bytes | memoryview) -> None:
        self._data = memoryview(data)
        self.at = 0

    def numbers(self, kinds: Struct) -> tuple[int, ...]:
        """Return numbers of a fixed layout."""
        try:
            found: tuple[int, ...] = kinds.unpack_from(self._data, self.at)
        except struct.error as error:
            raise DamageError(f'a record of {len(self._data)} bytes ends early') from error
        self.at += kinds.size
        return found

    def block(self) -> memoryview:
        """Return bytes behind their 32-bit length."""
        (size,) = self.numbers(U32)
        if size > len(self._data) - self.at:
            raise DamageError(f'a field says {size} bytes, {len(self._data) - self.at} are there')
        self.at += size
        return self._data[self.at - size : self.at]

    def text(self) -> str:
        """Return text behind its 32-bit length."""
        return decoded(bytes(self.block()))

    def rest(self) -> memoryview:
        """Return what is left."""
        return self._data[self.at :]

    @property
    def more(self) -> bool:
        """Return whether anything is left."""
        return self.at < len(self._data)


U16, U32, U64 = Struct('<H'), Struct('<I'), Struct('<Q')
ID_NAME = Struct('<HH')


class ChunkHead(NamedTuple):
    """What a chunk says of itself, and where its packed bytes lie, counted from its record."""

    start_ns: int
    end_ns: int
    size: int
    crc: int
    codec: str
    packed_at: int
    packed_size: int


def chunk_head(source: ByteSource, at: int) -> ChunkHead:
    """Return the head of the chunk record at a position.

    Raises:
        DamageError: there is none.
    """
    head = source.read(PREFIX.size + CHUNK_HEAD.size + 4 + 16 + 8, at)
    if len(head) < PREFIX.size or head[0] != CHUNK:
        raise DamageError('there is no chunk where the index says')
    _, length = PREFIX.unpack_from(head)
    fields = Fields(head[PREFIX.size :])
    start_ns, end_ns, size, crc = fields.numbers(CHUNK_HEAD)
    codec = fields.text()
    (packed_size,) = fields.numbers(U64)
    if fields.at + packed_size != length:
        raise DamageError(f'the chunk says {packed_size} bytes, its record {length - fields.at}')
    return ChunkHead(start_ns, end_ns, size, crc, codec, PREFIX.size + fields.at, packed_size)


def records(data: bytes | memoryview) -> Iterator[tuple[int, int, int]]:
    """Yield opcode, start and end of the content of each whole record in memory.

    Raises:
        DamageError: an opcode is none; what was yielded before is whole.
    """
    at, size, unpack = 0, len(data), PREFIX.unpack_from
    while at + 9 <= size:
        op, length = unpack(data, at)
        start = at + 9
        at = start + length
        if not op:
            raise DamageError(f'there is no record at byte {start - 9} of it')
        if at > size:
            return
        yield op, start, at


def record_at(source: ByteSource, at: int) -> tuple[int, int] | None:
    """Return opcode and end of the record at a position; None if there is none.

    The end may be beyond that of the file.
    """
    head = source.read(PREFIX.size, at)
    if len(head) < PREFIX.size:
        return None
    op, length = PREFIX.unpack(head)
    if not 0 < op <= DATA_END and not op & 0x80:
        return None
    if (op == MESSAGE and length < MESSAGE_HEAD.size) or length >= 1 << 48:
        return None
    return op, at + PREFIX.size + length


def next_record(source: ByteSource, at: int, known: frozenset[int], clock: Clock) -> int:
    """Return where the next whole records begin at or behind a position: the size if nowhere.

    Args:
        source: the file.
        at: first position.
        known: ids of channels; messages of others are not believed.
        clock: ends a search that takes too long.
    """
    while at < source.size:
        clock.check()
        window = source.read(WINDOW + PREFIX.size, at)
        for found in LIKELY.finditer(window):
            if _chain(source, at + found.start(), known):
                return at + found.start()
            clock.check()
        at += WINDOW
    return source.size


def _chain(source: ByteSource, at: int, known: frozenset[int]) -> bool:
    """Return whether whole records follow one another from a position on."""
    for _ in range(CHAINED):
        record = record_at(source, at)
        if record is None or record[1] > source.size or record[1] == at + PREFIX.size:
            return False
        op, end = record
        if op == MESSAGE and U16.unpack(source.read(2, at + PREFIX.size))[0] not in known:
            return False
        if op == CHUNK:
            try:
                head = chunk_head(source, at)
            except DamageError:
                return False
            return not head.codec or head.codec in CODECS
        if source.size in (end, end + len(MAGIC)):
            return True
        at = end
    return True
