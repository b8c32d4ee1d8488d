"""Images recorded as video: the same stamps, little lost, and a bag that replays read."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from peer import image_message
from rclpy.serialization import serialize_message
from videos import BEGIN_NS, PERIOD_NS, av, pictures, video_message

from yolox_trt_ros.bags.definitions import Definitions
from yolox_trt_ros.bags.reader import Bag
from yolox_trt_ros.bags.writer import BagWriter
from yolox_trt_ros.core.config import Config
from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.ros.input.codecs import Arrival
from yolox_trt_ros.ros.input.readers import new_reader
from yolox_trt_ros.ros.replay.bag_cameras import cameras_in
from yolox_trt_ros.ros.replay.recorder import Recorder
from yolox_trt_ros.ros.replay.video_topic import VideoTopic, compressed_video
from yolox_trt_ros.tools.record import _as_video, wanted_topics
from yolox_trt_ros.video.encoder import ENCODERS, EncodedVideo, choose_encoder

DEFINITIONS = Definitions()
COUNT = 14


def runs(name: str) -> str:
    """Return the encoder's name; skip where it does not run."""
    try:
        return choose_encoder(ENCODERS[name].codec, name)
    except ConfigError as error:
        pytest.skip(str(error))


@settings(max_examples=20)
@given(
    st.binary(min_size=1, max_size=40),
    st.text(st.characters(codec='ascii', exclude_characters='\0'), max_size=9),
)
def test_the_message_is_what_ros_serialises(data: bytes, frame_id: str) -> None:
    message = DEFINITIONS.read(VideoTopic.TYPE, compressed_video(BEGIN_NS, frame_id, data, 'h264'))
    assert (message.frame_id, message.format, bytes(message.data)) == (frame_id, 'h264', data)
    wanted = video_message(DEFINITIONS, data, BEGIN_NS, 'h264')
    assert compressed_video(BEGIN_NS, 'front', data, 'h264') == wanted


@pytest.mark.parametrize('name', ENCODERS)
def test_pictures_come_back_with_their_stamps(name: str) -> None:
    topic = VideoTopic('/front/image_raw', 'raw', runs(name), 10.0)
    assert topic.topic == '/front/image_raw/foxglove'
    images = [*pictures(COUNT, 320, 240), *pictures(3, 160, 120)]
    for i, image in enumerate(images):
        topic.put(i, bytes(serialize_message(image_message(image, BEGIN_NS + i * PERIOD_NS))))
    topic.put(99, b'no image')
    done = list(topic.finish())
    assert topic.failed == 1 and 'plain CDR' in topic.problem
    packets = [one for one in done if one.cdr]
    assert [one.t_ns for one in packets] == list(range(len(images)))
    read = new_reader('video')
    for i, (image, one) in enumerate(zip(images, packets, strict=True)):
        frame = read(one.cdr, Arrival('front', i, 0))  # none waits for a key frame
        assert (frame.stamp_ns, frame.frame_id) == (BEGIN_NS + i * PERIOD_NS, 'optical')
        planes = frame.data.reshape(-1, frame.width)
        assert cv2.PSNR(cv2.cvtColor(planes, cv2.COLOR_YUV2BGR_I420), image) > 32
    assert sum(len(one.cdr) for one in packets) < sum(image.nbytes for image in images) / 10


def test_a_key_frame_comes_each_second_and_is_whole_of_itself() -> None:
    topic = VideoTopic('/front/image_raw', 'raw', runs('libvpx-vp9'), 10.0)
    for i, image in enumerate(pictures(22)):
        topic.put(i, bytes(serialize_message(image_message(image, i))))
    packets = [one.cdr for one in topic.finish() if one.cdr]
    read: Any = new_reader('video')
    assert [i for i, packet in enumerate(packets) if read.head(packet).whole] == [0, 10, 20]


@pytest.mark.parametrize('name', ['libvpx-vp9', 'libsvtav1'])
def test_a_refused_size_costs_one_image_and_shifts_no_stamp(name: str) -> None:
    topic = VideoTopic('/front/image_raw', 'raw', runs(name), 10.0)
    images = [*pictures(5, 320, 240)]
    images[2] = images[2][:1, :1]  # no picture of whole samples of colour is left of it
    for i, image in enumerate([images[2], *images]):
        topic.put(i, bytes(serialize_message(image_message(image, i))))
    packets = [one for one in topic.finish() if one.cdr]
    assert topic.failed == 2 and name in topic.problem
    assert [one.t_ns for one in packets] == [1, 2, 4, 5]
    read = new_reader('video')
    for i, one in zip((0, 1, 3, 4), packets, strict=True):
        frame = read(one.cdr, Arrival('front', i, 0))
        planes = frame.data.reshape(-1, frame.width)
        assert cv2.PSNR(cv2.cvtColor(planes, cv2.COLOR_YUV2BGR_I420), images[i]) > 32


