"""Autoware's message of detections: its bytes, regions and labels, and what reads it there."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import rclpy
from autoware_consumers import FUSION_QOS, Cluster, Region, bytetrack_objects, fuse
from cdr_oracle import message_store, same_bytes
from edge_rig import DOMAIN
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from yolox_trt_ros.bags.names import is_installed
from yolox_trt_ros.core.class_names import AUTOWARE
from yolox_trt_ros.core.config import Config
from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.errors import ConfigError, MissingDependencyError
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.rules import Rules
from yolox_trt_ros.core.topics import RESULTS
from yolox_trt_ros.core.trace import FrameTrace
from yolox_trt_ros.ros.output import objects
from yolox_trt_ros.ros.output.cdr_templates import FoundWriter, check
from yolox_trt_ros.ros.output.messages import FOUND, check_outputs
from yolox_trt_ros.ros.output.objects import objects_message, objects_message_of
from yolox_trt_ros.ros.output.publishers import ResultPublishers

KIND = RESULTS['objects'].type
DEBUG = RESULTS['cyclic_time_ms'].type
needs_messages = pytest.mark.skipif(
    not (is_installed(KIND) and is_installed(DEBUG)), reason='make setup builds the messages'
)
ROIS = '/perception/object_recognition/detection/rois0'
BASE = {'camera_names': ['front'], 'lane_names': ['lane']}
AUTOWARES = {**BASE, 'outputs': ['objects', 'debug_times'], 'cameras.front.objects_topic': ROIS}
IMAGE = Frame('front', 0, 7 * 10**9 + 5, 0, 'optical', 'mono8', 720, 1280, 1280, np.zeros(1, 'u1'))

pixels = st.floats(-5000, 5000, width=32)
frame_ids = st.text(st.characters(exclude_characters='\0', exclude_categories=['Cs']), max_size=9)


@st.composite
def frames(draw: st.DrawFn) -> Frame:
    size = draw(st.integers(1, 3000)), draw(st.integers(1, 4000))
    stamp = draw(st.integers(-(2**31) * 10**9, 2**31 * 10**9 - 1))
    return Frame('front', 0, stamp, 0, draw(frame_ids), 'mono8', *size, 4000, np.zeros(1, np.uint8))


@st.composite
def detections(draw: st.DrawFn, names: tuple[str, ...] = ()) -> Detections:
    n = draw(st.integers(0, 8))
    corners = draw(arrays.arrays(np.float32, (n, 2, 2), elements=pixels))
    scores = draw(arrays.arrays(np.float32, n, elements=st.floats(0, 1, width=32)))
    ids = draw(arrays.arrays(np.int32, n, elements=st.integers(0, len(AUTOWARE) - 1)))
    return Detections(np.sort(corners, 1).reshape(n, 4), scores, ids, names)


@pytest.fixture(scope='module')
def store() -> Any:
    return message_store('autoware_perception_msgs', 'tier4_perception_msgs')


@needs_messages
@settings(max_examples=25)
@given(image=frames(), found=detections())
def test_the_bytes_are_rosidls(store: Any, image: Frame, found: Detections) -> None:
    writer = FoundWriter(objects_message_of(AUTOWARE))
    for labels in (AUTOWARE, AUTOWARE[::-1]):  # as when the vehicle's class map changes
        named = Detections(found.xyxy, found.score, found.class_id, labels)
        expected = objects_message(image, named, AUTOWARE)
        same_bytes(store, bytes(writer.write(image, named)), expected)


@needs_messages
@settings(max_examples=40)
@given(image=frames(), found=detections())
def test_regions_are_those_of_autowares_detector(image: Frame, found: Detections) -> None:
    message = objects_message(image, found, AUTOWARE)
    assert message.header.frame_id == image.frame_id
    last = np.float32([image.width - 1, image.height - 1])
    rows = zip(message.feature_objects, found.xyxy, found.score, found.class_id, strict=True)
    for item, box, score, class_id in rows:
        roi = item.feature.roi
        corner, end = (np.clip(c, np.float32(0), last) for c in (box[:2], box[2:]))
        assert (roi.x_offset, roi.y_offset) == tuple(corner.astype(int))
        assert (roi.width, roi.height) == tuple((end - corner).astype(int))
        assert roi.x_offset + roi.width < image.width and roi.y_offset + roi.height < image.height
        (classification,) = item.object.classification
        assert (classification.label, classification.probability) == (class_id, 1.0)
        assert item.object.existence_probability == score


@needs_messages
def test_templates_pass_their_check() -> None:
    check(objects_message_of(AUTOWARE))


@needs_messages
def test_names_are_autowares_or_refused() -> None:
    config = Config.from_parameters(AUTOWARES)
    labels = ('car', 'motorbike', 'pedestrian', 'kite')
    some = Rules.of_all(labels, 0.3)
    some.scores[3] = math.inf  # left out
    check_outputs(config, some)
    message = FOUND['objects'](config, some)
    one = Detections(np.ones((2, 4), 'f4'), np.ones(2, 'f4'), np.array([1, 2], 'i4'), labels)
    found = message.build(IMAGE, one).feature_objects
    assert [item.object.classification[0].label for item in found] == [5, 7]
    with pytest.raises(ConfigError, match=r'not .*"?kite"?.*: give model\.class_map'):
        check_outputs(config, Rules.of_all(labels, 0.3))


def test_without_the_messages_the_error_says_how_to_get_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(objects, 'OBJECT', 'tier4_absent_msgs/msg/DetectedObjectWithFeature')
    monkeypatch.setitem(
        objects.RESULTS, 'objects', replace(RESULTS['objects'], type='tier4_absent_msgs/msg/A')
    )
    with pytest.raises(MissingDependencyError, match='apt install ros-<distro>-tier4-absent-msgs'):
        check_outputs(Config.from_parameters(AUTOWARES), Rules.of_all(AUTOWARE, 0.3))


@needs_messages
@settings(max_examples=30)
@given(image=frames(), found=detections())
def test_autowares_nodes_can_read_it(image: Frame, found: Detections) -> None:
    message = objects_message(image, found, AUTOWARE)
    for one, class_id in zip(bytetrack_objects(message), found.class_id.tolist(), strict=True):
        assert min(one.x, one.y, one.width, one.height) >= 0 and one.label == class_id
    for item in message.feature_objects:
        roi = item.feature.roi
        region = Region(roi.x_offset, roi.y_offset, roi.width, roi.height)
        assert region.within(image.width, image.height) == region, 'nothing is left to sanitise'


@needs_messages
@pytest.mark.ros
def test_a_vehicle_publishes_what_fusion_and_bytetrack_subscribe_to() -> None:
    from autoware_internal_debug_msgs.msg import Float64Stamped
    from tier4_perception_msgs.msg import DetectedObjectsWithFeature

    config = Config.from_parameters(AUTOWARES)
    boxes = np.float32([[100, 50, 200.5, 150], [-30, 600, 90, 800], [600, 300, 640, 420]])
    scores, class_ids = np.float32([0.9, 0.6, 0.5]), np.int32([1, 7, 0])
    found = Detections(boxes, scores, class_ids, AUTOWARE)
    context = Context()
    rclpy.init(context=context, domain_id=DOMAIN)
    node = Node('detector', context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    heard: dict[str, list[Any]] = {ROIS: []}
    subscribe = node.create_subscription
    subscribe(DetectedObjectsWithFeature, ROIS, heard[ROIS].append, FUSION_QOS)
    for name in ('cyclic_time_ms', 'processing_time_ms', 'pipeline_latency_ms'):
        heard[name] = []
        subscribe(Float64Stamped, f'/detector/front/debug/{name}', heard[name].append, 1)
    try:
        results = ResultPublishers(node, config, Rules.of_all(AUTOWARE, 0.3))
        assert results.encoder == 'templates'
        assert not node.count_publishers('/detector/front/detections'), 'instead of them'
        steps = [n * 1_000_000 for n in (0, 0, 5, 6, 7, 8, 9, 25)]
        end, i = time.monotonic() + 20, 0
        while not all(heard.values()) and time.monotonic() < end:
            results.detections(IMAGE, found)
            at = [step + i * 100_000_000 for step in steps]
            results.latency(IMAGE, FrameTrace('front', 1, 'lane', 1, 0, *at))
            executor.spin_once(timeout_sec=0.02)
            i += 1
        results.close()
    finally:
        executor.shutdown()
        node.destroy_node()
        rclpy.shutdown(context=context)
    message = heard[ROIS][0]
    assert message == objects_message(IMAGE, found, AUTOWARE)
    assert message.header.stamp.sec == 7 and message.header.stamp.nanosec == 5
    assert heard['cyclic_time_ms'][0].data == pytest.approx(100.0)
    assert heard['processing_time_ms'][0].data == 20.0
    assert heard['pipeline_latency_ms'][0].data > 1e9  # the image is of 1970
    clusters = {
        0: Cluster(Region(102, 52, 95, 96)),
        1: Cluster(Region(0, 605, 85, 110)),
        2: Cluster(Region(900, 0, 10, 10)),
    }
    fuse(message, clusters, 1280, 720)
    assert [(c.label, round(c.existence, 2)) for c in clusters.values()] == [
        (1, 0.9), (7, 0.6), (0, 0.0)
    ]  # fmt: skip
    tracked = bytetrack_objects(message)
    assert [(t.x, t.y, t.width, t.height, t.label) for t in tracked] == [
        (100, 50, 100, 100, 1), (0, 600, 90, 119, 7), (600, 300, 40, 120, 0)
    ]  # fmt: skip
