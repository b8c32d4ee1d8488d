"""Video files as bags: their pictures as messages from any time on, cameras of a folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from videos import PERIOD_NS, av, write_video

from yolox_trt_ros.bags.reader import Bag
from yolox_trt_ros.core.errors import BagError
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.ros.input.codecs import Arrival, read_image
from yolox_trt_ros.ros.replay.bag_cameras import cameras_in
from yolox_trt_ros.video.files import VideoFile

COUNT = 26


@pytest.mark.parametrize(('suffix', 'b_frames'), [('avi', 0), ('mkv', 2), ('mp4', 2), ('ts', 0)])
def test_messages_are_its_pictures_from_any_time_on(
    tmp_path: Path, suffix: str, b_frames: int
) -> None:
    path = write_video(tmp_path / f'my-drive 1.{suffix}', COUNT, max_b_frames=b_frames)
    with Bag(path, warn=pytest.fail) as bag:
        (topic,) = bag.topics.values()
        assert (topic.name, topic.type) == ('/my_drive_1/image_raw', 'sensor_msgs/msg/Image')
        assert (topic.count, bag.start_ns, bag.storage) == (COUNT, 0, 'video')
        assert bag.end_ns == (COUNT - 1) * PERIOD_NS
        whole = list(bag.messages())
        frames = [frame for frame in VideoFile(path).frames() if isinstance(frame, Frame)]
        for message, frame in zip(whole, frames, strict=True):
            read = read_image(message.cdr, Arrival('front', 0, 0))
            assert (message.t_ns, read.stamp_ns) == (frame.stamp_ns, frame.stamp_ns)
            assert (read.encoding, read.height, read.width) == ('i420', frame.height, frame.width)
            assert np.array_equal(read.data, frame.data)
        for begin in (1, 7, 13, COUNT - 1):
            part = bag.messages(None, begin * PERIOD_NS, (begin + 4) * PERIOD_NS)
            assert list(part) == whole[begin : begin + 4], 'as if it had been read from its front'


def test_videos_of_a_folder_are_cameras(tmp_path: Path) -> None:
    for name in ('front.mp4', 'rear.mkv'):
        write_video(tmp_path / name, 3)
    with Bag(tmp_path, warn=lambda _: None) as bag:
        assert [message.topic for message in bag.messages()][:2] == [
            '/front/image_raw', '/rear/image_raw',
        ]  # fmt: skip
        cameras = cameras_in(bag)
    assert [c.topic.name for c in cameras.taken] == ['/front/image_raw', '/rear/image_raw']


def test_damage_is_reported(tmp_path: Path) -> None:
    path = write_video(tmp_path / 'drive.avi')
    with av.open(str(path)) as container:
        packet = [p for p in container.demux(video=0) if p.size][6]
        begin = bytes(packet)
    content = path.read_bytes()
    path.write_bytes(content.replace(begin, b'\xff' * len(begin)))
    said: list[str] = []
    with Bag(path, warn=said.append) as bag:
        found = list(bag.messages())
    assert 5 < len(found) < 12
    assert sum(int(s.split(': ')[1].split()[0]) for s in said) == 12 - len(found)
    (tmp_path / 'none.mp4').write_bytes(b'no video at all, but long enough to be one' * 9)
    with pytest.raises(BagError, match='not a video that FFmpeg can read'):
        Bag(tmp_path / 'none.mp4')
