"""Choose the recorded topics to play, their names and their QoS."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rclpy.exceptions import NameValidationException
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

from yolox_trt_ros.bags.definitions import Definitions
from yolox_trt_ros.bags.reader import Bag, Topic, listed
from yolox_trt_ros.bags.selection import selected
from yolox_trt_ros.core.config import CameraConfig, Config
from yolox_trt_ros.core.errors import BagError, MissingDependencyError, did_you_mean
from yolox_trt_ros.core.topics import BESIDE_IMAGES, RESULTS, absolute
from yolox_trt_ros.core.transports import TRANSPORTS
from yolox_trt_ros.ros.message_types import message_class
from yolox_trt_ros.ros.output.serialized_publisher import SerializedPublisher

NEVER = ('/rosout', '/parameter_events')
"""What the nodes of today say themselves."""
CLOCK = '/clock'
LEAST_DEPTH, MOST_DEPTH = 10, 1000
"""Messages in the queue of a publisher; middlewares reserve memory by it. Those of a latched topic
wait for late listeners; there may be many publishers of it."""


@dataclass(frozen=True, slots=True)
class Played:
    """One recorded topic on its way out.

    Attributes:
        recorded: as the bag has it.
        name: what it is published as.
        camera: whose images these are; empty for anything else.
    """

    recorded: Topic
    name: str
    camera: str = ''


def choose_topics(
    bag: Bag,
    topics: Sequence[str] = (),
    remap: Mapping[str, str] | None = None,
    *,
    config: Config | None = None,
    detector: str = '/detector',
    clock: bool = False,
) -> list[Played]:
    """Return what to play.

    Args:
        bag: the recording.
        topics: only these, by recorded name or pattern; empty: all that make sense.
        remap: recorded names to others.
        config: a vehicle, of which only the cameras' topics are played.
        detector: fully qualified name of the node that receives them.
        clock: whether the player publishes ``/clock`` itself.

    Raises:
        BagError: a topic that was asked for is not there, or is of another type; the message lists
            what is there.
    """
    remap = remap or {}
    bag.require([*remap])
    topics = selected(bag, topics)
    chosen = [bag.topics[name] for name in topics or bag.topics]
    named = {remap.get(t.name, t.name): t for t in chosen}
    left_out = {*(() if topics else NEVER), *((CLOCK,) if clock else ())}
    if config is None:
        return [Played(t, name) for name, t in named.items() if name not in left_out]
    images = {absolute(c.image_topic, detector): c for c in config.cameras}
    _check_images(bag, named, images)
    beside = {
        absolute(c.sibling_topic(s), detector) for c in images.values() for s in BESIDE_IMAGES
    }
    played = [Played(named[name], name, camera.name) for name, camera in images.items()]
    more = set(topics) | beside - images.keys()
    return played + [
        Played(t, name)
        for name, t in named.items()
        if name not in images and name not in left_out and (t.name in more or name in more)
    ]


def results_in(bag: Bag) -> set[str]:
    """Return the topics of a bag that a detector publishes: results, overlays, diagnostics."""
    # Masks are images, as a camera's are; they are known by their detector's name.
    types = {r.type for r in RESULTS.values()} - {t.type_name for t in TRANSPORTS.values()}
    detectors = tuple(f'{name.rpartition("/")[0]}/' for name in bag.of_type(RESULTS['status'].type))
    return {
        topic.name
        for topic in bag.topics.values()
        if topic.type in types or topic.name.startswith(detectors)
    }


def _check_images(bag: Bag, named: Mapping[str, Topic], images: Mapping[str, CameraConfig]) -> None:
    there = listed([f'{name} ({t.type})' for name, t in named.items()])
    for name, camera in images.items():
        wanted = TRANSPORTS[camera.transport].type_name
        if name not in named:
            raise BagError(
                f'{bag.path}: has no images of camera {camera.name}, topic {name}'
                f'{_near(name, wanted, named)}; it has {there}. Rename one '
                f'(--remap RECORDED:={name}), or set cameras.{camera.name}.topic'
            )
        if named[name].type != wanted:
            raise BagError(
                f'{bag.path}: {name} is {named[name].type}, camera {camera.name} with transport '
                f'{camera.transport} needs {wanted}; the bag has {there}'
            )


def _near(name: str, wanted: str, named: Mapping[str, Topic]) -> str:
    """Return the topic of the wanted type that comes nearest, as a question; perhaps ''."""
    near = did_you_mean(name, [n for n, topic in named.items() if topic.type == wanted])
    return near if 'did you mean' in near else ''


def recorded_qos(topic: Topic, reliability: str = '') -> QoSProfile:
    """Return the QoS that serves every subscriber which the recorded publishers would have served.

    Args:
        topic: with what its publishers offered; nothing is known: reliable.
        reliability: overrides what was recorded.
    """
    offered = [
        {name: getattr(getattr(q, name), 'name', '') for name in _POLICIES} for q in topic.qos
    ]
    best_effort = bool(offered) and all(q['reliability'] == 'BEST_EFFORT' for q in offered)
    chosen = reliability or ('best_effort' if best_effort else 'reliable')
    latched = any(q['durability'] == 'TRANSIENT_LOCAL' for q in offered)
    depths = [q.depth for q in topic.qos]
    keep_all = any(q['history'] == 'KEEP_ALL' for q in offered)
    return QoSProfile(
        history=HistoryPolicy.KEEP_ALL if keep_all else HistoryPolicy.KEEP_LAST,
        depth=min(MOST_DEPTH, max([LEAST_DEPTH, topic.count if latched else 0, *depths])),
        reliability=ReliabilityPolicy[chosen.upper()],
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


_POLICIES = ('reliability', 'durability', 'history')


def other_definitions(bag: Bag, msgtypes: Iterable[str]) -> list[str]:
    """Return the types that the bag defines otherwise than the installed packages do.

    Their messages go out unparsed, so that subscribers would read nonsense without noticing.
    """
    here, found = Definitions(), []
    for msgtype in sorted(set(msgtypes)):
        try:
            if bag.definitions.text_and_hash(msgtype)[1] != here.text_and_hash(msgtype)[1]:
                found.append(msgtype)
        except BagError:  # known to one of the two only: nothing to compare
            continue
    return found


def _publisher(node: Node, topic: Played, reliability: str) -> Publisher[Any]:
    kind = message_class(topic.recorded.type)
    qos = recorded_qos(topic.recorded, reliability)
    try:
        return node.create_publisher(kind, topic.name, qos)
    except NameValidationException as error:
        words = ' '.join(str(error).split())
        raise BagError(f'{words}; --remap gives it another name') from error


def open_publishers(
    node: Node, played: Sequence[Played], reliability: str, strict: bool
) -> tuple[dict[str, SerializedPublisher], list[str]]:
    """Return a publisher per recorded topic, and a sentence for each topic that is left out.

    Args:
        node: owner of the publishers.
        played: what to publish.
        reliability: overrides what was recorded; empty: as recorded.
        strict: every topic was asked for by name.

    Raises:
        MissingDependencyError: a type is not installed, and ``strict``.
        BagError: no topic is left.
    """
    publishers: dict[str, SerializedPublisher] = {}
    left_out: list[str] = []
    for topic in played:
        try:
            publisher = _publisher(node, topic, reliability)
        except (MissingDependencyError, BagError) as error:
            if strict or topic.camera:
                raise
            left_out.append(f'{topic.recorded.name} is left out: {error}')
            continue
        publishers[topic.recorded.name] = SerializedPublisher(publisher)
    if not publishers:
        raise BagError('; '.join(['no topic is left to play', *left_out]))
    return publishers, left_out
