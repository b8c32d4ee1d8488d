"""A real detector node in another process, fed through the middleware."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from lifecycle_msgs.msg import Transition
from matching import differences
from peer import (
    LATCHED,
    Peer,
    compressed_message,
    detector,
    header,
    image_message,
    rows,
    time_of,
)
from pictures import frame_of
from rcl_interfaces.srv import DescribeParameters
from rig import BAD, SECOND, Rig, check_bad_messages, noise, open_rig
from sensor_msgs.msg import CompressedImage, Image
from tiny_models import LABELS
from vision_msgs.msg import Detection2DArray, LabelInfo, VisionInfo

from yolox_trt_ros.core.config import Config
from yolox_trt_ros.core.encodings import ALIASES, RAW
from yolox_trt_ros.core.trace import STAGES
from yolox_trt_ros.ros.parameters import flat_table

pytestmark = [pytest.mark.ros, pytest.mark.timeout(400)]


@pytest.fixture(scope='module')
def rig(peer: Peer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with open_rig(peer, tmp_path_factory.mktemp('rig'), 'rig') as opened:
        yield opened


@pytest.mark.parametrize(
    ('height', 'width', 'encoding'),
    [(90, 120, 'bgr8'), (64, 96, 'rgb8'), (301, 77, 'bgr8'), (720, 1280, 'bgr8'), (9, 500, 'rgb8')],
)
def test_size_and_encoding_may_change_from_image_to_image(
    rig: Rig, height: int, width: int, encoding: str
) -> None:
    message = image_message(noise(height, height, width), rig.next_stamp(), encoding)
    expected = rig.expected(message)
    assert expected
    assert not differences(rows(rig.answer(message)), expected, 0.999, 1e-4)


@pytest.mark.parametrize('encoding', [*RAW, *ALIASES])
def test_every_encoding(rig: Rig, encoding: str) -> None:
    frame = frame_of(noise(9, 96, 128), ALIASES.get(encoding, encoding), padding=8)
    message = Image(
        header=header(rig.next_stamp()),
        encoding=encoding,
        height=frame.height,
        width=frame.width,
        step=frame.step,
        data=frame.data.tobytes(),
    )
    expected = rig.expected(message)
    assert expected
    assert not differences(rows(rig.answer(message)), expected, 0.999, 1e-4)


def test_compressed(rig: Rig) -> None:
    data = cv2.imencode('.jpg', noise(1))[1].tobytes()
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    stamp = rig.next_stamp()
    answer = rig.answer(compressed_message(data, stamp), rig.packed_found)
    assert not differences(rows(answer), rig.expected(image_message(decoded, stamp)), 0.999, 1e-4)


def test_an_image_with_nothing_in_it_is_answered_too(rig: Rig) -> None:
    blank = np.full((90, 120, 3), 114, np.uint8)
    assert rows(rig.answer(image_message(blank, rig.next_stamp()))) == []


def test_latency_says_where_the_time_went(rig: Rig) -> None:
    message = image_message(noise(2), rig.next_stamp())
    rig.answer(message)
    latency = rig.peer.until(
        lambda: next((m for m in rig.latency if m.header == message.header), None), 'latency'
    )
    stages = [getattr(latency, f'{stage}_ns') for stage in STAGES]
    assert sum(stages) == latency.total_ns
    assert min(stages) >= 0 and latency.infer_ns > 0
    assert (latency.camera, latency.lane, latency.batch_size) == ('front', 'cpu0', 1)
    assert latency.age_ns > SECOND, 'the stamp is years old'


def test_labels_reach_whoever_comes_late(rig: Rig) -> None:
    labels = rig.peer.listen(LabelInfo, f'{rig.node.name}/label_info', LATCHED)
    info = rig.peer.listen(VisionInfo, f'{rig.node.name}/vision_info', LATCHED)
    rig.peer.until(lambda: labels and info, 'labels')
    assert [c.class_name for c in labels[0].class_map] == list(LABELS)
    assert [c.class_id for c in labels[0].class_map] == [0, 1, 2]
    assert labels[0].threshold == pytest.approx(0.3)
    assert 'label_info' in info[0].database_location


def test_every_message_is_accounted_for(rig: Rig) -> None:
    before = rig.camera_status()
    for seed in range(20):
        rig.front.publish(image_message(noise(seed), rig.next_stamp()))
    last = image_message(noise(99), rig.next_stamp())
    rig.answer(last)
    status = rig.camera_status()
    assert status.received == before.received + 21
    assert (status.waiting, status.in_flight) == (0, 0)
    assert status.published == status.received - sum(status.drop_counts)
    assert status.lane == 'cpu0'
    assert list(status.ran_on) == ['cpu0'] and 1 <= status.ran_frames[0] <= status.published
    assert set(status.stages) >= {*STAGES, 'total'}
    assert status.last_stamp == last.header.stamp


def test_bad_messages_are_counted_and_reported_and_the_node_lives(rig: Rig) -> None:
    check_bad_messages(rig, BAD.values())


def test_stamp_and_age_are_those_of_the_newest_result(rig: Rig) -> None:
    data = cv2.imencode('.jpg', noise(1))[1].tobytes()
    good = compressed_message(data, rig.next_stamp())
    before = rig.camera_status('packed')
    rig.answer(good, rig.packed_found)
    rig.packed.publish(compressed_message(data[:-500], rig.next_stamp()))
    after = rig.peer.until(
        lambda: (s := rig.camera_status('packed')).received == before.received + 2 and s, 'both'
    )
    assert after.last_stamp == good.header.stamp
    assert after.age_ns > SECOND, 'the stamp is years old'

    def shown() -> bool:
        status = rig.peer.diagnostics.get('packed')
        values = {v.key: v.value for v in status.values} if status else {}
        return 'JPEG' in values.get('last problem', '') and 'cpu0' in values['ran on']

    rig.peer.until(shown, 'the damaged image as the last problem')


def test_stamps_that_jump_back_are_counted_and_kept(rig: Rig) -> None:
    before = rig.camera_status().stamp_jumps
    for stamp in (rig.next_stamp(), 5 * SECOND, 6 * SECOND, rig.next_stamp()):
        assert rig.answer(image_message(noise(3), stamp)).header.stamp == time_of(stamp)
    assert rig.camera_status().stamp_jumps == before + 1


def test_a_silent_camera_is_stale_and_recovers_by_itself(rig: Rig) -> None:
    rig.peer.diagnosis('front', DiagnosticStatus.STALE, 'no image for')

    sent_s = 0.0

    def feed() -> bool:
        nonlocal sent_s
        # A flood would be dropped in part, which is a warning of its own.
        if time.monotonic() - sent_s > 0.2:
            sent_s = time.monotonic()
            rig.front.publish(image_message(noise(4), time.time_ns()))
        status = rig.peer.diagnostics.get('front')
        return bool(status and status.level == DiagnosticStatus.OK)

    rig.peer.diagnostics.clear()
    try:
        rig.peer.until(feed, 'the camera being OK again')
    except AssertionError as error:
        raise AssertionError(f'{error}, got {rig.peer.diagnostics.get("front")}') from None
    rig.peer.diagnosis('lane cpu0', DiagnosticStatus.OK)


def test_thresholds_change_at_run_time(rig: Rig) -> None:
    peer, node = rig.peer, rig.node.name
    message = image_message(noise(6), rig.next_stamp())
    scores = [row[4] for row in rows(rig.answer(message))]
    limit = float(np.median(scores))
    assert peer.set_parameter(node, 'model.score_threshold', limit) == ''
    fewer = rows(rig.answer(image_message(noise(6), rig.next_stamp())))
    assert 0 < len(fewer) < len(scores)
    assert min(row[4] for row in fewer) >= limit
    assert peer.set_parameter(node, 'model.score_threshold', 0.3) == ''
    assert len(rows(rig.answer(image_message(noise(6), rig.next_stamp())))) == len(scores)


@pytest.mark.parametrize(
    ('name', 'value', 'reason'),
    [
        ('model.path', 'other.onnx', 'model.path: is read at configure'),
        ('model.score_treshold', 0.5, 'did you mean "model.score_threshold"'),
        ('model.score_threshold', 7.0, 'model.score_threshold'),
        ('model.nms_iou', 'high', 'Wrong parameter type'),
        ('cameras.front.depth', 9, 'cameras.front.depth: is read at configure'),
    ],
)
def test_wrong_change_is_refused(rig: Rig, name: str, value: Any, reason: str) -> None:
    assert reason in rig.peer.set_parameter(rig.node.name, name, value)
    message = image_message(noise(7), rig.next_stamp())
    assert not differences(rows(rig.answer(message)), rig.expected(message), 0.999, 1e-4)


def test_priority_changes_at_run_time(rig: Rig) -> None:
    assert rig.peer.set_parameter(rig.node.name, 'cameras.front.priority', 2.5) == ''
    assert rig.camera_status().priority == 2.5


def test_lifecycle(rig: Rig) -> None:
    peer, name = rig.peer, rig.node.name
    assert peer.transition(name, Transition.TRANSITION_DEACTIVATE)
    assert peer.state(name) == 'inactive'
    peer.diagnosis('front', DiagnosticStatus.STALE, 'inactive')
    peer.until(lambda: not rig.front.get_subscription_count(), 'end of the subscription')
    answered = len(rig.found)
    rig.front.publish(image_message(noise(0), rig.next_stamp()))
    assert peer.transition(name, Transition.TRANSITION_CLEANUP)
    peer.diagnosis('node', DiagnosticStatus.ERROR, 'not configured')
    assert len(rig.found) == answered

    # Unconfigured, what is read by configure may change, though not to something wrong.
    assert peer.set_parameter(name, 'model.max_detections', 2) == ''
    assert peer.set_parameter(name, 'class_id_format', 'name') == ''
    assert peer.set_parameter(name, 'cameras.front.rate_hz', -1.0) != ''
    assert peer.transition(name, Transition.TRANSITION_CONFIGURE)
    assert peer.transition(name, Transition.TRANSITION_ACTIVATE)
    peer.until(rig.front.get_subscription_count, 'subscription')
    message = image_message(noise(8), rig.next_stamp())
    named = [d.results[0].hypothesis.class_id for d in rig.answer(message).detections]
    assert named == [LABELS[int(row[5])] for row in rig.expected(message)[:2]]


def test_every_parameter_is_described(rig: Rig) -> None:
    table = flat_table(Config.from_parameters({'camera_names': ['front'], 'lane_names': ['cpu0']}))
    request = DescribeParameters.Request(names=list(table))
    answer = rig.peer.call(DescribeParameters, f'{rig.node.name}/describe_parameters', request)
    for d, p in zip(answer.descriptors, table.values(), strict=True):
        assert d.description.startswith(p.description), d.name
        ranges = [*d.floating_point_range, *d.integer_range]
        assert [(r.from_value, r.to_value) for r in ranges] == (
            [] if p.low is None or p.high is None else [(p.low, p.high)]
        )


def test_a_camera_leaves_and_returns_without_a_restart(rig: Rig) -> None:
    peer, name = rig.peer, rig.node.name

    def configure_with(cameras: list[str]) -> bool:
        assert peer.set_parameter(name, 'camera_names', cameras) == ''
        return peer.transition(name, Transition.TRANSITION_CONFIGURE)

    assert 'camera_names: is read at configure' in peer.set_parameter(
        name, 'camera_names', ['front']
    )
    assert peer.transition(name, Transition.TRANSITION_DEACTIVATE)
    assert peer.transition(name, Transition.TRANSITION_CLEANUP)
    assert configure_with(['front'])
    rig.status.clear()
    message = peer.until(lambda: rig.status and rig.status[-1], 'status')
    assert [c.name for c in message.cameras] == ['front']
    assert peer.transition(name, Transition.TRANSITION_CLEANUP)
    # A name that never was listed is a mistake; one that was has to be described again.
    assert peer.set_parameter(name, 'cameras.pakced.transport', 'compressed') == ''
    assert not configure_with(['front', 'packed'])
    peer.diagnosis('node', DiagnosticStatus.ERROR, 'cameras.pakced')


def test_photographs_through_topics(peer: Peer, real: Path, tmp_path: Path) -> None:
    reference = json.loads((real / 'reference_detections.json').read_text())['images']
    parameters = {
        'camera_names': ['raw', 'jpeg'],
        'lane_names': ['cpu0'],
        'cameras.jpeg.transport': 'compressed',
        'model.path': str(real / 'yolox_nano_coco.onnx'),
        'model.labels': str(real / 'coco_classes.txt'),
    }
    with detector(peer, tmp_path, 'photo', parameters) as node:
        publishers = {
            'raw': peer.camera(Image, '/raw/image_raw'),
            'jpeg': peer.camera(CompressedImage, '/jpeg/image_raw/compressed'),
        }
        problems, stamp = [], SECOND
        for camera, kind in (('raw', 'class_aware'), ('jpeg', 'class_agnostic')):
            agnostic = kind == 'class_agnostic'
            assert peer.set_parameter(node.name, 'model.class_agnostic', agnostic) == ''
            found = peer.listen(Detection2DArray, f'{node.name}/{camera}/detections')
            for name, image in reference.items():
                stamp += SECOND
                file = real / 'images' / name
                if camera == 'raw':
                    message = image_message(cv2.imread(str(file)), stamp)
                else:
                    message = compressed_message(file.read_bytes(), stamp)
                publishers[camera].publish(message)
                answer = peer.until(lambda f=found: f and f.pop(), name)
                assert answer.header == message.header
                problems += [f'{name}: {p}' for p in differences(rows(answer), image[kind])]
        assert not problems
