"""Simulated cameras behind a real middleware: bytes, headers, CameraInfo, ground truth, Ctrl-C."""

from __future__ import annotations

import array
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from peer import DOMAIN, PATIENCE_S, Peer
from rclpy.qos import qos_profile_sensor_data
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from vision_msgs.msg import Detection2DArray

from yolox_trt_ros.core import children
from yolox_trt_ros.core.encodings import RAW
from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.ros.dds.settings import environment
from yolox_trt_ros.ros.output.serialize_images import SerializedImage, camera_info
from yolox_trt_ros.ros.output.serialized_publisher import SerializedPublisher
from yolox_trt_ros.sim.encode import encode

pytestmark = pytest.mark.ros


def stamp_of(message: Any) -> int:
    stamp = message.header.stamp
    return int(stamp.sec) * 10**9 + int(stamp.nanosec)


# -- serialised images ---------------------------------------------------------------------


@given(
    frame_id=st.text(st.characters(codec='utf-8', exclude_characters='\0'), max_size=60),
    encoding=st.sampled_from([*RAW, 'jpeg', 'png']),
    size=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    stamp=st.integers(0, 2**31 * 10**9 - 1),
)
@settings(max_examples=150, deadline=None)
def test_bytes_are_those_of_ros(
    frame_id: str, encoding: str, size: tuple[int, int], stamp: int
) -> None:
    picture = np.random.default_rng(0).integers(0, 255, (2 * size[0], 2 * size[1], 3), np.uint8)
    image = encode(picture, encoding)
    if image.step:
        message: Any = Image(
            height=image.height, width=image.width, encoding=encoding, step=image.step
        )
    else:
        message = CompressedImage(format=encoding)
    message.header.frame_id = frame_id
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, 10**9)
    message.data = array.array('B', image.data.tobytes())
    writer = SerializedImage(frame_id)
    writer.write(image, 0)
    ours = writer.write(image, stamp).copy()
    rosidls = np.frombuffer(bytes(serialize_message(message)), np.uint8)
    assert ours.size == rosidls.size
    assert deserialize_message(ours.tobytes(), type(message)) == message
    differ = set(np.flatnonzero(ours != rosidls).tolist())
    assert differ <= padding(frame_id, encoding, bool(image.step))


def padding(frame_id: str, encoding: str, raw: bool) -> set[int]:
    """Return where CDR has padding in an image message; ROS leaves arbitrary bytes there."""
    found: set[int] = set()

    def align(at: int) -> int:
        end = at + -at % 4
        found.update(range(at, end))
        return end

    at = align(4 + 8 + 4 + len(frame_id.encode()) + 1)  # encapsulation, stamp, string
    at = align(at + (8 if raw else 0) + 4 + len(encoding) + 1)  # height and width, string
    if raw:
        align(at + 1)  # is_bigendian
    return found


def test_two_cameras_may_share_a_picture() -> None:
    image = encode(np.full((4, 6, 3), 9, np.uint8), 'bgr8')
    for frame_id in ('a', 'a_much_longer_name'):
        cdr = SerializedImage(frame_id).write(image, 5)
        message = deserialize_message(cdr.tobytes(), Image)
        assert message.header.frame_id == frame_id
        assert set(message.data) == {9}


def test_frame_id_too_long_for_the_head_room() -> None:
    with pytest.raises(ConfigError, match='shorten'):
        SerializedImage('x' * 600).write(encode(np.zeros((2, 2, 3), np.uint8), 'bgr8'), 0)


