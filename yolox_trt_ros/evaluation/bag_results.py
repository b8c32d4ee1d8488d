"""Find and read a detector's results, the ground truth and the images in a bag."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from yolox_trt_ros.bags.reader import Bag, Recorded
from yolox_trt_ros.cli.page import sample
from yolox_trt_ros.core.config import Config
from yolox_trt_ros.core.errors import BagError, ConfigError, FrameError
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.messages import list_of, names_of
from yolox_trt_ros.core.topics import absolute
from yolox_trt_ros.core.transports import TRANSPORT_OF_TYPE
from yolox_trt_ros.detect.labels import read_labels as names_in
from yolox_trt_ros.evaluation.judge import Judge
from yolox_trt_ros.report.gather import Gatherer
from yolox_trt_ros.report.recording import Sample
from yolox_trt_ros.ros.input.codecs import Arrival
from yolox_trt_ros.ros.input.readers import MessageReader, new_reader
from yolox_trt_ros.sim.world.bodies import CLASSES

DETECTIONS = 'vision_msgs/msg/Detection2DArray'
LATENCY = 'yolox_trt_ros/msg/CameraLatency'
SEARCHED_NS = 5_000_000_000
"""How far from its stamp an image is looked for in a bag."""


@dataclass(frozen=True, slots=True)
class ResultTopics:
    """Where a bag has what.

    Attributes:
        detector: name of the detector node, such as ``/detector``.
        cameras: names.
        detections, latency, truth: topic by camera; only those that are there.
    """

    detector: str
    cameras: tuple[str, ...]
    detections: dict[str, str]
    latency: dict[str, str]
    truth: dict[str, str]


def find_topics(bag: Bag, config: Config | None, detector: str, truth_topic: str) -> ResultTopics:
    """Return the results of a detector that are in a bag.

    Args:
        bag: the bag.
        config: the vehicle, if it is known; then only its cameras.
        detector: the node's name; empty: the only one in the bag.
        truth_topic: with ``{camera}`` for its name; empty: ``ground_truth`` beside the images.

    Raises:
        BagError: there are none, or of several detectors; the message lists the topics.
    """
    names: dict[str, dict[str, None]] = {}
    strangers: dict[str, None] = {}
    for topic in bag.topics.values():
        base, _, last = topic.name.rpartition('/')
        if (last, topic.type) in (('detections', DETECTIONS), ('latency', LATENCY)):
            node, _, camera = base.rpartition('/')
            if not topic.count or (detector and node != detector):
                continue
            if config is None or camera in {c.name for c in config.cameras}:
                names.setdefault(node, {})[camera] = None
            else:
                strangers[camera] = None
    if len(names) != 1:
        raise BagError(_none_or_many(bag, config, detector, sorted(names), [*strangers]))
    ((node, found),) = names.items()
    order = [c.name for c in config.cameras] if config else []
    cameras = tuple(dict.fromkeys([*(n for n in order if n in found), *found]))
    latency = {c: f'{node}/{c}/latency' for c in cameras}
    detections = {c: f'{node}/{c}/detections' for c in cameras}
    truth = {c: _truth_topic(c, config, truth_topic, node) for c in cameras}
    there = bag.topics
    return ResultTopics(
        node,
        cameras,
        *(
            {c: t for c, t in topics.items() if t in there}
            for topics in (detections, latency, truth)
        ),
    )


def _none_or_many(
    bag: Bag, config: Config | None, detector: str, nodes: list[str], strangers: list[str]
) -> str:
    """Return why a bag's results are not those of one detector."""
    asked = f' of {detector}' if detector else ''
    if nodes:
        what = f'results of {", ".join(nodes)}: choose with --detector'
    elif config and strangers:
        own = ', '.join(c.name for c in config.cameras)
        what = (
            f'no results{asked} of a camera of the vehicle ({own}), but of '
            f'{", ".join(strangers)}: give the vehicle file that it was recorded with'
        )
    else:
        what = (
            f'no results{asked}: expected topics like /detector/front/detections and '
            '/detector/front/latency; record them with the record tool'
        )
    all_topics = ', '.join(f'{t.name} ({t.type})' for t in bag.topics.values())
    return f'{bag.path}: has {what}. It has {all_topics or "nothing"}'


def _truth_topic(camera: str, config: Config | None, pattern: str, detector: str) -> str:
    if pattern:
        return pattern.replace('{camera}', camera)
    for one in config.cameras if config else ():
        if one.name == camera:
            return absolute(one.sibling_topic('ground_truth'), detector)
    return f'/{camera}/ground_truth'


def labels_in(bag: Bag, topics: ResultTopics) -> tuple[str, ...]:
    """Return the class names that the recorded detector published; empty if it did not.

    Raises:
        ConfigError: they are invalid.
    """
    name = f'{topics.detector}/label_info'
    names: dict[int, str] = {}
    for _, info in bag.parsed([name]) if name in bag.topics else ():
        try:
            names |= names_of(info)
        except ConfigError as error:
            raise ConfigError(f'{bag.path}: {name}: {error}: give --labels') from error
    return list_of(names)


