"""Topics and messages that the pages of a damaged rosbag2 file still hold."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from operator import itemgetter

from yolox_trt_ros.bags.limits import Clock
from yolox_trt_ros.bags.packing import DamageError
from yolox_trt_ros.bags.rosbags_library import interfaces
from yolox_trt_ros.bags.sqlite_pages import Pages, SqliteRow, is_blob, is_integer, is_text
from yolox_trt_ros.bags.storage import LAST_NS, Contents, FileTopic, Losses, Message

LONGEST_WORDS = 1 << 20
"""Of a row that describes a topic or a type."""
ENCODINGS = ('cdr',)
FORMATS = {
    'ros2msg': interfaces.MessageDefinitionFormat.MSG,
    'ros2idl': interfaces.MessageDefinitionFormat.IDL,
}
"""Of message definitions."""


class Salvaged:
    """Topics and messages of a file by its pages alone.

    Args:
        pages: of the file.
        clock: ends a search that takes too long.
        losses: called with each loss.
        why: what is wrong with the file.

    Attributes:
        contents: topics, times and counts.

    Raises:
        DamageError: there is no topic in it.
    """

    def __init__(self, pages: Pages, clock: Clock, losses: Losses, why: str) -> None:
        self._pages, self._clock, self._losses = pages, clock, losses
        self.contents = Contents()
        self._found: list[tuple[int, int, int, SqliteRow]] = []
        """Time, number, topic and place of each message."""
        cut = self._search()
        if not self.contents.topics:
            raise DamageError(f'{why}; no topic is left in it')
        lost = f', {cut} more are not whole' if cut else ''
        losses.add(
            f'{why}; read page by page instead: {self.contents.count} messages are whole{lost}'
        )

    def _search(self) -> int:
        """Find topics and whole messages; return how many messages are not whole."""
        cut, rows = 0, {}
        definitions: dict[str, interfaces.MessageDefinition] = {}
        for row in self._pages.rows():
            if _is_message(row):
                rows[row.id] = row
            elif row.size < LONGEST_WORDS and all(map(is_text, row.kinds[1:])):
                self._describe(row, definitions)
        for topic in self.contents.topics.values():
            topic.definition = definitions.get(topic.type)
        for row in rows.values():
            self._clock.check()
            if not self._pages.whole(row):
                cut += 1
                continue
            _, topic_id, t_ns = self._pages.numbers(row, 3)
            if topic_id in self.contents.topics and 0 <= t_ns < LAST_NS:
                self._found.append((t_ns, row.id, topic_id, row))
                self.contents.topics[topic_id].count += 1
                self.contents.span(t_ns, t_ns)
            else:
                cut += 1
        self._found.sort(key=itemgetter(0, 1))
        self.contents.count = len(self._found)
        return cut

    def _describe(
        self, row: SqliteRow, definitions: dict[str, interfaces.MessageDefinition]
    ) -> None:
        """Take a row that describes a topic or a type."""
        try:
            _, *words = self._pages.values(row)
        except DamageError:
            return
        if len(words) == 4 and words[1] in FORMATS:
            kind, encoding, text, _ = map(str, words)
            definitions[kind] = interfaces.MessageDefinition(FORMATS[encoding], text)
        elif len(words) >= 3 and str(words[0]).startswith('/') and words[2] in ENCODINGS:
            name, kind, encoding, qos, digest = [*map(str, words), '', ''][:5]
            self.contents.topics[row.id] = FileTopic(
                row.id, name, kind, encoding, None, qos, digest
            )

    def messages(
        self, ids: Collection[int], start_ns: int, stop_ns: int, behind: tuple[int, int]
    ) -> Iterator[Message]:
        """Yield whole messages of some topics in the order of their times.

        Args:
            ids: of the topics.
            start_ns, stop_ns: from the first time on, before the second.
            behind: time and number of the last message that is known already.
        """
        wanted = frozenset(ids)
        for t_ns, number, topic, row in self._found:
            if topic in wanted and start_ns <= t_ns < stop_ns and (t_ns, number) > behind:
                try:
                    data = self._pages.values(row)[-1]
                except DamageError as error:
                    self._losses.add(f'{error}; it is left out')
                    continue
                assert isinstance(data, bytes)
                yield t_ns, topic, data


def _is_message(row: SqliteRow) -> bool:
    kinds = row.kinds
    return (
        len(kinds) == 4
        and kinds[0] == 0
        and is_integer(kinds[1])
        and is_integer(kinds[2])
        and is_blob(kinds[3])
    )
