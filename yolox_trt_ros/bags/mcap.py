"""Read MCAP files by their index, or from start to end where that is missing or wrong."""

from __future__ import annotations

from collections import Counter
from struct import Struct
from typing import NamedTuple
from zlib import crc32

from yolox_trt_ros.bags import mcap_records as mcap
from yolox_trt_ros.bags.mcap_scan import Scan
from yolox_trt_ros.bags.names import is_topic, is_type, plain
from yolox_trt_ros.bags.packing import CODECS, DamageError, unpack
from yolox_trt_ros.bags.rosbags_library import interfaces
from yolox_trt_ros.bags.storage import LAST_NS, Chunk, Contents, FileTopic, Message, Storage

FORMATS = {
    'ros2msg': interfaces.MessageDefinitionFormat.MSG,
    'ros1msg': interfaces.MessageDefinitionFormat.MSG,
    'ros2idl': interfaces.MessageDefinitionFormat.IDL,
    'omgidl': interfaces.MessageDefinitionFormat.IDL,
}
FOOTER = Struct('<BQQQI')
CHUNK_INDEX = Struct('<QQQQ')
STATISTICS = Struct('<QHIIIIQQ')
COUNT = Struct('<HQ')


class Schema(NamedTuple):
    """A type, as the file describes it."""

    name: str
    definition: interfaces.MessageDefinition | None


