"""Record messages of topics as they arrive, with the QoS that their publishers offer."""

from __future__ import annotations

import contextlib
import queue
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rclpy.duration import Duration
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from yolox_trt_ros.bags.rosbags_library import interfaces
from yolox_trt_ros.bags.selection import matches
from yolox_trt_ros.bags.writer import BagWriter
from yolox_trt_ros.core.errors import BagError, MissingDependencyError
from yolox_trt_ros.core.messages import seconds_and_rest
from yolox_trt_ros.ros.message_types import message_class
from yolox_trt_ros.ros.replay.video_topic import Encoded, VideoTopic
from yolox_trt_ros.ros.watcher import Watcher

MOST_WAITING = 512 << 20
"""Bytes that may wait for the disk; what comes beyond is counted as lost."""
DEPTH = 100


@dataclass(frozen=True, slots=True)
class WantedTopic:
    """One topic to record: its name, the name of its type, and the QoS to ask for."""

    name: str
    type_name: str
    qos: QoSProfile | int = DEPTH


class Recorder(Watcher):
    """Takes messages in a thread of its own; :meth:`write_waiting` writes them.

    Args:
        topics: what to subscribe to.
        bag: where the messages go.
        patterns: further topics, by names or patterns; :meth:`look` subscribes to those that are
            there.
        as_video: makes what records a topic as video; None: leave it as it is.

    Attributes:
        bag: where the messages go.
        topics: what is subscribed to.
        counts: messages written by topic.
        written: bytes.
        lost: messages by topic that came faster than the disk takes them.
        left_out: why topics that were asked for are not recorded, by topic.
        videos: topics of images that are recorded as video, by their names.
    """

    def __init__(
        self,
        topics: Sequence[WantedTopic],
        bag: BagWriter,
        patterns: Sequence[str] = (),
        as_video: Callable[[WantedTopic], VideoTopic | None] = lambda topic: None,
    ) -> None:
        super().__init__('recorder')
        self.topics: list[WantedTopic] = []
        self.counts: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()
        self.left_out: dict[str, str] = {}
        self.written = 0
        self.bag = bag
        self._patterns = patterns
        self._as_video = as_video
        self.videos: dict[str, VideoTopic] = {}
        self._waiting: queue.SimpleQueue[tuple[str, int, bytes]] = queue.SimpleQueue()
        self._taken = self._done = 0
        for topic in topics:
            self._subscribe(topic)

    def look(self) -> None:
        """Subscribe to further topics that are there by now."""
        if not self._patterns:
            return
        known = {topic.name for topic in self.topics} | self.left_out.keys()
        for name, types in self.node.get_topic_names_and_types():
            if name not in known and matches(name, self._patterns):
                self._subscribe(WantedTopic(name, types[0], self._fitting_qos(name)))
                self.executor.wake()

    def _fitting_qos(self, topic: str) -> QoSProfile:
        """Return what every publisher of a topic can give: latched and reliable only if all are."""
        offered = [p.qos_profile for p in self.node.get_publishers_info_by_topic(topic)]
        latched = all(q.durability == DurabilityPolicy.TRANSIENT_LOCAL for q in offered)
        reliable = all(q.reliability == ReliabilityPolicy.RELIABLE for q in offered)
        return QoSProfile(
            depth=DEPTH,
            durability=DurabilityPolicy.TRANSIENT_LOCAL
            if offered and latched
            else DurabilityPolicy.VOLATILE,
            reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        )

    def _subscribe(self, topic: WantedTopic) -> None:
        try:
            kind = message_class(topic.type_name)
            self.bag.definitions.text_and_hash(topic.type_name)
        except (MissingDependencyError, BagError) as error:
            self.left_out[topic.name] = str(error)
            return
        self.node.create_subscription(
            kind,
            topic.name,
            lambda message: self._take(topic.name, message),
            topic.qos,
            raw=True,
        )
        self.topics.append(topic)
        if video := self._as_video(topic):
            self.videos[topic.name] = video

    def _take(self, topic: str, message: bytes) -> None:
        if self._taken - self._done > MOST_WAITING:
            self.lost[topic] += 1
            return
        self._taken += len(message)
        self._waiting.put((topic, time.time_ns(), message))

    def write_waiting(self) -> None:
        """Write everything that has come so far."""
        with contextlib.suppress(queue.Empty):
            while True:
                topic, now_ns, message = self._waiting.get_nowait()
                if video := self.videos.get(topic):
                    video.put(now_ns, message)
                else:
                    self._write(topic, now_ns, message)
                    self._done += len(message)
        for topic, video in self.videos.items():
            for packet in video.ready():
                self._write_packet(topic, packet)

    def _write_packet(self, topic: str, packet: Encoded) -> None:
        self._done += packet.bytes_taken
        if packet.cdr:
            self._write(topic, packet.t_ns, packet.cdr)

    def _write(self, topic: str, t_ns: int, message: bytes) -> None:
        if topic not in self.counts:
            self.declare(topic)
        video = self.videos.get(topic)
        self.bag.write(video.topic if video else topic, t_ns, message)
        self.counts[topic] += 1
        self.written += len(message)

    def finish(self) -> None:
        """Write what waits, and note what was asked for and is not there.

        A topic is in the bag also if no message came.
        """
        self.write_waiting()
        for name, video in self.videos.items():
            for packet in video.finish():
                self._write_packet(name, packet)
        for topic in self.topics:
            self.declare(topic.name)
        there = {name for name, _ in self.node.get_topic_names_and_types()}
        self.left_out = {n: why for n, why in self.left_out.items() if n in there}
        names = {topic.name for topic in self.topics} | self.left_out.keys()
        for pattern in self._patterns:
            if not any(matches(name, [pattern]) for name in names):
                self.left_out[pattern] = 'the topic never appeared'

    def declare(self, topic: str) -> None:
        """Make a topic known to the bag, with what its publishers offer now."""
        (type_name,) = (t.type_name for t in self.topics if t.name == topic)
        offered = self.node.get_publishers_info_by_topic(topic)
        profiles = dict.fromkeys(recorded_qos_of(p.qos_profile) for p in offered)
        if video := self.videos.get(topic):
            topic, type_name = video.topic, video.TYPE
        self.bag.add_topic(topic, type_name, tuple(profiles))


def recorded_qos_of(qos: QoSProfile) -> interfaces.Qos:
    """Return a publisher's QoS as a bag has it."""
    return interfaces.Qos(
        interfaces.QosHistory[_name(qos.history, interfaces.QosHistory)],
        qos.depth,
        interfaces.QosReliability[_name(qos.reliability, interfaces.QosReliability)],
        interfaces.QosDurability[_name(qos.durability, interfaces.QosDurability)],
        _time(qos.deadline),
        _time(qos.lifespan),
        interfaces.QosLiveliness[_name(qos.liveliness, interfaces.QosLiveliness)],
        _time(qos.liveliness_lease_duration),
        bool(qos.avoid_ros_namespace_conventions),
    )


def _name(policy: object, known: type) -> str:
    name = str(getattr(policy, 'name', ''))
    return name if name in known.__members__ else 'UNKNOWN'  # type: ignore[attr-defined]


def _time(duration: Duration) -> interfaces.QosTime:
    return interfaces.QosTime(*seconds_and_rest(duration.nanoseconds))
