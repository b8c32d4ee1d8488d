"""ROS 1 bags are read like those of ROS 2; their messages arrive as CDR."""

from __future__ import annotations

from pathlib import Path

import mcap_files as mcap
import numpy as np
import pytest
import ros1_files
from bag_files import T0
from ros1_files import COUNT, IMAGE, INFO

from yolox_trt_ros.bags.definitions import Definitions
from yolox_trt_ros.bags.reader import Bag
from yolox_trt_ros.core.errors import BagError


@pytest.mark.parametrize('codec', ['none', 'bz2', 'lz4'])
def test_images_are_read(tmp_path: Path, codec: str) -> None:
    with Bag(ros1_files.write(tmp_path / 'a.bag', codec)) as bag:
        assert {t.name: (t.type, t.count) for t in bag.topics.values()} == {
            '/cam/image_raw': (IMAGE, COUNT),
            '/cam/camera_info': (INFO, COUNT),
        }
        assert bag.storage == 'ROS 1' and not bag.warnings
        (qos,) = bag.topics['/cam/camera_info'].qos
        assert qos.durability.name == 'TRANSIENT_LOCAL'  # latched
        messages = list(bag.messages())
        assert [m.t_ns for m in messages[::2]] == [T0 + i * 10**9 for i in range(COUNT)]
        image = bag.parse(messages[6])
        assert image.header.stamp.sec == T0 // 10**9 + 3 and image.header.frame_id == 'eye'
        np.testing.assert_array_equal(image.data, ros1_files.pixels(3))
        info = bag.parse(messages[7])
        np.testing.assert_array_equal(info.k, np.arange(9.0))  # ROS 1 calls it K
        here = Definitions()
        for kind in (IMAGE, INFO):  # as installed: nothing that players have to warn of
            assert bag.definitions.text_and_hash(kind)[1] == here.text_and_hash(kind)[1]
        part = list(bag.messages(['/cam/image_raw'], T0 + 5 * 10**9, T0 + 8 * 10**9))
        assert [m.t_ns for m in part] == [T0 + i * 10**9 for i in (5, 6, 7)]


@pytest.mark.parametrize('codec', ['none', 'bz2', 'lz4'])
@pytest.mark.parametrize('share', [0.3, 0.6, 0.9, 0.999])
def test_an_interrupted_recording_is_read_up_to_there(
    tmp_path: Path, codec: str, share: float
) -> None:
    path = ros1_files.write(tmp_path / 'a.bag.active', codec)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with Bag(path) as bag:
        found = [m.t_ns for m in bag.messages()]
    assert found == [T0 + i // 2 * 10**9 + i % 2 for i in range(len(found))]
    assert len(found) > 40 * share * 0.4
    assert any('read from its start instead' in said for said in bag.warnings)


def test_a_damaged_chunk_costs_itself(tmp_path: Path) -> None:
    path = ros1_files.write(tmp_path / 'a.bag', 'lz4')
    content = bytearray(path.read_bytes())
    at = content.index(b'compression=lz4', len(content) // 4)
    at = content.index(b'\x04"M\x18', at)
    content[at + 20 : at + 30] = b'\xff' * 10
    path.write_bytes(content)
    with Bag(path) as bag:
        found = len(list(bag.messages()))
    assert 20 < found < 40
    assert any('is damaged' in said for said in bag.warnings)


def test_what_only_ros1_reads_is_reported(tmp_path: Path) -> None:
    path = tmp_path / 'a.bag'
    path.write_bytes(b'#ROSBAG V1.2\n' + bytes(100))
    with pytest.raises(BagError, match=r'another version \(#ROSBAG V1.2'):
        Bag(path)


def test_ros1_messages_in_mcap_are_read(tmp_path: Path) -> None:
    text, _ = ros1_files.STORE.generate_msgdef(IMAGE)
    inside = mcap.schema(1, 'sensor_msgs/Image', 'ros1msg', text)
    inside += mcap.channel(1, 1, '/cam/image_raw', 'ros1')
    inside += mcap.message(1, T0, ros1_files.image(1))
    path = tmp_path / 'a.mcap'
    path.write_bytes(mcap.header('ros1') + mcap.chunk(inside, T0, T0) + mcap.end())
    with Bag(path) as bag:
        (message,) = bag.messages()
        assert bag.parse(message).header.stamp.sec == T0 // 10**9 + 1
    assert not bag.warnings
