"""Every way of taking images delivers the same frames and counts every message."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import cv2
import numpy as np
import pytest
from edge_rig import BUFFERS, DOMAIN, PATIENCE_S, Rig, image, open_rig
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CompressedImage

from yolox_trt_ros.bags.writer import BagWriter
from yolox_trt_ros.core.config import Config
from yolox_trt_ros.core.errors import (
    DropReason,
    LaneError,
    MissingDependencyError,
    YoloxTrtRosError,
)
from yolox_trt_ros.ros import ingest, native_ingest
from yolox_trt_ros.ros.intake import MANY, FrameSink, Intake
from yolox_trt_ros.ros.messages import header_of

pytestmark = [pytest.mark.ros, pytest.mark.timeout(120)]


@pytest.fixture(params=['direct', 'serialised', 'plain'])
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    with open_rig(request.param) as opened:
        yield opened


@pytest.fixture(params=['direct', 'serialised'])
def native_rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    with open_rig(request.param) as opened:
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
        rig.until(lambda n=number: told(rig) == 1 + 2 * n)
        rig.until(lambda: rig.account().waiting + rig.account().in_flight == 0)
        rig.keeper.frames.clear()
    refused = rig.account().dropped[DropReason.MALFORMED]  # where the way hands them to us
    assert refused + (rig.ingest.notes['a'].lost or 0) == pairs
    assert rig.account().published >= pairs


def test_losses_of_two_publishers_are_counted(native_rig: Rig) -> None:
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
    rig.until(lambda: told(rig) == sent)
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
    rig.until(lambda: told(rig) == sent - 5 or told(rig) == sent)
    rig.keeper.go.set()
    rig.front.publish(image(sent))
    rig.until(lambda: rig.account().published and rig.account().waiting == 0)
    rig.until(lambda: told(rig) == sent + 1)
    account = rig.account()
    assert account.received == account.published + sum(account.dropped.values())
    assert header_of(rig.keeper.frames[-1]).stamp.sec == sent, 'the newest was not the last'


def test_without_a_buffer_images_wait_in_the_middleware(native_rig: Rig) -> None:
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
    rig.until(lambda: told(rig) == sent)
    newest = lambda: rig.keeper.frames and header_of(rig.keeper.frames[-1]).stamp.sec  # noqa: E731
    rig.until(lambda: newest() == sent - 1)
    assert rig.account().dropped[DropReason.REPLACED] + (rig.ingest.notes['a'].lost or 0) >= 15


class Locks:
    """Locks nothing, and knows what is locked."""

    def __init__(self, refuse: bool = False) -> None:
        self.refuse = refuse
        self.locked: dict[int, int] = {}
        self.calls = 0

    def lock(self, address: int, size: int) -> None:
        self.calls += 1
        if self.refuse:
            raise LaneError('no pages left')
        assert address not in self.locked
        self.locked[address] = size

    def unlock(self, address: int) -> None:
        del self.locked[address]


def test_buffers_are_locked_once_and_as_long_as_they_live(native_rig: Rig) -> None:
    rig, locks = native_rig, Locks()
    rig.ingest.close()
    rig.ingest = rig.open(locks)
    assert rig.ingest.notes['a'].way.endswith('page-locked')
    rig.until(rig.front.get_subscription_count)
    for number in range(8):
        height = 24 if number < 4 else 1000  # larger than the buffers of before
        rig.front.publish(image(number, height, 1024))
        rig.until(lambda n=number: rig.account().published == n + 1)
        data = rig.keeper.frames.pop().data
        start = data.ctypes.data
        assert any(at <= start and start + data.nbytes <= at + n for at, n in locks.locked.items())
        del data
    assert locks.calls < 8, 'buffers are used again'
    rig.ingest.close()
    rig.ingest = rig.open()
    for number in range(8, 12):  # the lane lets go of the last frames when others come
        rig.front.publish(image(number))
        rig.until(lambda n=number: rig.account().published == n + 1)
        rig.keeper.frames.clear()
    rig.until(lambda: not locks.locked)


def test_memory_that_cannot_be_locked_is_used_and_told(native_rig: Rig) -> None:
    rig = native_rig
    rig.ingest.close()
    rig.ingest = rig.open(Locks(refuse=True))
    rig.until(rig.front.get_subscription_count)
    for number in range(3):
        rig.front.publish(image(number))
        rig.until(lambda n=number: rig.account().published == n + 1)
    assert rig.ingest.notes['a'].way == rig.ingest.way
    assert rig.ingest.way.endswith('not page-locked: no pages left')
    assert sum('no pages left' in warning for warning in rig.warnings) == 1


class DeadDevice(Locks):
    """Locks, and has lost its device when asked to unlock."""

    def unlock(self, address: int) -> None:
        super().unlock(address)
        raise LaneError('the device has fallen off the bus')


def test_memory_that_cannot_be_unlocked_is_freed_and_told_once(native_rig: Rig) -> None:
    rig, locks = native_rig, DeadDevice()
    rig.ingest.close()
    rig.ingest = rig.open(locks)
    rig.until(rig.front.get_subscription_count)
    for number in range(8):
        rig.front.publish(image(number, 24 if number < 4 else 1000, 1024))
        rig.until(lambda n=number: rig.account().published == n + 1)
        rig.keeper.frames.clear()
    rig.ingest.close()
    rig.ingest = rig.open()
    for number in range(8, 12):
        rig.front.publish(image(number))
        rig.until(lambda n=number: rig.account().published == n + 1)
        rig.keeper.frames.clear()
    rig.until(lambda: not locks.locked)
    assert sum('fallen off the bus' in warning for warning in rig.warnings) == 1


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


REFUSED = """
import sys, threading, time
from edge_rig import Node, image, open_rig
from rclpy.parameter import Parameter
from yolox_trt_ros.core.errors import ConfigError

