"""Find what is whole in an MCAP file whose index is missing or wrong, and say what is lost."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from yolox_trt_ros.bags import mcap_records as mcap
from yolox_trt_ros.bags.limits import size_text
from yolox_trt_ros.bags.packing import DamageError
from yolox_trt_ros.bags.storage import LAST_NS, Chunk

if TYPE_CHECKING:
    from yolox_trt_ros.bags.mcap import McapFile

LOOSE_BYTES = 1 << 20
"""Messages outside chunks are read together up to so many bytes."""


class Lost(NamedTuple):
    """A chunk that is not whole; the message indexes behind it say how much it held."""

    at: int
    size: int
    whole: int
    why: str


class Scan:
    """Reads a file from start to end and notes its chunks and topics.

    Args:
        file: without an index; its chunks, topics and counts are filled in.
    """

    def __init__(self, file: McapFile) -> None:
        self._file, self._source = file, file.source
        self._counts: Counter[int] = Counter()
        self._loose: list[tuple[int, int, int, int]] = []
        """Time, topic, start and end of messages outside chunks."""
        self._lost: Lost | None = None
        self._lost_messages = 0
        self._wrong: Counter[str] = Counter()
        self._gaps: list[tuple[int, int]] = []
        self._data_end = 0
        self._last_message = 0

    def run(self, why: str) -> None:
        """Read the file.

        Args:
            why: what is wrong with its index; empty if it may be without.

        Raises:
            BagError: it takes more than the limits.
        """
        at, size = len(mcap.MAGIC), self._source.size
        while at < size:
            self._file.clock.check()
            record = mcap.record_at(self._source, at)
            if record is not None and record[1] <= size:
                self._take(*record, at)
                at = record[1]
            elif size - at == len(mcap.MAGIC) and self._source.read(size, at) == mcap.MAGIC:
                break
            else:
                at = self._behind_damage(record, at)
        self._flush()
        self._report_lost()
        self._finish(why)

    def _take(self, op: int, end: int, at: int) -> None:
        if op == mcap.MESSAGE:
            head = self._source.read(mcap.MESSAGE_HEAD.size, at + mcap.PREFIX.size)
            number, _, t_ns, _ = mcap.MESSAGE_HEAD.unpack(head)
            if self._believe(number, t_ns):
                if self._loose and at != self._loose[-1][3]:
                    self._flush()
                self._loose.append((t_ns, number, at, end))
                if end - self._loose[0][2] > LOOSE_BYTES:
                    self._flush()
            return
        if op == mcap.MESSAGE_INDEX:
            if self._lost:
                self._lost_messages += (end - at - mcap.PREFIX.size - 6) // 16
            return
        self._report_lost()
        if op == mcap.CHUNK:
            self._chunk(at, end)
        elif op in (mcap.SCHEMA, mcap.CHANNEL):
            self._describe(op, self._source.read(end - at - mcap.PREFIX.size, at + 9))
        elif op == mcap.DATA_END:
            self._data_end = at

    def _describe(self, op: int, record: bytes) -> None:
        try:
            if op == mcap.SCHEMA:
                self._file.add_schema(record)
            else:
                self._file.add_channel(record)
        except DamageError:
            self._wrong['damaged descriptions of types and topics'] += 1

    def _believe(self, number: int, t_ns: int) -> bool:
        if number not in self._file.contents.topics:
            self._wrong['messages of a topic without a description'] += 1
        elif t_ns >= LAST_NS:
            self._wrong['messages with times after 2038'] += 1
        else:
            return True
        return False

    def _chunk(self, at: int, end: int) -> None:
        """Read all of a chunk, so that what it says of itself need not be believed."""
        counts: Counter[int] = Counter()
        times = [LAST_NS, -1]
        try:
            data = self._file.chunk_data(at, end)
            self._in_chunk(data, counts, times)
        except DamageError as error:
            whole = sum(counts.values())
            self._lost = Lost(at, min(end, self._source.size) - at, whole, str(error))
        if counts:
            self._counts += counts
            self._last_message = at
            chunk = Chunk(times[0], times[1], at, end - at, frozenset(counts))
            self._file.chunks.append(chunk)

    def _in_chunk(self, data: bytes, counts: Counter[int], times: list[int]) -> None:
        head = mcap.MESSAGE_HEAD
        for op, start, stop in mcap.records(data):
            if op == mcap.MESSAGE:
                if stop - start < head.size:
                    raise DamageError('a message ends early')
                number, _, t_ns, _ = head.unpack_from(data, start)
                if self._believe(number, t_ns):
                    counts[number] += 1
                    times[0], times[1] = min(times[0], t_ns), max(times[1], t_ns)
            elif op in (mcap.SCHEMA, mcap.CHANNEL):
                self._describe(op, data[start:stop])
            if not (start & 0xFFF):
                self._file.clock.check()

    def _behind_damage(self, record: tuple[int, int] | None, at: int) -> int:
        """Return where to go on behind bytes that are no whole record."""
        self._report_lost()
        if record and record[0] == mcap.CHUNK:
            try:
                head = mcap.chunk_head(self._source, at)
            except DamageError:
                pass  # its length is wrong, not its end missing
            else:
                before = sum(self._counts.values())
                self._chunk(at, record[1])
                whole = sum(self._counts.values()) - before
                there = self._source.size - at - head.packed_at
                self._file.losses.add(
                    f'ends within the chunk at byte {at}: {size_text(max(0, there))} of its '
                    f'{size_text(head.packed_size)} are there, with {whole} whole messages'
                )
                self._lost = None
                return self._source.size
        known = frozenset(self._file.contents.topics)
        found = mcap.next_record(self._source, at + 1, known, self._file.clock)
        self._gaps.append((at, found))
        return found

    def _flush(self) -> None:
        """Turn messages that lie behind one another into a chunk."""
        if loose := self._loose:
            ids = [number for _, number, _, _ in loose]
            times = [t_ns for t_ns, _, _, _ in loose]
            at, end = loose[0][2], loose[-1][3]
            self._file.chunks.append(
                Chunk(min(times), max(times), at, end - at, frozenset(ids), packed=False)
            )
            self._counts.update(ids)
            self._last_message = at
            self._loose = []

    def _report_lost(self) -> None:
        if lost := self._lost:
            count = max(0, self._lost_messages - lost.whole)
            self._file.lost_chunk(lost.at, lost.size, lost.whole, count, lost.why)
        self._lost, self._lost_messages = None, 0

    def _finish(self, why: str) -> None:
        file = self._file
        for number, topic in file.contents.topics.items():
            topic.count = self._counts[number]
        file.contents.count = sum(self._counts.values())
        for chunk in file.chunks:
            file.contents.span(chunk.start_ns, chunk.end_ns)
        for start, end in self._gaps:
            # Behind the last message there is only what describes those before it.
            if not self._last_message < self._data_end < start:
                file.losses.add(
                    f'{size_text(end - start)} from byte {start} on contain no whole record'
                )
        for what, count in self._wrong.items():
            file.losses.add(f'{count} {what}: left out')
        if why:
            file.losses.add(
                f'{why}; read from its start instead: {file.contents.count} messages are whole'
            )
