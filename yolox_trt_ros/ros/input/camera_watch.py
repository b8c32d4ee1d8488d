"""Watch a camera's topic, publishers and clock for problems."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping

from rclpy.node import Node
from rclpy.qos import ReliabilityPolicy

from yolox_trt_ros.core.config import CameraConfig, Config
from yolox_trt_ros.core.errors import did_you_mean
from yolox_trt_ros.core.printing import one_line
from yolox_trt_ros.core.transports import TRANSPORT_OF_TYPE, TRANSPORTS
from yolox_trt_ros.ros.counted_log import CountedLog
from yolox_trt_ros.ros.input.intake import IngestNotes
from yolox_trt_ros.ros.input.publisher_watch import UNKNOWN, PublisherWatch
from yolox_trt_ros.telemetry.health import Level
from yolox_trt_ros.telemetry.report import CameraReport, PipelineReport
from yolox_trt_ros.telemetry.stamps import stamp_problem

_NUMBER = re.compile(r'\d+')


class CameraWatch:
    """Keeps each camera's notes up to date: why it is silent, and what to warn of.

    What ends is gone from the notes at the next look. A kind of problem is logged when it comes up
    for the first, tenth, hundredth … time.

    Args:
        node: the subscriber; its clock, name and remappings hold.
        config: the cameras.
        warn: logs a problem.
    """

    def __init__(self, node: Node, config: Config, warn: Callable[[str], None]) -> None:
        self._node = node
        self._cameras = config.cameras
        self._stamps_are_live = not config.lockstep
        self._log = CountedLog(warn)
        self._publishers = PublisherWatch(node)
        self._present: dict[str, frozenset[str]] = {}

    def look(self, report: PipelineReport, notes: Mapping[str, IngestNotes]) -> None:
        """Look at every camera; called once a second."""
        for camera, now in zip(self._cameras, report.cameras, strict=True):
            about = notes[camera.name]
            about.topic = resolved(self._node, camera.image_topic)
            stale = now.health.level is Level.STALE
            about.silence = why_silent(self._node, camera) if stale else ''
            self._publishers.look(camera, about)
            warnings = [about.publisher, self._crowd(camera)]
            if not stale and self._stamps_are_live:
                warnings.append(self._stamp(report.now_ns, now, about))
            about.warnings = tuple(filter(None, warnings))
            self._log_new(camera.name, (about.silence, *about.warnings))

    def _crowd(self, camera: CameraConfig) -> str:
        """Return who publishes the camera's topic, if more than one does."""
        wanted = TRANSPORTS[camera.transport].type_name
        found = [
            p
            for p in self._node.get_publishers_info_by_topic(camera.image_topic)
            if p.topic_type == wanted
        ]
        if len(found) < 2:
            return ''
        names = sorted(
            'unknown'
            if p.node_name == UNKNOWN
            else one_line(f'{p.node_namespace.rstrip("/")}/{p.node_name}')
            for p in found
        )
        return (
            f'{len(found)} publishers on {resolved(self._node, camera.image_topic)}, expected one: '
            f'{", ".join(names)}'
        )

    def _stamp(self, now_ns: int, report: CameraReport, notes: IngestNotes) -> str:
        received_ns = report.snapshot.last_received_ns
        if notes.last_stamp_ns is None or received_ns is None:
            return ''
        since_ns = now_ns - received_ns
        clock_ns = self._node.get_clock().now().nanoseconds
        return stamp_problem(
            notes.last_stamp_ns,
            max(0, clock_ns - since_ns),
            sim_time=bool(self._node.get_parameter('use_sim_time').value),
            uptime_ns=received_ns,
            system_ns=time.time_ns() - since_ns,
        )

    def _log_new(self, camera: str, problems: tuple[str, ...]) -> None:
        kinds = {_NUMBER.sub('#', problem): problem for problem in problems if problem}
        before = self._present.get(camera, frozenset())
        self._present[camera] = frozenset(kinds)
        for kind, problem in kinds.items():
            if kind not in before:
                self._log.log(camera, problem)


def resolved(node: Node, topic: str) -> str:
    """Return a topic's full name: the node's namespace and remappings applied."""
    return str(node.resolve_topic_name(topic))


def why_silent(node: Node, camera: CameraConfig) -> str:
    """Return why nothing can arrive from a camera, or '' if the graph knows no reason.

    Args:
        node: the subscriber; its remappings hold.
        camera: topic, transport and reliability that were asked for.
    """
    topic, wanted = resolved(node, camera.image_topic), TRANSPORTS[camera.transport].type_name
    publishers = node.get_publishers_info_by_topic(camera.image_topic)
    if not publishers:
        return f'nobody publishes {topic}{_near(node, topic, wanted)}'
    types = {publisher.topic_type for publisher in publishers}
    if wanted not in types:
        return (
            f'{topic} is published as {", ".join(map(one_line, sorted(types)))}, expected '
            f'{wanted}: see cameras.{camera.name}.topic and transport'
        )
    weak = ReliabilityPolicy.BEST_EFFORT
    if camera.reliability == 'reliable' and all(
        publisher.qos_profile.reliability == weak for publisher in publishers
    ):
        return (
            f'{topic} is published best effort, and cameras.{camera.name}.reliability asks for '
            'reliable'
        )
    return ''


def _near(node: Node, topic: str, wanted: str) -> str:
    """Return the image topic that may be meant, of the camera's own transport if there is one."""
    topics = node.get_topic_names_and_types()
    for kind in (wanted, *(t for t in TRANSPORT_OF_TYPE if t != wanted)):
        published = [
            name
            for name, types in topics
            if kind in types and node.get_publishers_info_by_topic(name)
        ]
        near = did_you_mean(topic, published)
        if near.startswith(' —'):
            return near if kind == wanted else f'{near} (transport: {TRANSPORT_OF_TYPE[kind]})'
    return ''