with open_rig(sys.argv[1]) as rig:
    rig.ingest.close()
    sound, stop = rig.node, threading.Event()
    wrong = Parameter(
        'qos_overrides./b/image_raw/compressed.subscription.reliability', value='no_such'
    )
    rig.node = Node('refused', context=rig.context, parameter_overrides=[wrong])

    def drive():
        while not stop.is_set():
            rig.front.publish(image(1, 240, 320))
            time.sleep(0.001)

    driver = threading.Thread(target=drive)
    driver.start()
    for _ in range(5):
        try:
            rig.open()
        except ConfigError as error:
            print(error)
        assert not [*rig.node.subscriptions], 'that of the other camera is left'
        time.sleep(0.05)
    stop.set()
    driver.join()
    rig.node.destroy_node()
    rig.node = sound
    rig.ingest = rig.open()
    print('survived')
"""


def run_alone(code: str, *arguments: str) -> list[str]:
    """Return what a process of its own says; it must end by itself and well."""
    done = subprocess.run(
        [sys.executable, '-c', code, *arguments],
        env={**os.environ, 'ROS_DOMAIN_ID': str(DOMAIN)},
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE_S,
    )
    assert done.returncode == 0, (done.returncode, done.stderr[-3000:])
    return done.stdout.splitlines()


@pytest.mark.parametrize('way', ['direct', 'plain'])
def test_the_process_survives_a_camera_that_cannot_be_subscribed(way: str) -> None:
    *refusals, last = run_alone(REFUSED, way)
    assert last == 'survived'
    assert len(refusals) == 5
    assert all('b: /b/image_raw/compressed cannot be' in refusal for refusal in refusals)
    assert all('no_such' in refusal for refusal in refusals)


FORGOTTEN = """
import time
import rclpy
from edge_rig import BUFFERS, Config, NativeIngest, Node

class Sink:
    taken = 0

    def next_sequence(self, camera):
        self.taken += 1
        return self.taken

    def offer(self, frame):
        pass

    def reject(self, camera, reason, n=1):
        pass

rclpy.init()
node, sink = Node('forgetful'), Sink()
cameras = Config.from_parameters({'camera_names': ['a'], 'lane_names': ['lane']}).cameras
ingest = NativeIngest(node, cameras, sink, print, BUFFERS)
while not sink.taken:
    time.sleep(0.01)
