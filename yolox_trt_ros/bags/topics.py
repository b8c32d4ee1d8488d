"""Join the topics of all files of a bag, and leave out those that cannot be read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from yolox_trt_ros.bags.definitions import Definitions
from yolox_trt_ros.bags.metadata import Metadata, read_qos
from yolox_trt_ros.bags.names import full_name, is_topic, is_type, plain
from yolox_trt_ros.bags.packing import DamageError
from yolox_trt_ros.bags.rosbags_library import interfaces
from yolox_trt_ros.bags.storage import FileTopic, Storage, Warn

READ = ('cdr', 'ros1')
"""How messages may be written."""


@dataclass(frozen=True, slots=True)
class Topic:
    """One recorded topic.

    Attributes:
        name: as recorded.
        type: such as ``sensor_msgs/msg/Image``.
        count: recorded messages, as far as the bag says or is whole.
        qos: what its publishers offered; empty where the bag does not say.
        digest: hash of its definition (REP 2016), or an empty string.
    """

    name: str
    type: str
    count: int
    qos: tuple[interfaces.Qos, ...]
    digest: str


class TopicTable:
    """The topics of a bag's files.

    Args:
        files: open.
        metadata: what metadata.yaml says; it decides on quality of service alone.
        definitions: takes the definitions in.
        warn: called with each topic that is left out, and why.

    Attributes:
        topics: those that can be read, by name.
        by_file: for each file, the number of a topic in it to the topic's name and whether its
            messages are those of ROS 1.
        left_out: a sentence for each topic that cannot be read.
    """

    def __init__(
        self,
        files: Sequence[Storage],
        metadata: Metadata | None,
        definitions: Definitions,
        warn: Warn,
    ) -> None:
        self._warn, self._metadata = warn, metadata
        self.left_out: list[str] = []
        self.topics: dict[str, Topic] = {}
        self.by_file: list[dict[int, tuple[str, bool]]] = []
        found: dict[str, list[tuple[int, FileTopic]]] = {}
        for number, file in enumerate(files):
            self.by_file.append({})
            for topic in file.contents.topics.values():
                if self._usable(topic):
                    found.setdefault(topic.name, []).append((number, topic))
        for name in sorted(found):
            self._add(name, found[name], definitions)
        for sentence in self.left_out:
            warn(sentence)

    def _usable(self, topic: FileTopic) -> bool:
        if not is_topic(topic.name):
            why = 'its name is not a topic name'
        elif topic.encoding not in READ:
            why = (
                f'its messages are {plain(topic.encoding) or "of no encoding"} '
                f'({plain(topic.type)}); those of ROS, cdr and ros1, are read'
            )
        elif not is_type(topic.type):
            why = f'"{plain(topic.type)}" is not a ROS type'
        else:
            return True
        self.left_out.append(f'{plain(topic.name)} ({topic.count} messages) is left out: {why}')
        return False

    def _add(self, name: str, parts: list[tuple[int, FileTopic]], definitions: Definitions) -> None:
        by_type: Counter[str] = Counter()
        for _, topic in parts:
            by_type[full_name(topic.type)] += topic.count
        # Of several types, that of most messages.
        kind = max(by_type, key=lambda kind: by_type[kind])
        for other in by_type.keys() - {kind}:
            self.left_out.append(
                f'{name} was recorded as {kind} and as {other}: {by_type[other]} messages of the '
                'second are left out'
            )
        parts = [(number, topic) for number, topic in parts if full_name(topic.type) == kind]
        for number, topic in parts:
            ros1 = topic.encoding == 'ros1'
            self.by_file[number][topic.id] = name, ros1
            if topic.definition and not definitions.give(kind, topic.definition, ros1):
                self._warn(f'{kind} has several definitions; the first is used for all messages')
        digest = next((topic.digest for _, topic in parts if topic.digest), '')
        qos = self._qos(name, kind, [topic for _, topic in parts])
        self.topics[name] = Topic(name, kind, by_type[kind], qos, digest)

    def _qos(self, name: str, kind: str, parts: list[FileTopic]) -> tuple[interfaces.Qos, ...]:
        """Return what publishers offered: as metadata.yaml says, which people edit, or the files.

        What cannot be read is reported, and counts as not said.
        """
        said, offered = self._metadata.topics.get(name, ('', None)) if self._metadata else ('', '')
        offers = [offered] if offered and full_name(said) == kind else [t.qos for t in parts]
        found: dict[interfaces.Qos, None] = {}
        for offer in offers:
            try:
                found |= dict.fromkeys(read_qos(offer))
            except DamageError as error:
                self._warn(f'{name}: quality of service is not read: {error}')
        return tuple(found)
