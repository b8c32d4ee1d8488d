"""Read the SQLite files of rosbag2; damaged ones by their pages."""

from __future__ import annotations

import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from yolox_trt_ros.bags.names import plain
from yolox_trt_ros.bags.packing import DamageError
from yolox_trt_ros.bags.rosbags_library import interfaces
from yolox_trt_ros.bags.sqlite_pages import MAGIC, Pages
from yolox_trt_ros.bags.sqlite_salvage import FORMATS, Salvaged
from yolox_trt_ros.bags.storage import LAST_NS, FileTopic, Message, Storage
from yolox_trt_ros.core.errors import BagError

MAPPED_BYTES = 1 << 40
"""Of a file; it maps what there is, and reads the rest. An image costs a third less so."""
STEPS = 20_000
"""Instructions of SQLite's machine after which time and Ctrl-C are looked at."""
TABLES = ('topics', 'messages', 'message_definitions')
ALLOWED = {
    sqlite3.SQLITE_SELECT,
    sqlite3.SQLITE_READ,
    sqlite3.SQLITE_FUNCTION,
    sqlite3.SQLITE_PRAGMA,
}
PRAGMAS = {'table_xinfo', 'trusted_schema', 'mmap_size', 'cell_size_check'}
FUNCTIONS = {'count', 'min', 'max'}
MOST_IDS = 500
"""Topics that a query names; of more, all are read."""
JOURNALS = ('-wal', '-journal')


