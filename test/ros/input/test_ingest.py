"""Every input mode delivers the same frames and counts every message."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import cast

import pytest
from edge_rig import BUFFERS, Rig, image, open_rig
from rclpy.serialization import serialize_message
from rclpy.utilities import get_rmw_implementation_identifier
from sensor_msgs.msg import CompressedImage

from yolox_trt_ros.core.config import Config
from yolox_trt_ros.core.errors import (
    DropReason,
    MissingDependencyError,
)
from yolox_trt_ros.ros.dds import settings
from yolox_trt_ros.ros.input import ingest, native_ingest
from yolox_trt_ros.ros.input.intake import MANY, FrameSink, Intake
from yolox_trt_ros.ros.output.messages import header_of

pytestmark = [pytest.mark.ros, pytest.mark.timeout(400)]


@pytest.fixture(params=['direct', 'serialised', 'plain'])
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    yield from _opened(request.param)


@pytest.fixture(params=['direct', 'serialised'])
def native_rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    yield from _opened(request.param)


def _opened(mode: str) -> Iterator[Rig]:
    with open_rig(mode) as opened:
        yield opened


def test_frames_are_the_images(rig: Rig) -> None:
    sizes = [(24, 32, 'bgr8'), (1001, 1003, 'bgr8'), (2, 2, 'mono8'), (300, 20, 'mono8')]
    for number, look in enumerate(sizes * 5):
        message = image(number, *look)
        rig.front.publish(message)
        rig.until(lambda n=number: rig.account().published == n + 1)
        frame = rig.keeper.frames[-1]
        assert frame.data.tobytes() == bytes(message.data)
        assert header_of(frame) == message.header
        assert (frame.sequence, frame.height, frame.width, frame.encoding) == (number, *look)
        assert 0 <= time.monotonic_ns() - frame.received_ns < 10**10
        if number > BUFFERS - 3:
            del rig.keeper.frames[0]  # gives its buffer back


def test_compressed_images_too(rig: Rig) -> None:
    jpeg = b'\xff\xd8\xff\xc0\0\x11\x08\0\x02\0\x03' + bytes(9)
    rig.packed.publish(CompressedImage(format='jpeg', data=jpeg))
    rig.until(lambda: rig.account('b').published == 1)
    (frame,) = rig.keeper.frames
    assert (frame.encoding, frame.height, frame.width, frame.step) == ('jpeg', 2, 3, 0)
    assert frame.data.tobytes() == jpeg


def test_damaged_messages_are_counted(rig: Rig) -> None:
    sound = bytes(serialize_message(image(1)))
    endless = sound[:12] + b'\xff' * 4 + sound[16:]
    damaged = [sound[:90], sound[:12], b'\0\1\0\2', endless, image(2, encoding='bgr99'), image(3)]
    for number, message in enumerate(damaged):
        rig.front.publish(message)
        rig.until(lambda n=number: rig.account().received == n + 1)
    rig.packed.publish(CompressedImage(format='gif', data=b'GIF89a'))
    rig.until(lambda: rig.account('b').received == 1)
    rig.until(lambda: rig.account().published == 1)
    dropped = rig.account().dropped
    assert (dropped[DropReason.MALFORMED], dropped[DropReason.UNSUPPORTED]) == (4, 1)
    assert rig.account('b').dropped[DropReason.UNSUPPORTED] == 1
    assert rig.ingest.notes['a'].last_problem.startswith('encoding "bgr99"')
    assert any('malformed' in warning for warning in rig.warnings)


def test_other_encodings_are_no_images(rig: Rig) -> None:
    sound = bytes(serialize_message(image(1)))
    for number, kind in enumerate((0x02, 0x03, 0x06, 0x07, 0x08, 0x09, 0x0A, 0x0B), 1):
        rig.front.publish(bytes((0, kind)) + sound[2:])
        rig.until(lambda n=number: rig.account().dropped[DropReason.MALFORMED] == n)
    rig.front.publish(sound)
    rig.until(lambda: rig.account().published == 1)


def test_at_most_one_image_is_lost_to_messages_that_the_middleware_rejects(
    native_rig: Rig,
) -> None:
    rig, sound = native_rig, bytes(serialize_message(image(1)))
    rig.front.publish(sound)
    rig.until(lambda: rig.account().published == 1)
    rig.keeper.frames.clear()
    pairs = 30
    for number in range(1, pairs + 1):
        rig.front.publish(b'\1\1' + sound[2:])
        rig.front.publish(sound)
        rig.until(lambda n=number: accounted(rig) == 1 + 2 * n)
        rig.until(lambda: rig.account().waiting + rig.account().in_flight == 0)
        rig.keeper.frames.clear()
    refused = rig.account().dropped[DropReason.MALFORMED]  # where the mode hands them to us
    assert refused + (rig.ingest.notes['a'].lost or 0) == pairs
    assert rig.account().published >= pairs


def need_numbers() -> None:
    """Skip where the middleware does not number messages, so that nobody can count losses."""
    if get_rmw_implementation_identifier() == settings.CYCLONE:
        pytest.skip(f'{settings.CYCLONE} does not number messages')


def test_losses_of_two_publishers_are_counted(native_rig: Rig) -> None:
    need_numbers()
    rig = native_rig
    cameras = [rig.front, rig.camera(type(image(0)), '/a/image_raw')]
    sent = 0
    while len(rig.keeper.frames) < BUFFERS:  # which keeps every frame, and so every buffer
        cameras[sent % 2].publish(image(sent))
        sent += 1
        rig.until(lambda n=sent: rig.account().published == n)
    for _ in range(20):
        cameras[sent % 2].publish(image(sent))
        sent += 1
    time.sleep(0.2)
    rig.keeper.frames.clear()
    rig.until(lambda: accounted(rig) == sent)
    assert rig.ingest.notes['a'].lost == 15
    rig.until(lambda: rig.keeper.frames)
    rig.until(lambda: header_of(rig.keeper.frames[-1]).stamp.sec == sent - 1)


def test_every_message_is_accounted_for_when_the_lane_is_stuck(native_rig: Rig) -> None:
    rig = native_rig
    rig.keeper.go.clear()
    sent = 60
    for number in range(sent):
        rig.front.publish(image(number))
        time.sleep(0.002)
    rig.until(lambda: accounted(rig) == sent - 5 or accounted(rig) == sent)
    rig.keeper.go.set()
    rig.front.publish(image(sent))
    rig.until(lambda: accounted(rig) == sent + 1)
    rig.until(lambda: in_work(rig) == 0)
    assert header_of(rig.keeper.frames[-1]).stamp.sec == sent, 'the newest was not the last'


def test_without_a_buffer_images_wait_in_the_middleware(native_rig: Rig) -> None:
    need_numbers()
    rig = native_rig
    sent = 0
    while len(rig.keeper.frames) < BUFFERS:  # which keeps every frame, and so every buffer
        rig.front.publish(image(sent))
        sent += 1
        rig.until(lambda n=sent: rig.account().published == n)
    for _ in range(20):
        rig.front.publish(image(sent))
        sent += 1
    time.sleep(0.2)
    assert rig.account().received == BUFFERS, 'a buffer in use was written to, or one too many made'
    for number, frame in enumerate(rig.keeper.frames):
        assert frame.data.tobytes() == bytes(image(number).data)
    del frame
    rig.keeper.frames.clear()
    rig.until(lambda: accounted(rig) == sent)
    newest = lambda: rig.keeper.frames and header_of(rig.keeper.frames[-1]).stamp.sec  # noqa: E731
    rig.until(lambda: newest() == sent - 1)
    assert rig.account().dropped[DropReason.REPLACED] + (rig.ingest.notes['a'].lost or 0) >= 15


def test_a_failure_that_repeats_does_not_fill_the_log(
    native_rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ValueError('a mistake')

    rig = native_rig
    with monkeypatch.context() as patch:
        patch.setattr(rig.pipeline, 'offer', broken)
        for number in range(5):
            rig.front.publish(image(number))
        rig.until(lambda: rig.warnings)
        time.sleep(0.3)
    rig.front.publish(image(5))
    rig.until(lambda: rig.keeper.frames)
    assert len(rig.warnings) == 1
    assert 'a mistake' in rig.warnings[0]


def test_time_in_transit_is_noted(rig: Rig) -> None:
    before = time.time_ns()
    rig.front.publish(image(1))
    rig.until(lambda: rig.account().published == 1)
    transit_ns = rig.ingest.notes['a'].transit_ns
    assert transit_ns is not None
    assert 0 < transit_ns < time.time_ns() - before


def test_publishers_come_and_go(rig: Rig) -> None:
    rig.front.publish(image(0))
    rig.until(lambda: rig.account().published == 1)
    for number in range(1, 4):
        rig.driver.destroy_publisher(rig.front)
        rig.front = rig.camera(type(image(0)), '/a/image_raw')
        rig.front.publish(image(number, 24 + 2 * number, 32, 'mono8'))
        rig.until(lambda n=number: rig.account().published == n + 1)
    assert rig.account().received == 4
    assert not rig.ingest.notes['a'].lost


def test_closed_and_opened_while_images_come(rig: Rig) -> None:
    stop = threading.Event()

    def drive() -> None:
        number = 0
        while not stop.is_set():
            rig.front.publish(image(number, 240, 320))
            number += 1
            time.sleep(0.001)

    driver = threading.Thread(target=drive)
    driver.start()
    try:
        for _ in range(5):
            before = rig.account().received
            rig.until(lambda n=before: rig.account().received > n)
            rig.keeper.frames.clear()
            rig.ingest.close()
            closed = rig.account().received
            time.sleep(0.02)
            assert rig.account().received == closed
            rig.ingest = rig.open()
    finally:
        stop.set()
        driver.join()


def test_frames_outlive_the_ingest(native_rig: Rig) -> None:
    message = image(7)
    native_rig.front.publish(message)
    native_rig.until(lambda: native_rig.account().published == 1)
    native_rig.ingest.close()
    assert native_rig.keeper.frames[0].data.tobytes() == bytes(message.data)
    native_rig.ingest = native_rig.open()


def test_the_plain_mode_is_chosen_and_reported_where_the_native_one_is_not_built(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing() -> None:
        raise MissingDependencyError('not built here')

    with open_rig('plain') as rig:
        rig.ingest.close()
        monkeypatch.setattr(native_ingest, 'load_native', missing)
        rig.ingest = ingest.open_ingest(rig.node, rig.config, rig.pipeline)
        assert rig.ingest.mode == rig.ingest.notes['a'].mode == 'plain: not built here'
        rig.until(rig.front.get_subscription_count)
        rig.front.publish(image(1))
        rig.until(lambda: rig.account().published == 1)


def test_where_video_cannot_be_taken_no_part_of_the_input_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing() -> None:
        raise MissingDependencyError('PyAV is not installed')

    monkeypatch.setattr('yolox_trt_ros.ros.input.video_messages.load_av', missing)
    with open_rig('plain') as rig:
        rig.ingest.close()
        flat = {'camera_names': ['a', 'b'], 'lane_names': ['lane'], 'cameras.b.transport': 'video'}
        config = Config.from_parameters(flat)
        threads, subscriptions = threading.active_count(), len(list(rig.node.subscriptions))
        with pytest.raises(MissingDependencyError, match='PyAV is not installed'):
            ingest.check_inputs(config)
        with pytest.raises(MissingDependencyError, match='PyAV is not installed'):
            ingest.open_ingest(rig.node, config, rig.pipeline)
        assert threading.active_count() == threads
        assert len(list(rig.node.subscriptions)) == subscriptions


def in_work(rig: Rig) -> int:
    """Return how many received images have no end yet: they wait, or a lane has them."""
    account = rig.account()
    return account.received - account.published - sum(account.dropped.values())


def accounted(rig: Rig) -> int:
    """Return how many messages of camera ``a`` are accounted for: taken, or known to be lost."""
    return rig.account().received + (rig.ingest.notes['a'].lost or 0)


def test_losses_are_reported_when_they_are_the_most() -> None:
    warnings: list[str] = []
    (camera,) = Config.from_parameters({'camera_names': ['a'], 'lane_names': ['lane']}).cameras
    intake = Intake(camera, cast(FrameSink, None), warnings.append, 'mode')
    intake.lost(MANY - 1)
    assert not warnings
    for _ in range(3):
        intake.lost(MANY)
    assert len(warnings) == 1
    assert f'a: {2 * MANY - 1} images were lost' in warnings[0]
    assert intake.notes.lost == 4 * MANY - 1
