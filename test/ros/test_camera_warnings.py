"""What diagnostics say around a camera: names, topics, publishers, clocks, and when it is over."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from peer import Detector, Peer, detector, image_message
from rig import noise
from sensor_msgs.msg import Image
from tiny_models import write_yolox

pytestmark = [pytest.mark.ros, pytest.mark.timeout(400)]
HOUR_NS = 3600 * 10**9


@pytest.fixture(scope='module')
def node(peer: Peer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Detector]:
    folder = tmp_path_factory.mktemp('warned')
    write_yolox(folder / 'tiny.onnx')
    parameters = {
        'camera_names': ['front', 'left', 'rear'],
        'lane_names': ['cpu0'],
        'model.path': str(folder / 'tiny.onnx'),
        'limits.window_s': 0.5,
        'cameras.front.topic': 'front/image_raw',  # relative: to the node's namespace
    }
    with detector(peer, folder, 'warned', parameters) as started:
        yield started


def test_names_are_those_of_the_node_and_hardware_that_of_the_device(
    peer: Peer, node: Detector
) -> None:
    arrays = peer.listen(DiagnosticArray, '/diagnostics')
    peer.until(lambda: arrays)
    own = {s.name: s for a in arrays for s in a.status if s.name.startswith(f'{node.name}: ')}
    tasks = ('front', 'left', 'rear', 'lane cpu0')
    assert own.keys() >= {f'{node.name}: {task}' for task in tasks}
    assert own[f'{node.name}: lane cpu0'].hardware_id == 'cpu'
    assert own[f'{node.name}: front'].hardware_id == '/warned/front/image_raw'


def test_stale_says_why_with_the_topic_resolved_and_the_near_one(
    peer: Peer, node: Detector
) -> None:
    near = peer.node.create_publisher(Image, '/warned/front/image', 1)
    message = 'nobody publishes /warned/front/image_raw — did you mean "/warned/front/image"?'
    try:
        status = peer.diagnosis('front', DiagnosticStatus.STALE, message)
        assert {v.key: v.value for v in status.values}['last problem'] == message
        assert node.log.count(message) == 1
    finally:
        peer.node.destroy_publisher(near)


def test_two_publishers_are_reported_until_one_goes(peer: Peer, node: Detector) -> None:
    first = peer.camera(Image, '/left/image_raw')
    second = peer.node.create_publisher(Image, '/left/image_raw', 1)
    message = '2 publishers on /left/image_raw, expected one: /peer, /peer'
    feeding(peer, first, lambda: time.time_ns(), 'left', message)
    peer.node.destroy_publisher(second)
    status = feeding(peer, first, lambda: time.time_ns(), 'left', 'Hz in', without=message)
    assert 'publishers' not in status.message


def test_stamps_of_another_clock_are_reported_until_they_are_right(
    peer: Peer, node: Detector
) -> None:
    camera = peer.camera(Image, '/rear/image_raw')
    for stamp, messages in (
        (lambda: 0, 'header stamps are zero'),
        (time.monotonic_ns, 'they count from boot'),
        (lambda: time.time_ns() + HOUR_NS, '60.0 min ahead of the node’s clock'),
        (lambda: time.time_ns() - HOUR_NS, '60.0 min behind the node’s clock'),
    ):
        status = feeding(peer, camera, stamp, 'rear', messages)
        assert status.level == DiagnosticStatus.WARN
        assert f'rear: {messages[:12]}' in node.log or messages[:12] in node.log
    feeding(peer, camera, time.time_ns, 'rear', 'Hz in', without='stamps')


def test_a_problem_ends_when_it_ends(peer: Peer, node: Detector) -> None:
    camera = peer.camera(Image, '/rear/image_raw')
    bad = image_message(noise(1), time.time_ns())
    bad.encoding = 'no\x1b[31m\ncolour'

    def last_problem() -> str:
        camera.publish(image_message(noise(2), time.time_ns()))
        status = peer.diagnostics.get('rear')
        values = {v.key: v.value for v in status.values} if status else {}
        return values.get('last problem', '')

    peer.until(lambda: camera.publish(bad) or 'colour' in last_problem(), 'the problem')
    assert '\x1b' not in last_problem() and '\n' not in last_problem()
    assert '\x1b[31m' not in node.log
    peer.until(lambda: last_problem() == 'none', 'its end', timeout_s=60)


def feeding(
    peer: Peer,
    camera: object,
    stamp: Callable[[], int],
    name: str,
    message: str,
    without: str = '\0',
) -> DiagnosticStatus:
    """Publish images until the camera's message has ``message`` in it and not ``without``."""
    peer.diagnostics.clear()

    def found() -> DiagnosticStatus | None:
        camera.publish(image_message(noise(3), stamp()))
        status = peer.diagnostics.get(name)
        good = status and message in status.message and without not in status.message
        return status if good else None

    return peer.until(found, f'{name}: {message}', timeout_s=60)