def test_camera_info_of_pinhole_and_of_unknown_camera() -> None:
    info = camera_info('a', 640, 960, (500.0, 510.0))
    assert list(info.k) == [500.0, 0.0, 480.0, 0.0, 510.0, 320.0, 0.0, 0.0, 1.0]
    assert list(info.p) == [500.0, 0.0, 480.0, 0.0, 0.0, 510.0, 320.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    assert list(info.d) == [0.0] * 5
    assert not any(camera_info('a', 640, 960, None).k)


def test_serialized_publisher_delivers_until_it_is_destroyed(peer: Peer) -> None:
    publisher = peer.node.create_publisher(CameraInfo, '/sim_test/raw', 5)
    got = peer.listen(CameraInfo, '/sim_test/raw', 5)
    peer.until(publisher.get_subscription_count)
    sent = camera_info('a', 640, 960, (500.0, 510.0))
    sender = SerializedPublisher(publisher)
    sender.publish(np.frombuffer(serialize_message(sent), np.uint8))
    peer.until(lambda: got)
    assert got[0] == sent
    peer.node.destroy_publisher(publisher)
    with pytest.raises(Exception, match='destruction'):  # rclpy's InvalidHandle is private
        sender.publish(np.zeros(8, np.uint8))


# -- the node ------------------------------------------------------------------------------


class CameraSim:
    """camera_sim in a process of its own."""

    def __init__(self, folder: Path, parameters: dict[str, Any], **env: str) -> None:
        self._log = folder / 'camera_sim.log'
        file = folder / 'camera_sim.param.yaml'
        file.write_text(yaml.safe_dump({'/**': {'ros__parameters': parameters}}))
        words = [sys.executable, '-m', 'yolox_trt_ros.ros.camera_sim_node']
        with self._log.open('w') as log:
            self.process = children.start(
                [*words, '--ros-args', '-r', '__ns:=/sim_test', '--params-file', str(file)],
                env={**os.environ, **environment(), 'ROS_DOMAIN_ID': str(DOMAIN), **env},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def log(self) -> str:
        return self._log.read_text()


@contextmanager
def camera_sim(folder: Path, parameters: dict[str, Any], **env: str) -> Iterator[CameraSim]:
    """Start camera_sim, and see that Ctrl-C ends it cleanly."""
    sim = CameraSim(folder, parameters, **env)
    try:
        yield sim
        assert sim.process.poll() is None, sim.log
        sim.process.send_signal(2)
        assert sim.process.wait(PATIENCE_S) == 0, sim.log
        assert 'Traceback' not in sim.log, sim.log
        assert 'skipped' in sim.log  # the summary
    except BaseException:
        print(sim.log)
        raise
    finally:
        sim.process.kill()


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Return a folder with three PNGs of one grey each."""
    folder = tmp_path / 'pictures'
    folder.mkdir()
    for number in range(3):
        grey = np.full((20, 30, 3), 60 * (number + 1), np.uint8)
        cv2.imwrite(str(folder / f'{number}.png'), grey)
    return folder


def vehicle(cameras: dict[str, dict[str, Any]], source: Path | str) -> dict[str, Any]:
    return {
        'camera_names': list(cameras),
        'lane_names': ['cpu'],
        'sim': {'source': str(source)},
        'cameras': cameras,
    }


def test_cameras_publish_like_drivers(peer: Peer, tmp_path: Path, pictures: Path) -> None:
    cameras = {
        'raw': {'topic': '/sim_test/a/image_raw', 'rate_hz': 25.0, 'sim': {'encoding': 'rgb8'}},
        'small': {
            'topic': '/sim_test/b/image_raw/compressed',
            'transport': 'compressed',
            'rate_hz': 10.0,
            'sim': {'encoding': 'png', 'width': 15, 'height': 10},
        },
    }
    with camera_sim(tmp_path, vehicle(cameras, pictures)) as sim:
        images = peer.listen(Image, '/sim_test/a/image_raw', qos_profile_sensor_data)
        infos = peer.listen(CameraInfo, '/sim_test/a/camera_info', qos_profile_sensor_data)
        files = peer.listen(
            CompressedImage, '/sim_test/b/image_raw/compressed', qos_profile_sensor_data
        )
        peer.until(lambda: len(images) >= 20 and len(files) >= 6, 'images')
        refused = peer.set_parameter('/sim_test/camera_sim', 'sim.seed', 3)
        assert 'restart it' in refused
        assert sim.process.poll() is None
    assert {m.header.frame_id for m in images} == {'raw_optical_frame'}
    assert {(m.height, m.width, m.step, m.encoding) for m in images} == {(20, 30, 90, 'rgb8')}
    assert {m.data[0] for m in images} == {60, 120, 180}
    stamps = np.array([stamp_of(m) for m in images])
    assert (np.diff(stamps) > 0).all()
    # Real time stamps, a period or several apart (an image may be lost), never drifting.
    periods = np.diff(stamps) / 40e6
    assert np.abs(periods - periods.round()).max() < 0.25
    assert abs(time.time() - stamps[-1] / 1e9) < PATIENCE_S
    info_stamps = {stamp_of(m) for m in infos}
    assert len(info_stamps & set(stamps.tolist())) >= 10  # one stamp for image and CameraInfo
    assert not any(infos[0].k)  # nobody calibrated the camera of a photograph
    picture = cv2.imdecode(np.frombuffer(files[0].data, np.uint8), cv2.IMREAD_COLOR)
    assert files[0].format == 'png'
    assert picture.shape == (10, 15, 3)


def test_world_publishes_its_ground_truth(peer: Peer, tmp_path: Path) -> None:
    pytest.importorskip('panda3d', reason='the rendered world needs panda3d')
    cameras = {
        'front': {
            'topic': '/sim_test/w/image_raw',
            'rate_hz': 2.0,
            'rig': {'width': 192, 'height': 128, 'hfov_deg': 90.0},
            'sim': {'width': 96, 'height': 64},
        }
    }
    with camera_sim(tmp_path, vehicle(cameras, 'world'), XDG_CACHE_HOME=str(tmp_path)):
        images = peer.listen(Image, '/sim_test/w/image_raw', qos_profile_sensor_data)
        truths = peer.listen(Detection2DArray, '/sim_test/w/ground_truth', qos_profile_sensor_data)
        infos = peer.listen(CameraInfo, '/sim_test/w/camera_info', qos_profile_sensor_data)
        peer.until(lambda: len(truths) >= 5 and images and infos, 'ground truth', 60.0)
    assert {(m.width, m.height) for m in images} == {(96, 64)}
    assert infos[0].k[0] == pytest.approx(48.0)  # 90 degrees over 96 pixels
    assert {stamp_of(m) for m in images} & {stamp_of(m) for m in truths}
    boxes = [d for m in truths for d in m.detections]
    assert boxes
    for d in boxes:
        centre, (result,) = d.bbox.center.position, d.results
        # The visible extent lies within the published image.
        assert -1 <= centre.x - d.bbox.size_x / 2 <= centre.x + d.bbox.size_x / 2 <= 97
        assert -1 <= centre.y - d.bbox.size_y / 2 <= centre.y + d.bbox.size_y / 2 <= 65
        assert result.hypothesis.score in (0.0, 1.0)
        assert d.id
        assert int(result.hypothesis.class_id) in range(6)


@pytest.mark.parametrize(
    ('parameters', 'message'),
    [
        ({}, 'expected 1 to 8 cameras'),
        (vehicle({'a': {'rate_hertz': 3.0}}, '/'), 'did you mean "cameras.a.rate_hz"'),
        (
            vehicle({'a': {'rate_hz': 3.0}}, '/no/such/folder'),
            'sim.source: "/no/such/folder" does not exist',
        ),
        (vehicle({'a': {'sim': {'encoding': 'png'}}}, '/'), 'transport raw needs'),
        (vehicle({'a': {}}, '/'), 'camera_sim.param.yaml'),  # ROS reads no empty group
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, parameters: dict[str, Any], message: str) -> None:
    sim = CameraSim(tmp_path, parameters)
    try:
        assert sim.process.wait(PATIENCE_S) == 1, sim.log
    finally:
        sim.process.kill()
    assert message in sim.log
    assert 'Traceback' not in sim.log
