"""Recorded drives as tools read them: results whose types and bytes are not what they seem."""

from __future__ import annotations

import logging
import random
import sys
import tempfile
from functools import cache, partial
from pathlib import Path
from typing import Any

import cv2
from harness import Target
from mutation import TEXTS, damaged
from rclpy.serialization import serialize_message

sys.path.append(str(Path(__file__).resolve().parents[1] / 'bags'))
sys.path.append(str(Path(__file__).resolve().parents[1] / 'report'))

import mcap_files as mcap
from drive import T0, drive

from yolox_trt_ros.bags.definitions import Definitions
from yolox_trt_ros.bags.limits import MIB, Limits
from yolox_trt_ros.bags.reader import Bag
from yolox_trt_ros.core.errors import BagError, ConfigError
from yolox_trt_ros.evaluation.bag_results import (
    find_topics,
    gather_bag,
    judge_bag,
    labels_in,
    samples,
)
from yolox_trt_ros.report.findings import figures, findings
from yolox_trt_ros.ros.replay.bag_cameras import cameras_in
from yolox_trt_ros.tools.parameters import camera_names

LIMITS = Limits(memory_bytes=64 * MIB, disk_bytes=64 * MIB, seconds=20.0)
TIMES = (0, 1, T0, T0 + 10**9, 10**18, 2**62, 2**63 - 1, 2**63, 2**64 - 1)
CHANGES = (
    ('float64', 'string'), ('float64', 'int64'), ('string class_id', 'int64 class_id'),
    ('string', 'float64'), ('uint32', 'int8'), ('int64', 'float64'), ('uint16', 'int64'),
    ('detections', 'objects'), ('results', 'hypotheses'), ('header', 'head'), ('stamp', 'when'),
    ('class_map', 'classes'), ('[]', ''), ('[]', '[3]'), ('int32 sec', 'string sec'),
    ('string camera', 'string[] camera'), ('uint8', 'float32'), ('size_x', 'size'),
)  # fmt: skip
Recorded = tuple[str, str, int, bytes]


@cache
def sound() -> tuple[list[Recorded], dict[str, str]]:
    """Return messages (topic, type, time, bytes) of a short drive, and definitions by type."""
    messages, definitions, known = [], {}, Definitions()
    for t_ns, topic, message in [row for row in drive() if row[0] < T0 + 10**9]:
        kind = type(message)
        name = f'{kind.__module__.split(".")[0]}/msg/{kind.__name__}'
        messages.append((topic, name, t_ns, bytes(serialize_message(message))))
        if name not in definitions:
            definitions[name] = known.text_and_hash(name)[0]
    return messages, definitions


def make_drive(source: random.Random) -> bytes:
    """Return an MCAP of a few messages with other definitions, bytes, times, names or types."""
    messages, texts = sound()
    texts, numbers = dict(texts), {name: i for i, name in enumerate(texts, 1)}
    if source.random() < 0.6:
        name = source.choice(list(texts))
        for old, new in source.sample(CHANGES, source.choice((1, 1, 3))):
            texts[name] = texts[name].replace(old, new, source.choice((1, 99)))
    inside = b''.join(
        mcap.schema(numbers[name], name, 'ros2msg', text) for name, text in texts.items()
    )
    topics = list(dict.fromkeys((topic, name) for topic, name, _, _ in messages))
    for i, (topic, name) in enumerate(topics, 1):
        if source.random() < 0.05:
            topic = source.choice(
                (f'/detector/{source.choice(TEXTS[:9])}/detections', '/a/latency')
            )
            topic = topic.encode('utf-8', 'replace').decode()
        if source.random() < 0.05:
            name = source.choice(list(texts))
        inside += mcap.channel(i, numbers[name], topic)
    labels = messages[: source.random() < 0.9]  # without which there is nothing to judge
    for topic, name, t_ns, data in labels + source.sample(messages, min(len(messages), 24)):
        if source.random() < 0.2:
            data = damaged(data, source)
        if source.random() < 0.05:
            t_ns = source.choice(TIMES)
        inside += mcap.message(topics.index((topic, name)) + 1, t_ns, data)
    return mcap.header() + mcap.chunk(inside, T0, T0 + 10**9, '', None, 0) + mcap.end()


def read_drive(content: bytes) -> None:
    """Do with a bag what report, evaluate and parameters do."""
    memory = '/dev/shm' if Path('/dev/shm').is_dir() else None
    with tempfile.NamedTemporaryFile(suffix='.mcap', dir=memory) as file:
        file.write(content)
        file.flush()
        with Bag(Path(file.name), LIMITS) as bag:
            for attempt in (partial(report, bag), partial(vehicle, bag)):
                try:
                    attempt()
                except (BagError, ConfigError) as error:
                    assert str(error).replace('\n', '').isprintable(), 'control characters'


def report(bag: Any) -> None:
    """Gather what a report of a bag is made of."""
    topics = find_topics(bag, None, '', '')
    try:
        labels = labels_in(bag, topics)
    except ConfigError:
        labels = ('car', 'bus')
    recording = gather_bag(bag, topics, None, labels).recording('a bag')
    findings(recording)
    figures(recording)
    judge = judge_bag(bag, topics, labels, ('car', 'bus'))
    samples(bag, None, judge)
    judge.quality()


def vehicle(bag: Any) -> None:
    """Look for cameras and give them names."""
    found = cameras_in(bag)
    list(camera_names([camera.topic.name for camera in found.taken]))


def quiet() -> None:
    """Let warnings go nowhere: there are as many as inputs."""
    logging.getLogger('yolox_trt_ros').setLevel(logging.CRITICAL)
    logging.getLogger('yolox_trt_ros.bags').setLevel(logging.CRITICAL)
    cv2.setNumThreads(0)


TARGETS = [
    Target('bag_tools', make_drive, read_drive, (BagError,), 60.0, 2048, quiet, share=0.0005)
]
