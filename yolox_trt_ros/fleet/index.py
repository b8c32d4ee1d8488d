"""What is in a bag, as far as its index says: times, cameras, ground truth; no pixel is read."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from yolox_trt_ros.bags.reader import Topic
from yolox_trt_ros.core.config import Config
from yolox_trt_ros.core.errors import YoloxTrtRosError
from yolox_trt_ros.core.topics import BESIDE_IMAGES, absolute
from yolox_trt_ros.core.transports import TRANSPORT_OF_TYPE, TRANSPORTS
from yolox_trt_ros.fleet.find import FoundBag
from yolox_trt_ros.fleet.stored_bag import opened_bag

AT_ONCE = 4
"""Bags that are opened at a time: an object store answers slowly, but many at once."""
DETECTOR = '/detector'
TRUTH = BESIDE_IMAGES['ground_truth']


@dataclass(frozen=True, slots=True)
class CameraTopic:
    """A camera's images in one bag.

    Attributes:
        camera: as the vehicle calls it; without a vehicle, its topic.
        topic: recorded name.
        transport: a key of :data:`core.transports.TRANSPORTS`.
        count: recorded messages.
        truth: topic of its ground truth; empty: there is none.
    """

    camera: str
    topic: str
    transport: str
    count: int
    truth: str = ''


@dataclass(frozen=True, slots=True)
class IndexedBag:
    """A bag and what is in it.

    Attributes:
        found: where it is.
        storage: how it is stored, for people.
        start_ns, end_ns: recording times of the first and of the last message.
        cameras: those of the vehicle that it has images of.
        missing: cameras of the vehicle that it has none of.
        warnings: what is damaged or surprising.
        problem: why nothing of it can run; empty: it can.
    """

    found: FoundBag
    storage: str = ''
    start_ns: int = 0
    end_ns: int = 0
    cameras: tuple[CameraTopic, ...] = ()
    missing: tuple[str, ...] = ()
    warnings: tuple[str, ...] = field(default=())
    problem: str = ''

    @property
    def images(self) -> int:
        """Return how many images of the cameras it has."""
        return sum(camera.count for camera in self.cameras)

    @property
    def seconds(self) -> float:
        """Return its length."""
        return (self.end_ns - self.start_ns) / 1e9


def index_bags(
    found: Sequence[FoundBag], config: Config | None, done: Callable[[], None]
) -> list[IndexedBag]:
    """Return what is in each bag, in their order.

    Args:
        found: the bags.
        config: the vehicle; None: each topic of images is a camera.
        done: called after each bag, from any thread.
    """

    def one(bag: FoundBag) -> IndexedBag:
        try:
            return index_bag(bag, config)
        finally:
            done()

    with ThreadPoolExecutor(AT_ONCE) as threads:
        return list(threads.map(one, found))


def index_bag(found: FoundBag, config: Config | None) -> IndexedBag:
    """Return what is in a bag; what is wrong with it is in ``problem``."""
    warnings: list[str] = []
    try:
        with opened_bag(found.uri, warnings.append) as bag:
            cameras, missing, problems = cameras_of(bag.topics, config)
            count = sum(camera.count for camera in cameras)
            problem = '' if count else '; '.join(problems) or 'has no image of a camera'
            here = partial(_without, path=str(bag.path))
            return IndexedBag(
                found,
                bag.storage,
                bag.start_ns,
                bag.end_ns,
                tuple(cameras),
                tuple(missing),
                tuple(map(here, [*warnings, *(problems if count else ())])),
                problem,
            )
    except YoloxTrtRosError as error:
        return IndexedBag(found, problem=_without(str(error), found.uri), warnings=tuple(warnings))


def _without(sentence: str, path: str) -> str:
    """Return a sentence about a bag without its path, which stands beside it."""
    return sentence.replace(f'{path}: ', '').replace(f'{path}{os.sep}', '')


def cameras_of(
    topics: dict[str, Topic], config: Config | None
) -> tuple[list[CameraTopic], list[str], list[str]]:
    """Return the cameras of a bag, those of the vehicle that it lacks, and what does not fit.

    A camera's images may come by another transport than the vehicle's file says, as many record
    them: then those beside its topic are taken.
    """
    if config is None:
        return [_camera(name, topics[name], topics, None) for name in _images(topics)], [], []
    cameras, missing, problems = [], [], []
    for camera in config.cameras:
        if not camera.enabled:
            continue
        wanted = absolute(camera.image_topic, DETECTOR)
        names = list(_beside(wanted, camera.transport))
        there = [n for n in names if n in topics and topics[n].type in TRANSPORT_OF_TYPE]
        if there:
            best = max(there, key=lambda n: (topics[n].count > 0, n == wanted))
            truth = absolute(camera.sibling_topic('ground_truth'), DETECTOR)
            cameras.append(_camera(camera.name, topics[best], topics, truth))
        else:
            missing.append(camera.name)
            if wanted in topics:
                problems.append(f'{wanted} is {topics[wanted].type}, which carries no images')
    if missing and not cameras and not problems:
        have = ', '.join(_images(topics)) or 'none'
        problems = [f'has no image of {", ".join(missing)}; topics with images: {have}']
    return cameras, missing, problems


def _images(topics: dict[str, Topic]) -> Iterator[str]:
    return (name for name, topic in topics.items() if topic.type in TRANSPORT_OF_TYPE)


def _beside(topic: str, transport: str) -> Iterator[str]:
    """Yield a topic, and what image_transport calls the same images by other transports."""
    yield topic
    base = topic.removesuffix(TRANSPORTS[transport].suffix)
    for other in TRANSPORTS.values():
        if other.name != transport:
            yield base + other.suffix


def _camera(name: str, topic: Topic, topics: dict[str, Topic], truth: str | None) -> CameraTopic:
    if truth is None:
        base = topic.name.removesuffix(TRANSPORTS[TRANSPORT_OF_TYPE[topic.type]].suffix)
        truth = f'{base.rpartition("/")[0]}/ground_truth'
    known = truth in topics and topics[truth].type == TRUTH
    transport = TRANSPORT_OF_TYPE[topic.type]
    return CameraTopic(name, topic.name, transport, topic.count, truth if known else '')
