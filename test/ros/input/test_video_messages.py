"""Messages of video through readers, threads and replays: libav's pictures, exact stamps."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_models import write_yolox
from videos import (
    BEGIN_NS,
    GROUP,
    HEIGHT,
    PERIOD_NS,
    WIDTH,
    av,
    encode,
    pictures,
    video_bag,
    video_message,
)

from yolox_trt_ros.bags.definitions import Definitions
from yolox_trt_ros.bags.reader import Bag
from yolox_trt_ros.bags.writer import BagWriter
from yolox_trt_ros.core.config import Config
from yolox_trt_ros.core.errors import DropReason, FrameError
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.ros.input import video_intake
from yolox_trt_ros.ros.input.codecs import Arrival
from yolox_trt_ros.ros.input.intake import Intake
from yolox_trt_ros.ros.input.readers import new_reader
from yolox_trt_ros.ros.input.video_intake import VideoIntake
from yolox_trt_ros.ros.input.video_messages import VideoReader, read_compressed_video
from yolox_trt_ros.ros.replay.bag_cameras import cameras_in
from yolox_trt_ros.testing import replay
from yolox_trt_ros.testing.golden import GoldenMismatchError, check
from yolox_trt_ros.video.bitstream import PacketHead
from yolox_trt_ros.video.stream import VideoStream, head_of

COUNT = 12
DEFINITIONS = Definitions()
CODECS = ('h264', 'vp9')


def packets(codec: str = 'vp9', count: int = COUNT) -> list[bytes]:
    return encode(codec, list(pictures(count)))


def planes(codec: str, parts: list[bytes]) -> list[np.ndarray]:
    stream = VideoStream()
    return [stream.decode(codec, part).image for part in parts]


@pytest.mark.parametrize('kind', ['video', 'ffmpeg'])
@pytest.mark.parametrize('codec', CODECS)
def test_each_message_becomes_its_picture(kind: str, codec: str) -> None:
    read, parts = new_reader(kind), packets(codec)
    for i, (part, image) in enumerate(zip(parts, planes(codec, parts), strict=True)):
        stamp_ns = BEGIN_NS + i
        message = video_message(DEFINITIONS, part, stamp_ns, codec, kind)
        begun_ns = time.monotonic_ns()
        frame = read(message, Arrival('front', i, 5))
        assert begun_ns < frame.decoded_ns < time.monotonic_ns(), 'the stage "video" ends then'
        assert (frame.stamp_ns, frame.frame_id, frame.sequence) == (stamp_ns, 'front', i)
        assert (frame.encoding, frame.height, frame.width) == ('i420', HEIGHT, WIDTH)
        assert np.array_equal(frame.data, image.reshape(-1))


@pytest.mark.parametrize('kind', ['video', 'ffmpeg'])
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_damaged_messages_are_frame_errors(kind: str, data: st.DataObject) -> None:
    whole = bytearray(video_message(DEFINITIONS, b'\0\0\0\1\x65' + bytes(40), 1, 'h264', kind))
    for at in data.draw(st.lists(st.integers(0, len(whole) - 1), max_size=4)):
        whole[at] = data.draw(st.integers(0, 255))
    message = bytes(whole[: data.draw(st.integers(0, len(whole)))])
    with pytest.raises(FrameError):
        new_reader(kind)(message, Arrival('front', 0, 0))


class Sink:
    """Takes frames and counts the rest."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.rejected: list[DropReason] = []
        self.enough = threading.Semaphore(0)
        self.sequence = -1

    def next_sequence(self, _camera: str) -> int:
        self.sequence += 1
        return self.sequence

    def offer(self, frame: Frame) -> None:
        self.frames.append(frame)
        self.enough.release()

    def reject(self, _camera: str, reason: DropReason, n: int = 1) -> None:
        self.rejected += [reason] * n
        self.enough.release(n)

    def wait(self, count: int) -> None:
        for _ in range(count):
            assert self.enough.acquire(timeout=20)


def intakes(names: list[str], sink: Sink, warn: Callable[[str], None] = print) -> list[VideoIntake]:
    flat: dict[str, Any] = {'camera_names': names, 'lane_names': ['cpu']}
    cameras = Config.from_parameters(flat).cameras
    read = read_compressed_video
    return [
        VideoIntake(Intake(camera, sink, warn, 'test'), VideoReader(read)) for camera in cameras
    ]


