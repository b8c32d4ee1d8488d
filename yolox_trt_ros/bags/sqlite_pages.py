"""Rows of a damaged SQLite file, read from its pages without SQLite.

A table's rows lie in leaf pages; a row that is longer than a page goes on in a chain of others.
Nothing else of the file is needed, so that whatever pages are left give their rows. The layout is
described at https://sqlite.org/fileformat2.html.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from yolox_trt_ros.bags.limits import Clock, Limits
from yolox_trt_ros.bags.packing import DamageError
from yolox_trt_ros.bags.storage import ByteSource

MAGIC = b'SQLite format 3\0'
LEAF = 0x0D
FILE_HEADER = 100
SMALLEST_CELL = 6
INTEGER_SIZES = {0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8, 8: 0, 9: 0}
MOST_COLUMNS = 16
Value = int | str | bytes | None


class SqliteRow(NamedTuple):
    """A row of some table.

    Attributes:
        id: its number.
        kinds: the serial type of each value.
        page, at, size: where its payload lies and how long it is.
        head: size of what comes before the values.
    """

    id: int
    kinds: tuple[int, ...]
    page: int
    at: int
    size: int
    head: int


class Pages:
    """The pages of a file.

    Raises:
        DamageError: the file's header is none.
    """

    def __init__(self, source: ByteSource, limits: Limits, clock: Clock) -> None:
        self._source, self._limits, self._clock = source, limits, clock
        header = source.read(FILE_HEADER, 0)
        if len(header) < FILE_HEADER or not header.startswith(MAGIC):
            raise DamageError('is not an SQLite file')
        size = int.from_bytes(header[16:18], 'big')
        self.size = 65536 if size == 1 else size
        self._usable = self.size - header[20]
        if self.size < 512 or self.size & (self.size - 1) or self._usable < 480:
            raise DamageError(f'has pages of {self.size} bytes')
        self.count = -(-source.size // self.size)
        self.whole_count = source.size // self.size
        self.expected = int.from_bytes(header[28:32], 'big')

    def rows(self) -> Iterator[SqliteRow]:
        """Yield the rows of all tables, wherever they are."""
        for number in range(1, self.count + 1):
            self._clock.check()
            start = FILE_HEADER if number == 1 else 0
            at = (number - 1) * self.size
            if self._source.read(1, at + start) != bytes([LEAF]):
                continue
            page = self._source.read(self.size, at)
            cells = int.from_bytes(page[start + 3 : start + 5], 'big')
            for i in range(min(cells, self.size // SMALLEST_CELL)):
                place = start + 8 + 2 * i
                cell = int.from_bytes(page[place : place + 2], 'big')
                row = self._row(page, number, cell)
                if row is not None:
                    yield row

    def _row(self, page: bytes, number: int, at: int) -> SqliteRow | None:
        size, at = _varint(page, at)
        row_id, at = _varint(page, at)
        head, place = _varint(page, at)
        kinds: list[int] = []
        while place < min(at + head, len(page)) and len(kinds) < MOST_COLUMNS:
            kind, place = _varint(page, place)
            kinds.append(kind)
        if place != at + head or head + sum(map(_size, kinds)) != size:
            return None
        return SqliteRow(row_id, tuple(kinds), number, at, size, head)

    def whole(self, row: SqliteRow) -> bool:
        """Return whether all pages of a row are there."""
        local = self._local(row.size)
        if local == row.size:
            return (row.page - 1) * self.size + row.at + local <= self._source.size
        try:
            for at, size in self._chain(row, local):
                if at + size > self._source.size:
                    return False
        except DamageError:
            return False
        return True

    def values(self, row: SqliteRow) -> tuple[Value, ...]:
        """Return what a row holds.

        Raises:
            DamageError: a page of it is missing.
            BagError: it takes more memory than the limit.
        """
        self._limits.check_memory(row.size, f'{self._source.path}: one row')
        local = self._local(row.size)
        parts = [self._source.read(local, (row.page - 1) * self.size + row.at)]
        if local < row.size:
            parts += [self._source.read(size, at) for at, size in self._chain(row, local)]
        payload = b''.join(parts)
        if len(payload) != row.size:
            raise DamageError(f'row {row.id} ends early')
        found: list[Value] = []
        at = row.head
        for kind in row.kinds:
            found.append(_value(kind, payload[at : at + _size(kind)]))
            at += _size(kind)
        return tuple(found)

    def numbers(self, row: SqliteRow, count: int) -> list[int]:
        """Return the whole numbers that a row begins with, without reading the rest of it."""
        sizes = [_size(kind) for kind in row.kinds[:count]]
        data = self._source.read(sum(sizes), (row.page - 1) * self.size + row.at + row.head)
        found, at = [], 0
        for kind, size in zip(row.kinds, sizes, strict=False):
            value = _value(kind, data[at : at + size])
            found.append(value if isinstance(value, int) else 0)
            at += size
        return found

    def _local(self, size: int) -> int:
        """Return how much of a payload lies in its own page."""
        most = self._usable - 35
        if size <= most:
            return size
        least = (self._usable - 12) * 32 // 255 - 23
        local = least + (size - least) % (self._usable - 4)
        return local if local <= most else least

    def _chain(self, row: SqliteRow, local: int) -> Iterator[tuple[int, int]]:
        """Yield place and size of the parts of a payload that lie in other pages."""
        at = (row.page - 1) * self.size + row.at + local
        left = row.size - local
        if left > self._source.size:
            raise DamageError(f'row {row.id} is larger than the file')
        while left > 0:
            number = int.from_bytes(self._source.read(4, at), 'big')
            if not 1 < number <= self.count:
                raise DamageError(f'row {row.id} goes on in page {number}, which is not there')
            at = (number - 1) * self.size
            part = min(left, self._usable - 4)
            yield at + 4, part
            left -= part


def is_integer(kind: int) -> bool:
    """Return whether a serial type is that of a whole number."""
    return kind in INTEGER_SIZES and kind != 0


def is_text(kind: int) -> bool:
    """Return whether a serial type is that of text."""
    return kind >= 13 and kind % 2 == 1


def is_blob(kind: int) -> bool:
    """Return whether a serial type is that of bytes."""
    return kind >= 12 and kind % 2 == 0


def _size(kind: int) -> int:
    if kind >= 12:
        return (kind - 12) // 2
    return INTEGER_SIZES.get(kind, 8)


def _value(kind: int, raw: bytes) -> Value:
    if kind >= 12:
        return raw if kind % 2 == 0 else raw.decode('utf-8', 'surrogateescape')
    if kind in (8, 9):
        return kind - 8
    if not is_integer(kind):
        return None
    return int.from_bytes(raw, 'big', signed=True)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return a number of 1 to 9 bytes and where it ends; bytes that are not there count as 0."""
    value = 0
    for i in range(9):
        byte = data[at + i] if at + i < len(data) else 0
        if i == 8:
            return value << 8 | byte, at + 9
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + i + 1
    raise AssertionError('unreachable')