class McapFile(Storage):
    """An MCAP file."""

    kind = 'mcap'

    # -- opening -------------------------------------------------------------------------------

    def _open(self) -> None:
        if self.source.read(len(mcap.MAGIC), 0) != mcap.MAGIC:
            raise DamageError('is not an MCAP file')
        self.scanned, why = False, ''
        self._schemas: dict[int, Schema] = {}
        try:
            if self._read_summary():
                return
        except DamageError as error:
            why = str(error)
        self.contents, self.chunks, self._schemas = Contents(), [], {}
        self.reported.clear()
        self.scanned = True
        Scan(self).run(why)

    def _read_summary(self) -> bool:
        """Read the index; False if the file has none and need not have one.

        Raises:
            DamageError: it is not there though it should be, or it is not right.
        """
        size, read = self.source.size, self.source.read
        tail = read(mcap.FOOTER_SIZE, max(0, size - mcap.FOOTER_SIZE))
        if len(tail) < mcap.FOOTER_SIZE or tail[-len(mcap.MAGIC) :] != mcap.MAGIC:
            raise DamageError('has no end: the recording was interrupted, or the file is cut off')
        op, length, start, _, crc = FOOTER.unpack_from(tail)
        if (op, length) != (mcap.FOOTER, 20):
            raise DamageError('has a damaged footer')
        if not start:
            return False
        stop = size - mcap.FOOTER_SIZE
        if not len(mcap.MAGIC) < start <= stop:
            raise DamageError('has a footer that points outside the file')
        self.limits.check_memory(stop - start, f'{self.path}: its index')
        summary = read(stop - start, start)
        if crc and crc32(tail[: FOOTER.size - 4], crc32(summary)) != crc:
            raise DamageError('has a damaged index')
        return self._index(summary, start, bool(crc))

    def _index(self, summary: bytes, summary_at: int, checked: bool) -> bool:
        statistics: mcap.Fields | None = None
        codecs: set[str] = set()
        for op, start, stop in mcap.records(summary):
            record = summary[start:stop]
            if op == mcap.SCHEMA:
                self.add_schema(record)
            elif op == mcap.CHANNEL:
                self.add_channel(record)
            elif op == mcap.CHUNK_INDEX:
                codecs.add(self._add_chunk(mcap.Fields(record)))
            elif op == mcap.STATISTICS:
                statistics = mcap.Fields(record)
        if statistics is None or not self.chunks or not self.contents.topics:
            return False
        if unknown := codecs - {'', *CODECS}:
            raise DamageError(f'has chunks of an unknown compression ({plain(", ".join(unknown))})')
        topics = self.contents.topics.values()
        if not checked and not all(is_topic(t.name) and is_type(t.type) for t in topics):
            raise DamageError('has an index with invalid names and without a checksum')
        self._check_chunks(summary_at)
        return self._count(statistics)

    def _add_chunk(self, fields: mcap.Fields) -> str:
        start_ns, end_ns, at, size = fields.numbers(CHUNK_INDEX)
        offsets = fields.block()
        ids = frozenset(i for i, _ in COUNT.iter_unpack(offsets[: len(offsets) // 10 * 10]))
        fields.numbers(mcap.U64)
        self.chunks.append(Chunk(start_ns, end_ns, at, size, ids or None))
        return fields.text()

    def _check_chunks(self, summary_at: int) -> None:
        """Look whether chunks lie where the index says, and none of them twice.

        Of a file that is far away each is looked at when it is read.
        """
        last = 0
        for chunk in sorted(self.chunks, key=lambda chunk: chunk.offset):
            self.clock.check()
            record = None
            if last <= chunk.offset < summary_at:
                end = chunk.offset + chunk.size
                near = self.source.near
                record = mcap.record_at(self.source, chunk.offset) if near else (mcap.CHUNK, end)
            last = chunk.offset + chunk.size
            if record != (mcap.CHUNK, last) or last > summary_at:
                raise DamageError('has an index that does not fit its chunks')

    def _count(self, fields: mcap.Fields) -> bool:
        count, _, _, _, _, chunks, start_ns, end_ns = fields.numbers(STATISTICS)
        counts = fields.block()
        found = dict(COUNT.iter_unpack(counts[: len(counts) // 10 * 10]))
        if sum(found.values()) != count or not found.keys() <= self.contents.topics.keys():
            return False  # nothing says how many messages a topic has
        if chunks != len(self.chunks) or (count and not 0 <= start_ns <= end_ns < LAST_NS):
            raise DamageError('has an index that does not fit its statistics')
        for number, topic in self.contents.topics.items():
            topic.count = found.get(number, 0)
        self.contents.count = count
        if count:
            self.contents.span(start_ns, end_ns)
        return True

    # -- what describes messages ---------------------------------------------------------------

    def add_schema(self, record: bytes) -> None:
        """Remember a type.

        Raises:
            DamageError: the record is none of a type.
        """
        fields = mcap.Fields(record)
        (number,) = fields.numbers(mcap.U16)
        name, encoding, text = fields.text(), fields.text(), fields.text()
        definition = None
        if kind := FORMATS.get(encoding):
            definition = interfaces.MessageDefinition(kind, text)
        schema = Schema(name, definition)
        if self._schemas.setdefault(number, schema) != schema:
            self.losses.add(
                f'describes {plain(name)} more than once and differently; the first is used'
            )

    def add_channel(self, record: bytes) -> None:
        """Remember a topic.

        Raises:
            DamageError: the record is none of a topic.
        """
        fields = mcap.Fields(record)
        number, schema_id = fields.numbers(mcap.ID_NAME)
        name, encoding = fields.text(), fields.text()
        more, words = mcap.Fields(fields.block()), {}
        while more.more:
            key = more.text()
            words[key] = more.text()
        schema = self._schemas.get(schema_id, Schema('', None))
        digest = words.get('topic_type_hash', '')
        qos = words.get('offered_qos_profiles', '')
        topic = FileTopic(number, name, schema.name, encoding, schema.definition, qos, digest)
        known = self.contents.topics.setdefault(number, topic)
        if (known.name, known.type, known.encoding) != (name, schema.name, encoding):
            self.losses.add(
                f'gives one number to {plain(known.name)} and {plain(name)}: messages of the '
                'second are read as those of the first'
            )

    # -- reading -------------------------------------------------------------------------------

    def chunk_data(self, at: int, end: int) -> bytes:
        """Return the unpacked records of a chunk, those before the cut of one that is cut off.

        Raises:
            DamageError: it is not whole.
            BagError: it takes more than the limit.
        """
        head = mcap.chunk_head(self.source, at)
        there = min(head.packed_size, self.source.size - at - head.packed_at)
        self.limits.check_memory(there, f'{self.path}: the chunk at byte {at}')
        packed = self.source.read(there, at + head.packed_at)
        data = unpack(packed, head.codec, head.size, self.limits)
        if end > self.source.size:
            return data
        if len(packed) < head.packed_size or len(data) != head.size:
            raise DamageError(f'{len(data)} of {head.size} bytes unpack')
        if head.crc and crc32(data) != head.crc:
            raise DamageError('its checksum does not match')
        return data

    def _read(self, chunk: Chunk) -> list[Message]:
        """Return the messages of a chunk; what is wrong with it is reported."""
        found: list[Message] = []
        wrong: Counter[str] = Counter()
        head, topics = mcap.MESSAGE_HEAD, self.contents.topics
        unpack_from, size = head.unpack_from, head.size
        end = chunk.offset + chunk.size
        try:
            if chunk.packed:
                data = self.chunk_data(chunk.offset, end)
            else:
                data = self.source.read(chunk.size, chunk.offset)
            for op, start, stop in mcap.records(data):
                if op != mcap.MESSAGE:
                    continue
                if stop - start < size:
                    raise DamageError('a message ends early')
                number, _, t_ns, _ = unpack_from(data, start)
                if number in topics and t_ns < LAST_NS:
                    found.append((t_ns, number, data[start + size : stop]))
                else:
                    wrong['of an unknown topic' if t_ns < LAST_NS else 'with times after 2038'] += 1
        except DamageError as error:
            self.lost_chunk(chunk.offset, chunk.size, len(found), 0, str(error))
        for what, count in wrong.items() if not self.scanned else ():
            self.losses.add(f'{count} messages {what} at byte {chunk.offset} are left out')
        return found