class SqliteFile(Storage):
    """A ``.db3`` file.

    Nothing in the file is executed: topics and messages have to be plain tables, and SQLite is
    allowed to read these alone. A file that is not so, or damaged, is read page by page.
    """

    kind = 'sqlite3'
    _database: sqlite3.Connection | None = None
    _salvaged: Salvaged | None = None
    _copy: tempfile.TemporaryDirectory[str] | None = None

    def _open(self) -> None:
        pages = Pages(self.source, self.limits, self.clock)
        try:
            if pages.whole_count < pages.expected and not self._journals():
                raise DamageError(
                    f'is cut off: {pages.whole_count} of its {pages.expected} pages are there'
                )
            self._connect()
            self._read_topics()
        except (DamageError, sqlite3.Error, OverflowError, UnicodeError) as error:
            self._check_stopped(error)
            self._salvage(str(error))

    def close(self) -> None:
        """Close the file, and remove copies of it."""
        if self._database:
            self._database.close()
        self._database = None
        super().close()
        if self._copy:
            self._copy.cleanup()
        self._copy = None

    # -- opening -------------------------------------------------------------------------------

    def _journals(self) -> list[Path]:
        """Return files beside this one that hold what was not yet written to it."""
        files = (self.path.with_name(self.path.name + suffix) for suffix in JOURNALS)
        return [file for file in files if file.is_file() and file.stat().st_size]

    def _connect(self) -> None:
        path, options = self.path, '?immutable=1'
        if journals := self._journals():
            path, options = self._copied(journals), ''
            self.losses.add(
                f'the recording was interrupted: what is in {journals[0].name} is read too, from a '
                'copy'
            )
        self._database = sqlite3.connect(
            f'{path.absolute().as_uri()}{options}',
            uri=True,
            isolation_level=None,
            check_same_thread=False,
        )
        database = self._database
        if sys.version_info >= (3, 11):
            most = min(self.limits.memory_bytes, 2**31 - 1)
            database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, most)
        database.text_factory = lambda raw: raw.decode('utf-8', 'surrogateescape')
        database.set_progress_handler(lambda: self.clock.over, STEPS)
        if journals:
            database.execute('SELECT count(*) FROM sqlite_master').fetchone()  # takes them in
        database.set_authorizer(_allow)
        database.execute('PRAGMA trusted_schema=OFF')
        database.execute('PRAGMA cell_size_check=ON')
        database.execute(f'PRAGMA mmap_size={MAPPED_BYTES}')

    def _copied(self, journals: list[Path]) -> Path:
        """Return a copy that SQLite may repair; the recording itself is left as it is.

        Raises:
            BagError: it takes more disk than the limit.
        """
        size = sum(file.stat().st_size for file in (self.path, *journals))
        limit = self.limits.disk_for(self.path)
        if size > limit:
            raise self.limits.disk_error(self.path, limit)
        self._copy = tempfile.TemporaryDirectory(prefix='yolox_trt_ros_bag_')
        try:
            for file in (self.path, *journals):
                shutil.copyfile(file, Path(self._copy.name, file.name))
        except OSError as error:
            raise BagError(f'{self.path}: cannot be copied to read its journal: {error}') from error
        return Path(self._copy.name, self.path.name)

    def _read_topics(self) -> None:
        columns = {table: self._columns(table) for table in TABLES}
        if not {'id', 'topic_id', 'timestamp', 'data'} <= columns['messages']:
            raise DamageError('has no table "messages" as rosbag2 writes it')
        if not {'id', 'name', 'type', 'serialization_format'} <= columns['topics']:
            raise DamageError('has no table "topics" as rosbag2 writes it')
        definitions = self._definitions(columns['message_definitions'])
        names = ['id', 'name', 'type', 'serialization_format']
        more = [
            name if name in columns['topics'] else "''"
            for name in ('offered_qos_profiles', 'type_description_hash')
        ]
        for row in self._all(f'SELECT {", ".join(names + more)} FROM topics'):
            number, *words = row
            if not isinstance(number, int) or not all(isinstance(word, str) for word in words):
                self.losses.add(f'a topic with columns of wrong types is left out: {plain(row)}')
                continue
            name, kind, encoding, qos, digest = words
            self.contents.topics[number] = FileTopic(
                number, name, kind, encoding, definitions.get(kind), qos, digest
            )
        self._count()

    def _columns(self, table: str) -> set[str]:
        """Return the columns of a table; none if there is no such table.

        Raises:
            DamageError: it is a view or a virtual table, or computes columns.
        """
        rows = self._all('SELECT type, sql FROM sqlite_master WHERE name = ?', (table,))
        if not rows:
            return set()
        kind, text = rows[0]
        if len(rows) > 1 or kind != 'table' or 'VIRTUAL' in str(text).upper().split('(')[0]:
            raise DamageError(f'has a {plain(kind)} in place of the table "{table}"')
        columns = self._all(f'PRAGMA table_xinfo({table})')
        if any(column[6] for column in columns):
            raise DamageError(f'has computed columns in the table "{table}"')
        return {column[1] for column in columns}

    def _definitions(self, columns: set[str]) -> dict[str, interfaces.MessageDefinition]:
        if not {'topic_type', 'encoding', 'encoded_message_definition'} <= columns:
            return {}
        rows = self._all(
            'SELECT topic_type, encoding, encoded_message_definition FROM message_definitions'
        )
        return {
            kind: interfaces.MessageDefinition(FORMATS[encoding], text)
            for kind, encoding, text in rows
            if isinstance(kind, str) and isinstance(text, str) and encoding in FORMATS
        }

    def _count(self) -> None:
        unknown = odd = 0
        right = f'timestamp >= 0 AND timestamp < {LAST_NS}'
        for number, count, all_of_it in self._all(
            f'SELECT topic_id, count(CASE WHEN {right} THEN 1 END), count(*) FROM messages '
            'GROUP BY topic_id'
        ):
            if number in self.contents.topics:
                self.contents.topics[number].count = count
                odd += all_of_it - count
            else:
                unknown += all_of_it
        for count, what in ((unknown, 'no topic'), (odd, 'invalid times')):
            if count:
                self.losses.add(f'{count} messages with {what} are left out')
        self.contents.count = sum(topic.count for topic in self.contents.topics.values())
        if self.contents.count:
            ((first,),) = self._all(f'SELECT min(timestamp) FROM messages WHERE {right}')
            ((last,),) = self._all(f'SELECT max(timestamp) FROM messages WHERE {right}')
            if first is None or last is None:  # an index that has fewer rows than its table
                raise DamageError('has a damaged index of times')
            self.contents.span(int(first), int(last))

    def _all(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        assert self._database
        return self._database.execute(query, values).fetchall()

    def _check_stopped(self, error: Exception) -> None:
        """Raise what stopped SQLite, if it was not the file.

        What a signal raises is lost within SQLite, which only says that it was interrupted.

        Raises:
            BagError: the time is over.
            KeyboardInterrupt: a signal has come.
        """
        if isinstance(error, sqlite3.OperationalError) and 'interrupted' in str(error):
            if self.clock.over:
                raise self.clock.error() from error
            raise KeyboardInterrupt from error

    def _salvage(self, why: str) -> None:
        self._salvaged = Salvaged(
            Pages(self.source, self.limits, self.clock), self.clock, self.losses, why
        )
        self.contents = self._salvaged.contents

    # -- reading -------------------------------------------------------------------------------

    def messages(self, ids: Collection[int], start_ns: int, stop_ns: int) -> Iterator[Message]:
        """Yield the messages of some topics in the order of their times.

        Behind damage, what the pages still hold is read.
        """
        last = (-1, -1)
        if not self._salvaged:
            try:
                for message, row_id in self._rows(ids, start_ns, stop_ns):
                    yield message
                    last = message[0], row_id
                return
            except (DamageError, sqlite3.Error, OverflowError) as error:
                self._check_stopped(error)
                self._salvage(str(error))
        assert self._salvaged
        yield from self._salvaged.messages(ids, start_ns, stop_ns, last)

    def _rows(
        self, ids: Collection[int], start_ns: int, stop_ns: int
    ) -> Iterator[tuple[Message, int]]:
        assert self._database
        wanted = frozenset(ids)
        what = 'FROM messages WHERE timestamp >= ? AND timestamp < ?'
        values: list[int] = [start_ns, stop_ns]
        if len(wanted) <= MOST_IDS:
            what += f' AND topic_id IN ({",".join("?" * len(wanted))})'
            values += wanted
        self.clock.restart()
        if self._sorts(f'SELECT id {what} ORDER BY timestamp', values):
            rows: Any = self._one_by_one(what, values)
        else:
            query = f'SELECT timestamp, topic_id, data, id {what} ORDER BY timestamp'
            rows = self._database.execute(query, values)
        wrong = 0
        for t_ns, topic, data, row_id in rows:
            if topic not in wanted:
                continue
            if isinstance(data, bytes) and isinstance(t_ns, int):
                yield (t_ns, topic, data), row_id
            else:
                wrong += 1
            self.clock.restart()
        if wrong:
            self.losses.add(f'{wrong} rows have no bytes and are left out')

    def _sorts(self, query: str, values: Sequence[Any]) -> bool:
        """Return whether SQLite would sort, because nothing is in order of time already."""
        plan = self._all(f'EXPLAIN QUERY PLAN {query}', values)
        return any('TEMP B-TREE' in str(step[-1]) for step in plan)

    def _one_by_one(self, what: str, values: Sequence[Any]) -> Iterator[Any]:
        """Yield rows in order without sorting their bytes."""
        assert self._database
        found = self._all(f'SELECT timestamp, topic_id, id {what} ORDER BY timestamp', values)
        for t_ns, topic, row_id in found:
            query = 'SELECT data FROM messages WHERE id = ?'
            for (data,) in self._database.execute(query, (row_id,)):
                yield t_ns, topic, data, row_id


def _allow(action: int, first: str | None, second: str | None, *_: Any) -> int:
    """Allow SQLite to read the bag's tables, and nothing else."""
    if action not in ALLOWED:
        return sqlite3.SQLITE_DENY
    if action == sqlite3.SQLITE_READ and first not in (*TABLES, 'sqlite_master', 'sqlite_schema'):
        return sqlite3.SQLITE_DENY
    if action == sqlite3.SQLITE_FUNCTION and second not in FUNCTIONS:
        return sqlite3.SQLITE_DENY
    if action == sqlite3.SQLITE_PRAGMA and first not in PRAGMAS:
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK


__all__ = ['MAGIC', 'SqliteFile']