def test_no_encoder_goes_before_every_other_program() -> None:
    video = EncodedVideo(runs('libsvtav1'), 10.0)
    video.encode(next(pictures(1)))
    threads = map(int, os.listdir('/proc/self/task'))
    assert {os.sched_getscheduler(thread) for thread in threads} == {os.SCHED_OTHER}
    video.finish()


class _Holding:
    """Gives each packet one picture later, and fails at some of its calls."""

    def __init__(self, fails: tuple[int, ...]) -> None:
        self._fails, self._calls, self._held = fails, 0, list[bytes]()

    def encode(self, frame: Any) -> list[bytes]:
        self._calls += 1
        if self._calls in self._fails:
            raise av.error.ExternalError(1, 'it broke')
        held, self._held = self._held, [b'packet'] if frame else []
        return held


@pytest.mark.parametrize(
    ('fails', 'kept'), [((), [0, 1, 2, 3, 4, 5]), ((3,), [0, 3, 4, 5]), ((7,), [0, 1, 2, 3, 4])]
)
def test_what_a_failing_encoder_held_is_counted(
    fails: tuple[int, ...], kept: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoders = [_Holding(fails), _Holding(())]
    monkeypatch.setattr(EncodedVideo, '_new', lambda *_: encoders.pop(0))
    topic = VideoTopic('/front/image_raw', 'raw', 'libvpx-vp9', 10.0)
    for i, image in enumerate(pictures(6, 32, 32)):
        topic.put(i, bytes(serialize_message(image_message(image, i))))
    assert [one.t_ns for one in topic.finish() if one.cdr] == kept
    assert topic.failed == 6 - len(kept) and ('it broke' in topic.problem) == bool(fails)


def test_encoders_under_the_gpl_are_used_only_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = {n: 'no such device' for n, e in ENCODERS.items() if not e.copyleft}
    broken.pop('libvpx-vp9')
    monkeypatch.setattr('yolox_trt_ros.video.encoder._why_not', lambda n: broken.get(n, ''))
    message = 'choose vp9, or accept the GPL of libx264: --encoder libx264'
    with pytest.raises(ConfigError, match=message):
        choose_encoder('h264')
    assert choose_encoder('h264', 'libx264') == 'libx264'
    with pytest.raises(ConfigError, match='h264_nvenc does not run here: no such device'):
        choose_encoder('h264', 'h264_nvenc')
    with pytest.raises(ConfigError, match='"libx264" does not write vp9'):
        choose_encoder('vp9', 'libx264')


@pytest.mark.ros
def test_record_writes_a_bag_of_video(tmp_path: Path) -> None:
    flat: dict[str, Any] = {'camera_names': ['front'], 'lane_names': ['cpu']}
    config = Config.from_parameters(flat)
    topics = wanted_topics(config, '/detector', images=True)
    as_video = _as_video(config, '/detector', runs('libvpx-vp9'))
    with BagWriter(tmp_path / 'bag') as bag, Recorder(topics, bag, (), as_video) as recorder:
        publisher = recorder.node.create_publisher(
            type(image_message(np.zeros((2, 2, 3), np.uint8), 0)), '/front/image_raw', 20
        )
        while not publisher.get_subscription_count():
            time.sleep(0.01)
        for i, image in enumerate(pictures(COUNT)):
            publisher.publish(image_message(image, BEGIN_NS + i * PERIOD_NS))
            time.sleep(0.02)
        while recorder.counts['/front/image_raw'] < COUNT:
            recorder.write_waiting()
            time.sleep(0.01)
        recorder.finish()
    with Bag(tmp_path / 'bag') as read:
        (camera,) = cameras_in(read).taken
        assert (camera.topic.name, camera.topic.count) == ('/front/image_raw/foxglove', COUNT)
        assert (camera.transport, camera.encoding, camera.rate_hz) == ('video', 'vp9', 10.0)
        assert '/front/image_raw' not in read.topics
