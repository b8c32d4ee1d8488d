"""A message of one's own, added as docs/extending.md says: a builder, and a row of each table."""

from __future__ import annotations

import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rclpy
from edge_rig import DOMAIN
from geometry_msgs.msg import Point32, PolygonStamped
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from vision_msgs.msg import Detection2DArray

from yolox_trt_ros.core.config import Config
from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.errors import MissingDependencyError
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.rules import Rules
from yolox_trt_ros.core.topics import RESULTS, ResultTopic
from yolox_trt_ros.ros.native import load_native
from yolox_trt_ros.ros.output import messages
from yolox_trt_ros.ros.output.messages import FoundMessage, header_of
from yolox_trt_ros.ros.output.publishers import ResultPublishers, TypedOutput
from yolox_trt_ros.tools.record import wanted_topics

RULES = Rules.of_all(('car', 'bus'), 0.3)
CONFIG = Config.from_parameters({'camera_names': ['front'], 'lane_names': ['lane']})
IMAGE = Frame('front', 0, 7 * 10**9 + 5, 0, 'optical', 'mono8', 20, 30, 30, np.zeros(600, np.uint8))
FOUND = Detections(
    np.array([[-3, 2, 5.5, 10], [3, 4, 50, 60.25]], np.float32),
    np.array([0.75, 0.3], np.float32),
    np.array([0, 1], np.int32),
)


# -- the file of the message ---------------------------------------------------------------------


def inside(frame: Frame, found: Detections) -> Detections:
    """Return the detections with boxes that end at the image's border."""
    border = np.float32([frame.width, frame.height] * 2)
    return Detections(np.clip(found.xyxy, 0, border), found.score, found.class_id)


def corners_message(frame: Frame, found: Detections) -> PolygonStamped:
    """Return the lower right corner of each box, the score as third coordinate."""
    message = PolygonStamped(header=header_of(frame))
    found = inside(frame, found)
    for (_, _, right, bottom), score in zip(found.xyxy.tolist(), found.score.tolist(), strict=True):
        message.polygon.points.append(Point32(x=right, y=bottom, z=score))
    return message


def corners(_config: Config, rules: Rules) -> FoundMessage:
    numbers = {'x': 'right', 'y': 'bottom', 'z': 'score'}
    return FoundMessage(
        corners_message, 'polygon.points', numbers, len(rules.labels), prepare=inside
    )


# -- its rows ------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def rows(monkeypatch: pytest.MonkeyPatch) -> None:
    topic = ResultTopic('geometry_msgs/msg/PolygonStamped', '/rois/{camera}')
    monkeypatch.setitem(RESULTS, 'corners', topic)
    monkeypatch.setitem(messages.FOUND, 'corners', corners)


# ------------------------------------------------------------------------------------------------


@pytest.mark.ros
def test_it_is_published_from_templates_beside_detections_and_read_by_anybody() -> None:
    context = Context()
    rclpy.init(context=context, domain_id=DOMAIN)
    node = Node('adding', context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    heard: dict[str, list[Any]] = {'corners': [], 'detections': []}
    node.create_subscription(PolygonStamped, '/rois/front', heard['corners'].append, 10)
    topic = '/adding/front/detections'
    node.create_subscription(Detection2DArray, topic, heard['detections'].append, 10)
    try:
        results = ResultPublishers(node, CONFIG, RULES, found=('detections', 'corners'))
        assert results.encoder == 'templates'
        end = time.monotonic() + 20
        while not all(heard.values()) and time.monotonic() < end:
            results.detections(IMAGE, FOUND)
            executor.spin_once(timeout_sec=0.05)
        results.close()
    finally:
        executor.shutdown()
        node.destroy_node()
        rclpy.shutdown(context=context)
    assert heard['corners'][0] == corners_message(IMAGE, FOUND)
    assert [(p.x, p.y) for p in heard['corners'][0].polygon.points] == [(5.5, 10), (30, 20)]
    assert heard['detections'][0].detections[1].bbox.size_y == 56.25


def test_it_is_recorded_with_the_others() -> None:
    wanted = {topic.name: topic.type_name for topic in wanted_topics(CONFIG, '/detector', False)}
    assert wanted['/rois/front'] == 'geometry_msgs/msg/PolygonStamped'
    assert wanted['/detector/front/detections'] == 'vision_msgs/msg/Detection2DArray'


def test_without_its_package_the_error_names_it() -> None:
    absent, node = 'radar_msgs/msg/RadarTracks', None
    with pytest.raises(MissingDependencyError, match='apt install ros-<distro>-radar-msgs'):
        TypedOutput(node, absent, '/rois/front', corners(CONFIG, RULES))  # type: ignore[arg-type]


def test_whole_numbers_are_cut_off_as_python_does_and_end_at_their_limits() -> None:
    values = {'left': -2.75, 'top': 7.99, 'right': -(2.0**60), 'bottom': 2.0**60}
    numbers = [(4 * i, name, 'iI'[i % 2]) for i, name in enumerate(values)]
    writer = load_native().BoxWriter(bytes(4), [], 0, 0)
    writer.learn(0, 4, bytes(16), numbers)
    box = np.array([list(values.values())], np.float32)
    assert writer.write(0, 0, box, np.ones(1, np.float32), np.zeros(1, np.int32)) is None
    lowest, most = -(2**31), 2**32 - 1
    assert struct.unpack('=IiIiI', bytes(writer)) == (1, -2, 7, lowest, most)


def test_recipe_names_what_is_there() -> None:
    recipe = (Path(__file__).resolve().parents[3] / 'docs' / 'extending.md').read_text('utf-8')
    section = recipe.partition('\n## An output message\n')[2].partition('\n## ')[0]
    for name in ('FoundMessage', 'messages.py', 'FOUND', 'topics.py', 'RESULTS', 'prepare'):
        assert name in section
