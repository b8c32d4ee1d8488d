"""What templates write is what ROS reads, and byte for byte what rosidl and rosbags write."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import rclpy
from cdr_oracle import message_store, padding, same_bytes
from edge_rig import DOMAIN
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.serialization import deserialize_message, serialize_message
from std_msgs.msg import Header
from vision_msgs.msg import Detection2DArray

from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.topics import RESULTS
from yolox_trt_ros.core.trace import FrameTrace
from yolox_trt_ros.msg import CameraLatency
from yolox_trt_ros.ros.native import load_native
from yolox_trt_ros.ros.output import cdr_template, cdr_templates
from yolox_trt_ros.ros.output.cdr_templates import (
    FRAME_IDS,
    SHAPES,
    FoundWriter,
    TemplateError,
    TraceWriter,
    check,
)
from yolox_trt_ros.ros.output.messages import LATENCY, detection_array, detections_message
from yolox_trt_ros.ros.output.publishers import TemplateOutput

CLASS_IDS = ['', '0', 'car', 'trück', 'a' * 37, 'traffic light']
DETECTIONS = detection_array(CLASS_IDS)

names = st.text(st.characters(exclude_characters='\0', exclude_categories=['Cs']), max_size=20)
stamps = st.integers(-(2**31) * 10**9, 2**31 * 10**9 - 1)
floats = st.floats(width=32, allow_nan=False, allow_infinity=False)


def frame(stamp_ns: int, frame_id: str) -> Frame:
    return Frame('c', 0, stamp_ns, 0, frame_id, 'mono8', 1, 1, 1, np.zeros(1, np.uint8))


frames = st.builds(frame, stamps, names)


@st.composite
def detections(draw: st.DrawFn) -> Detections:
    n = draw(st.integers(0, 12))
    return Detections(
        draw(arrays.arrays(np.float32, (n, 4), elements=floats)),
        draw(arrays.arrays(np.float32, n, elements=floats)),
        draw(arrays.arrays(np.int32, n, elements=st.integers(0, len(CLASS_IDS) - 1))),
    )


@pytest.fixture(scope='module')
def rosbags() -> Any:
    """Return a serialiser that shares nothing with ROS or with the templates."""
    return message_store('vision_msgs', 'yolox_trt_ros')


@settings(max_examples=150, deadline=None)
@given(messages=st.lists(st.tuples(frames, detections()), min_size=1, max_size=4))
def test_detections(rosbags: Any, messages: list[tuple[Frame, Detections]]) -> None:
    writer = FoundWriter(DETECTIONS)
    for image, found in messages:
        expected = detections_message(image, found, CLASS_IDS)
        written = bytes(writer.write(image, found))
        assert deserialize_message(written, Detection2DArray) == expected
        same_bytes(rosbags, written, expected)


@settings(max_examples=150, deadline=None)
@given(
    image=frames,
    camera=names,
    lane=names,
    counts=st.tuples(st.integers(0, 2**16 - 1), st.integers(0, 2**32 - 1)),
    times=st.lists(st.integers(0, 2**62), min_size=8, max_size=8),
    now_ns=st.integers(0, 2**62),
)
def test_latency(
    rosbags: Any,
    image: Frame,
    camera: str,
    lane: str,
    counts: tuple[int, int],
    times: list[int],
    now_ns: int,
) -> None:
    writer = TraceWriter(LATENCY)
    for i in range(2):  # as a new template, and as one that is used again
        batch_size, drops = counts[0] * i, counts[1] * i
        trace = FrameTrace(camera, 1, lane, batch_size, drops, *times)
        expected = LATENCY.build(image, trace, now_ns + i)
        written = bytes(writer.write(image, trace, now_ns + i))
        assert deserialize_message(written, CameraLatency) == expected
        same_bytes(rosbags, written, expected)


@pytest.mark.ros
def test_results_are_published_out_of_a_buffer_that_is_used_again() -> None:
    context = Context()
    rclpy.init(context=context, domain_id=DOMAIN)
    node = Node('results', context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    output = TemplateOutput(node, RESULTS['detections'].type, '~/a/detections', DETECTIONS)
    traces = TemplateOutput(node, RESULTS['latency'].type, '~/a/latency', LATENCY)
    output.publish(frame(0, ''), Detections.empty())  # nobody listens: nothing happens
    heard: dict[type, list[bytes]] = {Detection2DArray: [], CameraLatency: []}
    for kind, name in ((Detection2DArray, 'detections'), (CameraLatency, 'latency')):
        node.create_subscription(kind, f'~/a/{name}', heard[kind].append, 10, raw=True)
    expected: dict[type, list[Any]] = {Detection2DArray: [], CameraLatency: []}
    random = np.random.default_rng(0)
    try:
        wait_until(executor, lambda: output.heard and traces.heard)
        for n in (3, 200, 0, 7):
            image = frame(n, 'f' * n)
            found = Detections(
                random.random((n, 4), np.float32),
                random.random(n, np.float32),
                random.integers(0, len(CLASS_IDS), n).astype(np.int32),
            )
            trace = FrameTrace('a', n, 'gpu', 1, 0, *range(n, n + 8))
            output.publish(image, found)
            traces.publish(image, trace, n)
            expected[Detection2DArray].append(detections_message(image, found, CLASS_IDS))
            expected[CameraLatency].append(LATENCY.build(image, trace, n))
        wait_until(executor, lambda: all(len(some) == 4 for some in heard.values()))
        for kind, messages in expected.items():
            assert [deserialize_message(cdr, kind) for cdr in heard[kind]] == messages
        with pytest.raises(RuntimeError, match='does not tell who listens'):
            load_native().wanted(0)
        with pytest.raises(RuntimeError, match='refused a message'):
            load_native().publish(0, b'1234')
        output.close()
        with pytest.raises(RuntimeError, match='does not tell who listens'):
            output.publish(image, found)  # as a lane that was left behind does
    finally:
        output.close()
        traces.close()
        executor.shutdown()
        node.destroy_node()
        rclpy.shutdown(context=context)


def wait_until(executor: SingleThreadedExecutor, done: Callable[[], Any]) -> None:
    end = time.monotonic() + 20
    while not done():
        assert time.monotonic() < end
        executor.spin_once(timeout_sec=0.02)


def test_strings_end_where_those_of_ros_end() -> None:
    image = frame(1, 'a\0b')
    written = bytes(FoundWriter(DETECTIONS).write(image, Detections.empty()))
    message = deserialize_message(written, Detection2DArray)
    theirs = serialize_message(detections_message(image, Detections.empty(), CLASS_IDS))
    assert message == deserialize_message(theirs, Detection2DArray)


def test_many_detections_make_room_for_themselves(rosbags: Any) -> None:
    writer = FoundWriter(DETECTIONS)
    random = np.random.default_rng(0)
    for n in (1, 2000, 3):
        found = Detections(
            random.random((n, 4), np.float32),
            random.random(n, np.float32),
            random.integers(0, len(CLASS_IDS), n).astype(np.int32),
        )
        image = frame(n, 'optical')
        written = bytes(writer.write(image, found))
        expected = detections_message(image, found, CLASS_IDS)
        same_bytes(rosbags, written, expected)
        assert any(padding(rosbags, 'vision_msgs/msg/Detection2DArray', written))


def test_a_camera_that_changes_lane_or_frame_id_keeps_its_templates(
    rosbags: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    class Counted(cdr_templates.Template):
        def __init__(self, message: Any, *more: Any, **named: Any) -> None:
            made.append(type(message).__name__)
            super().__init__(message, *more, **named)

    monkeypatch.setattr(cdr_templates, 'Template', Counted)
    detections, latency = FoundWriter(DETECTIONS), TraceWriter(LATENCY)
    box = Detections(np.ones((1, 4), np.float32), np.ones(1, np.float32), np.zeros(1, np.int32))
    for number in range(30):
        image = frame(number, 'left' if number % 2 else 'right')
        trace = FrameTrace('c', number, ('gpu', 'dla0', 'dla1')[number % 3], 1, 0, *range(8))
        expected = LATENCY.build(image, trace, 9), detections_message(image, box, CLASS_IDS)
        same_bytes(rosbags, bytes(latency.write(image, trace, 9)), expected[0])
        same_bytes(rosbags, bytes(detections.write(image, box)), expected[1])
    assert made.count('CameraLatency') == 6
    assert made.count('Detection2DArray') == made.count('Detection2D') == 2


def test_templates_are_given_up_when_there_are_too_many(rosbags: Any) -> None:
    detections, latency = FoundWriter(DETECTIONS), TraceWriter(LATENCY)
    for number in (*range(3 * SHAPES), 0, 1):
        image = frame(number, f'frame {number}')
        trace = FrameTrace('c', number, 'gpu', 1, 0, *range(8))
        written = bytes(latency.write(image, trace, 9))
        same_bytes(rosbags, written, LATENCY.build(image, trace, 9))
        found = Detections.empty()
        expected = detections_message(image, found, CLASS_IDS)
        same_bytes(rosbags, bytes(detections.write(image, found)), expected)
    assert latency._of_shape.cache_info().currsize == SHAPES
    assert detections._of_frame_id.cache_info().currsize == FRAME_IDS


def test_a_new_frame_id_with_every_image_serialises_nothing_new(
    rosbags: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    detections, latency = FoundWriter(DETECTIONS), TraceWriter(LATENCY)
    random = np.random.default_rng(0)
    classes = np.arange(24, dtype=np.int32) % len(CLASS_IDS)
    found = Detections(random.random((24, 4), np.float32), random.random(24, np.float32), classes)
    trace = FrameTrace('c', 1, 'gpu', 1, 0, *range(8))

    def write(frame_id: str) -> None:
        image = frame(7, frame_id)
        expected = detections_message(image, found, CLASS_IDS)
        same_bytes(rosbags, bytes(detections.write(image, found)), expected)
        written = bytes(latency.write(image, trace, 9))
        same_bytes(rosbags, written, LATENCY.build(image, trace, 9))

    for length in range(8):
        write('f' * length)
    monkeypatch.setattr(cdr_templates.Template, '__init__', None)
    for length in (*range(20), 255, 4000):
        write('é' * (length // 2) + 'x' * (length % 2))
        write('g' * length)


@pytest.mark.parametrize('class_ids', [[], ['0'], CLASS_IDS])
def test_installed_definitions_pass_the_check(class_ids: list[str]) -> None:
    check(detection_array(class_ids))
    check(LATENCY)


def test_check_finds_messages_that_are_laid_out_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(cdr_template._CODES, 'double', 'f')
    with pytest.raises(TemplateError, match='Detection2DArray as this ROS 2 has it'):
        check(DETECTIONS)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'numbers': {'source_img.height': 'height'}}, r"no member 'source_img\.height'"),
        ({'numbers': {'bbox.size_x': 'length'}}, 'no quantity is called "length"'),
        ({'numbers': {'results.0.pose.covariance.0': 'score'}}, 'reads other values'),
        ({'elements': 'header.frame_id'}, 'expected the last member'),
    ],
)
def test_check_finds_what_the_description_of_a_message_has_wrong(
    change: dict[str, Any], message: str
) -> None:
    with pytest.raises(TemplateError, match=message):
        check(replace(DETECTIONS, **change))


def test_members_without_template_are_reported() -> None:
    class Odd(Header):  # type: ignore[misc]
        SLOT_TYPES = ('no such type', 'neither')

    with pytest.raises(TemplateError, match='stamp'):
        cdr_template.Template(Odd())