print('end')
"""


def test_a_process_may_end_without_closing(native_rig: Rig) -> None:
    stop = threading.Event()

    def drive() -> None:
        while not stop.is_set():
            native_rig.front.publish(image(1))
            native_rig.keeper.frames.clear()
            time.sleep(0.001)

    driver = threading.Thread(target=drive)
    driver.start()
    try:
        assert run_alone(FORGOTTEN) == ['end']
    finally:
        stop.set()
        driver.join()


def test_time_on_the_way_is_noted(rig: Rig) -> None:
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


def test_the_plain_way_is_taken_and_told_where_the_native_one_is_not_built(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing() -> None:
        raise MissingDependencyError('not built here')

    with open_rig('plain') as rig:
        rig.ingest.close()
        monkeypatch.setattr(native_ingest, 'load_native', missing)
        rig.ingest = ingest.open_ingest(rig.node, rig.config, rig.pipeline)
        assert rig.ingest.way == rig.ingest.notes['a'].way == 'plain: not built here'
        rig.until(rig.front.get_subscription_count)
        rig.front.publish(image(1))
        rig.until(lambda: rig.account().published == 1)


def told(rig: Rig) -> int:
    """Return how many messages of camera ``a`` are accounted for: taken, or known to be lost."""
    return rig.account().received + (rig.ingest.notes['a'].lost or 0)


def test_simulated_cameras_need_no_messages(tmp_path: Path) -> None:
    pixels = np.arange(8 * 6 * 3, dtype=np.uint8).reshape(6, 8, 3)
    cv2.imwrite(str(tmp_path / 'picture.png'), pixels)
    parameters = {
        'camera_names': ['a', 'b'],
        'lane_names': ['lane'],
        'ingest': 'simulated',
        'sim.source': str(tmp_path),
        'cameras.a.rate_hz': 50.0,
        'cameras.b.rate_hz': 25.0,
        'cameras.b.transport': 'compressed',
        'cameras.b.sim.encoding': 'png',
    }
    with open_rig('plain') as rig:
        rig.ingest.close()
        config = Config.from_parameters(parameters)
        rig.ingest = ingest.open_ingest(rig.node, config, rig.pipeline)
        assert rig.ingest.way == rig.ingest.notes['a'].way == 'simulated in this process'
        rig.until(lambda: rig.account('a').received > 10 and rig.account('b').received > 5)
        rig.until(lambda: {f.camera for f in list(rig.keeper.frames)} == {'a', 'b'})
        rig.ingest.close()
        received = rig.account('a').received
        raw = next(f for f in rig.keeper.frames if f.camera == 'a')
        assert raw.data.tobytes() == pixels.tobytes()
        assert raw.frame_id == 'a_optical_frame'
        packed = next(f for f in rig.keeper.frames if f.camera == 'b')
        assert np.array_equal(cv2.imdecode(packed.data, cv2.IMREAD_COLOR), pixels)
        time.sleep(0.1)
        assert rig.account('a').received == received
        now_ns = rig.node.get_clock().now().nanoseconds
        assert all(0 <= now_ns - f.stamp_ns < 10**11 for f in rig.keeper.frames)


@pytest.mark.parametrize('lockstep', [False, True])
def test_a_bag_needs_no_messages(tmp_path: Path, lockstep: bool) -> None:
    sent = [image(number) for number in range(12)]
    with BagWriter(tmp_path / 'drive') as bag:
        bag.add_topic('/a/image_raw', 'sensor_msgs/msg/Image')
        for number, message in enumerate(sent):
            t_ns = 10**18 + number * 20_000_000
            bag.write('/a/image_raw', t_ns, bytes(serialize_message(message)))
    parameters = {
        'camera_names': ['a'],
        'lane_names': ['lane'],
        'ingest': 'replayed',
        'bag': str(tmp_path / 'drive'),
        'lockstep': lockstep,
    }
    with open_rig('plain') as rig:
        rig.ingest.close()
        start = time.monotonic()
        rig.ingest = ingest.open_ingest(rig.node, Config.from_parameters(parameters), rig.pipeline)
        assert rig.ingest.way == 'replayed in this process'
        rig.until(lambda: rig.account().received == len(sent))
        assert lockstep or time.monotonic() - start > 0.2, 'faster than it was recorded'
        rig.until(lambda: len(rig.keeper.frames) and rig.account().waiting == 0)
        for frame in rig.keeper.frames:  # of a pipeline that is not in lockstep itself
            message = sent[frame.sequence]
            assert frame.data.tobytes() == bytes(message.data)
            assert header_of(frame) == message.header


@pytest.mark.parametrize('bag', ['', 'nowhere'])
def test_a_bag_that_is_not_there_is_told(bag: str) -> None:
    parameters = {'camera_names': ['a'], 'lane_names': ['lane'], 'ingest': 'replayed', 'bag': bag}
    with open_rig('plain') as rig, pytest.raises(YoloxTrtRosError, match=bag or 'no bag is named'):
        ingest.open_ingest(rig.node, Config.from_parameters(parameters), rig.pipeline)


def test_losses_are_told_when_they_are_the_most() -> None:
    warnings: list[str] = []
    (camera,) = Config.from_parameters({'camera_names': ['a'], 'lane_names': ['lane']}).cameras
    intake = Intake(camera, cast(FrameSink, None), warnings.append, 'way')
    intake.lost(MANY - 1)
    assert not warnings
    for _ in range(3):
        intake.lost(MANY)
    assert len(warnings) == 1
    assert f'a: {2 * MANY - 1} images were lost' in warnings[0]
    assert intake.notes.lost == 4 * MANY - 1