def test_cameras_side_by_side_keep_their_order_and_never_mix() -> None:
    sink, names = Sink(), ['a', 'b', 'c']
    parts = {name: encode('vp9', list(pictures(9 + i))[i:]) for i, name in enumerate(names)}
    takers = intakes(names, sink)
    for i in range(9):
        for name, taken in zip(names, takers, strict=True):
            message = video_message(DEFINITIONS, parts[name][i], i, 'vp9')
            taken.receive(message, time.monotonic_ns())
    sink.wait(27)
    for taken in takers:
        taken.close()
    assert not sink.rejected
    for name in names:
        frames = [frame for frame in sink.frames if frame.camera == name]
        assert [frame.stamp_ns for frame in frames] == list(range(9))
        for frame, image in zip(frames, planes('vp9', parts[name]), strict=True):
            assert np.array_equal(frame.data, image.reshape(-1))


def test_decoding_that_falls_behind_goes_on_at_the_newest_key_frame() -> None:
    sink, parts = Sink(), packets()
    (taken,) = intakes(['a'], sink)
    with taken._changed:  # all have come before the thread looks, and long ago
        for i, part in enumerate(parts):
            taken.receive(video_message(DEFINITIONS, part, i, 'vp9'), received_ns=0)
    sink.wait(COUNT)
    taken.close()
    key = COUNT - 1 - (COUNT - 1) % GROUP
    assert sink.rejected == [DropReason.REPLACED] * key
    assert [frame.stamp_ns for frame in sink.frames] == list(range(key, COUNT))
    for frame, image in zip(sink.frames, planes('vp9', parts)[key:], strict=True):
        assert np.array_equal(frame.data, image.reshape(-1))