def read_labels(file: Path | None) -> tuple[str, ...]:
    """Return the names in a file of labels, see :func:`detect.labels.read_labels`; none without.

    Raises:
        ModelError: the file cannot be read.
    """
    return names_in(file) if file else ()


def judge_bag(
    bag: Bag, topics: ResultTopics, labels: Sequence[str], truth_labels: Sequence[str]
) -> Judge:
    """Return the detections and the ground truth in a bag.

    Args:
        bag: the bag.
        topics: where they are.
        labels: names of the detections' classes; empty: as the recorded detector published them.
        truth_labels: those of the ground truth's; empty: those of the rendered world.

    Raises:
        ConfigError: the classes have no names, or most messages cannot be used.
    """
    judge = Judge(labels or labels_in(bag, topics), truth_labels or CLASSES)
    if not judge.labels:
        raise ConfigError(f'{bag.path}: the detector’s classes have no names: give --labels')
    add = {t: (judge.add_found, c) for c, t in topics.detections.items()}
    add |= {t: (judge.add_truth, c) for c, t in topics.truth.items()}
    for message, parsed in bag.parsed(list(add)):
        take, camera = add[message.topic]
        take(camera, parsed)
    judge.check_usable()
    return judge


def gather_bag(
    bag: Bag, topics: ResultTopics, config: Config | None, labels: Sequence[str]
) -> Gatherer:
    """Return everything a report is made of; labels as for :func:`judge_bag`."""
    gatherer = Gatherer(config, labels or labels_in(bag, topics))
    camera_of = {t: c for c, t in topics.detections.items()}
    status = f'{topics.detector}/status'
    wanted = [*topics.latency.values(), *camera_of, *([status] if status in bag.topics else [])]
    for message, parsed in bag.parsed(wanted):
        if message.topic == status:
            gatherer.add_status(parsed)
        elif message.topic in camera_of:
            gatherer.add_detections(camera_of[message.topic], parsed)
        else:
            gatherer.add_latency(parsed)
    return gatherer


def samples(
    images: Bag, config: Config | None, judge: Judge, topics: Mapping[str, str] | None = None
) -> list[Sample]:
    """Return one image of each camera with its detections, from the middle of the recording.

    Args:
        images: with the images: the bag of the results, or the one that was replayed.
        config: gives the image topics; without it the camera's name has to be part of them.
        judge: the detections.
        topics: recorded image topic by camera, where they are known.
    """
    found, known = [], topics or {}
    order = [c.name for c in config.cameras] if config else []
    for camera in sorted(judge.found, key=(order or list(judge.found)).index):
        topic = known.get(camera) or image_topic(images, camera, config)
        stamps = judge.stamps(camera)
        if topic and stamps:
            seen_at = judge.found[camera]
            middle = stamps[len(stamps) // 3 : len(stamps) // 3 * 2 + 1]
            best = [stamp for _, stamp in sorted((-len(seen_at[s]), s) for s in middle)]
            frame = _frame(images, topic, camera, best)
            if frame is not None:
                seen = seen_at[frame.stamp_ns]
                found.append(sample(camera, frame, seen, judge.labels))
    return found


def image_topic(bag: Bag, camera: str, config: Config | None, detector: str = '/detector') -> str:
    """Return the topic of a camera's images in a bag; empty if there is none."""
    for one in config.cameras if config else ():
        topic = absolute(one.image_topic, detector)
        if one.name == camera and topic in bag.topics:
            return topic
    there = [t.name for t in bag.topics.values() if t.type in TRANSPORT_OF_TYPE]
    return next((name for name in there if camera in name.split('/')), '')


def _frame(images: Bag, topic: str, camera: str, stamps: list[int]) -> Frame | None:
    """Return the image with the first of the stamps that is there once, looking near each."""
    for stamp in stamps[:5]:
        inside = images.start_ns <= stamp <= images.end_ns
        # A replay in the node's own time has stamps of the recording, which may be anywhere.
        near = (stamp - SEARCHED_NS, stamp + SEARCHED_NS) if inside else (None, None)
        read = new_reader(TRANSPORT_OF_TYPE[images.topics[topic].type])
        frames = (_read(read, message, camera) for message in images.messages([topic], *near))
        same = list(islice((f for f in frames if f is not None and f.stamp_ns == stamp), 2))
        if len(same) == 1:  # whose detections those of two images would be, nobody knows
            return same[0]
    return None


def _read(read: MessageReader, message: Recorded, camera: str) -> Frame | None:
    try:
        return read(message.cdr, Arrival(camera, 0, message.t_ns))
    except FrameError:
        return None  # it has no detections either