@pytest.mark.parametrize(('age_s', 'given_up'), [(2, 0), (1000, 8)])
def test_a_stream_without_key_frames_is_given_up_after_some_seconds(
    age_s: int, given_up: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: list[bytes] = []
    head = VideoReader.head

    def counted(self: VideoReader, message: bytes) -> PacketHead:
        looked_at.append(message)
        return head(self, message)

    monkeypatch.setattr(VideoReader, 'head', counted)
    monkeypatch.setattr(video_intake, 'HOPELESS_NS', 600 * 10**9)  # however slow this machine is
    sink, parts = Sink(), encode('vp9', list(pictures(10)), group=100)
    (taken,) = intakes(['a'], sink)
    taken.receive(video_message(DEFINITIONS, parts[0], 0, 'vp9'), time.monotonic_ns())
    sink.wait(1)
    with taken._changed:
        for i, part in enumerate(parts[1:], 1):
            message = video_message(DEFINITIONS, part, i, 'vp9')
            taken.receive(message, time.monotonic_ns() - age_s * 10**9)
    sink.wait(9)
    taken.close()
    lost = [DropReason.REPLACED] * given_up + [DropReason.WAITING_FOR_KEY_FRAME] * (given_up > 0)
    assert sink.rejected == lost
    assert [frame.stamp_ns for frame in sink.frames] == ([0] if given_up else list(range(10)))
    assert len(looked_at) == len(set(looked_at)) == 9, 'each packet once'


def test_a_stream_that_renews_its_picture_goes_on_at_a_recovery_point(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if 'libx264' not in av.codecs_available:
        pytest.skip('no encoder that renews pictures part by part')
    options = {'tune': 'zerolatency', 'intra-refresh': '1'}
    parts = encode('h264', list(pictures(36)), group=10, options=options)
    monkeypatch.setattr(video_intake, 'HOPELESS_NS', 600 * 10**9)
    keys = [i for i, part in enumerate(parts) if head_of('h264', np.frombuffer(part, 'u1')).key]
    sink = Sink()
    (taken,) = intakes(['a'], sink)
    with taken._changed:  # only those before the newest recovery point have waited for too long
        for i, part in enumerate(parts[1:], 1):
            message = video_message(DEFINITIONS, part, i, 'h264')
            waited_ns = 10**9 * (1000 if i < keys[-1] else 2)
            taken.receive(message, time.monotonic_ns() - waited_ns)
    sink.wait(35)
    taken.close()
    assert sink.rejected.count(DropReason.REPLACED) == keys[-1] - 1 >= 20
    assert set(sink.rejected) <= {DropReason.REPLACED, DropReason.WAITING_FOR_KEY_FRAME}


def test_a_damaged_message_is_missing_to_those_that_follow() -> None:
    read, parts = new_reader('video'), packets()
    messages = [video_message(DEFINITIONS, part, i, 'vp9') for i, part in enumerate(parts)]
    read(messages[0], Arrival('front', 0, 0))
    with pytest.raises(FrameError):
        read(messages[1][:30], Arrival('front', 1, 0))
    for message in messages[2:GROUP]:
        with pytest.raises(FrameError, match='key frame: a message before was malformed'):
            read(message, Arrival('front', 2, 0))
    assert read(messages[GROUP], Arrival('front', GROUP, 0)).stamp_ns == GROUP


def test_a_failure_at_every_packet_does_not_fill_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        sink.enough.release()
        raise ValueError('a mistake')

    sink, warnings, (part, *_) = Sink(), list[str](), packets()
    monkeypatch.setattr(sink, 'offer', broken)
    (taken,) = intakes(['a'], sink, warnings.append)
    for i in range(12):
        taken.receive(video_message(DEFINITIONS, part, i, 'vp9'), time.monotonic_ns())
    sink.wait(12)
    taken.close()
    assert len(warnings) == 2
    assert 'a: a packet was lost: Traceback' in warnings[0] and '(10 so far)' in warnings[1]


def vehicle(path: Path, transport: str) -> Path:
    write_yolox(path / 'm.onnx')
    file = path / f'{transport}.param.yaml'
    file.write_text(f"""/**:
  ros__parameters:
    camera_names: [front, rear]
    lane_names: [cpu]
    model: {{path: {path}/m.onnx, score_threshold: 0.3}}
    lanes: {{cpu: {{device: cpu, threads: 1}}}}
    cameras:
      front: {{topic: /front, transport: {transport}}}
      rear: {{topic: /rear, transport: {transport}}}
""")
    return file


def raw_bag(path: Path, topics: dict[str, list[np.ndarray]]) -> Path:
    """Write what the video shows as raw planes."""
    with BagWriter(path) as bag:
        make = bag.definitions.make
        for topic, images in topics.items():
            bag.add_topic(topic, 'sensor_msgs/msg/Image')
            for i, image in enumerate(images):
                t_ns = BEGIN_NS + i * PERIOD_NS
                stamp = make('builtin_interfaces/msg/Time', sec=t_ns // 10**9, nanosec=t_ns % 10**9)
                header = make('std_msgs/msg/Header', stamp=stamp, frame_id='front')
                message = make(
                    'sensor_msgs/msg/Image', header=header, height=HEIGHT, width=WIDTH,
                    encoding='i420', is_bigendian=0, step=WIDTH, data=image.reshape(-1),
                )  # fmt: skip
                bag.write(topic, t_ns, bag.definitions.write(message))
    return path


def found(replayed: Any) -> list[tuple[str, int, bytes]]:
    return [
        (camera, result.stamp_ns, result.detections.xyxy.tobytes())
        for camera, results in replayed.cameras.items()
        for result in results
    ]


def test_a_replay_of_video_is_one_of_its_pictures_bit_for_bit(tmp_path: Path) -> None:
    topics = {'/front': packets('h264'), '/rear': packets('h264', 7)}
    video = video_bag(tmp_path / 'video', topics, 'h264')
    raw = raw_bag(tmp_path / 'raw', {t: planes('h264', p) for t, p in topics.items()})
    replayed = [
        replay(bag, vehicle(tmp_path, transport), through='pipeline')
        for bag, transport in ((video, 'video'), (video, 'video'), (raw, 'raw'))
    ]
    results = [found(one) for one in replayed]
    assert len(results[0]) == COUNT + 7 and any(boxes for _, _, boxes in results[0])
    assert results[0] == results[1] == results[2]
    golden = tmp_path / 'golden.json'
    check(replayed[0], golden, update=True, iou=0.98, score=0.001)
    check(replayed[1], golden)
    replayed[1].cameras['front'].pop()
    with pytest.raises(GoldenMismatchError):
        check(replayed[1], golden)


@pytest.mark.ros
def test_the_node_finds_in_video_what_the_pipeline_does(tmp_path: Path) -> None:
    pytest.importorskip('foxglove_msgs', reason='make setup builds it')
    topics = {'/front': packets()[4:], '/rear': packets()}
    bag = video_bag(tmp_path / 'video', topics, 'vp9')
    file = vehicle(tmp_path, 'video')
    live, here = replay(bag, file), replay(bag, file, through='pipeline')
    assert found(live) == found(here) and len(found(live)) == 2 * COUNT - GROUP
    waiting = {'waiting_for_key_frame': GROUP - 4}
    assert {c: dict(d) for c, d in live.dropped.items() if d} == {'front': waiting}


def test_a_bag_of_video_has_cameras(tmp_path: Path) -> None:
    topics = {'/front/image_raw/foxglove': packets()[3:], '/rear/video': packets()[1:4]}
    with Bag(video_bag(tmp_path / 'bag', topics, 'vp9')) as bag:
        cameras = cameras_in(bag)
    (front,) = cameras.taken
    assert (front.transport, front.encoding, front.rate_hz) == ('video', 'vp9', 10.0)
    assert (front.width, front.height) == (WIDTH, HEIGHT)
    assert 'waiting for a key frame' in cameras.left_out['/rear/video']
