"""Bags of every kind are read alike, and a bad one is reported with what it holds."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import yaml
from bag_files import KINDS, MESSAGES, STRING, T0, early_bag, edit_metadata, rosbags_bag, text
from hypothesis import given, settings
from hypothesis import strategies as st
from rosbags.interfaces import MessageDefinition, MessageDefinitionFormat
from rosbags.rosbag2 import CompressionMode, StoragePlugin

from yolox_trt_ros.bags.definitions import Definitions
from yolox_trt_ros.bags.reader import Bag
from yolox_trt_ros.bags.writer import COMPRESSIONS, STORAGES, BagWriter
from yolox_trt_ros.core.errors import BagError
from yolox_trt_ros.core.messages import detections_of, stamp_ns_of

ANOTHER_QOS = {
    'history': 'keep_last',
    'depth': 3,
    'reliability': 'best_effort',
    'durability': 'volatile',
    'deadline': {'sec': 0, 'nsec': 0},
    'lifespan': {'sec': 0, 'nsec': 0},
    'liveliness': 'automatic',
    'liveliness_lease_duration': {'sec': 0, 'nsec': 0},
    'avoid_ros_namespace_conventions': False,
}


def read(path: Path) -> list[tuple[str, int, bytes]]:
    with Bag(path) as bag:
        return [(m.topic, m.t_ns, bytes(m.cdr)) for m in bag.messages()]


@pytest.mark.parametrize(('storage', 'compression'), KINDS)
def test_every_storage_and_compression_gives_the_same(
    tmp_path: Path, storage: StoragePlugin, compression: CompressionMode
) -> None:
    path = rosbags_bag(tmp_path / 'bag', storage, compression)
    assert read(path) == MESSAGES
    with Bag(path) as bag:
        assert {t.name: (t.type, t.count) for t in bag.topics.values()} == {
            '/a': (STRING, 20),
            '/b': (STRING, 40),
        }
        assert (bag.start_ns, bag.end_ns) == (T0, MESSAGES[-1][1])
        assert bag.storage.startswith(storage.name.lower())
        part = list(bag.messages(['/a'], start_ns=T0 + 10**8, stop_ns=T0 + 3 * 10**8))
        assert [m.t_ns for m in part] == [T0 + n * 10**7 for n in range(12, 30, 3)]
        assert bag.parse(part[0]).data.startswith('number 12')


@pytest.mark.parametrize('version', range(2, 10))
def test_every_metadata_version_is_read(tmp_path: Path, version: int) -> None:
    path = rosbags_bag(tmp_path / 'bag', StoragePlugin.SQLITE3, version=9 if version == 9 else 8)
    newer = {3: ('compression_mode', 'compression_format'), 5: ('files',), 6: ('custom_data',),
             8: ('ros_distro',)}  # fmt: skip
    gone = [name for since, names in newer.items() if version < since for name in names]
    edit_metadata(path, version=version, **dict.fromkeys(gone))
    assert read(path) == MESSAGES


def test_bags_of_the_first_years_are_read(tmp_path: Path) -> None:
    path = early_bag(tmp_path / 'early')
    assert read(path) == MESSAGES
    with Bag(path) as bag:
        assert bag.topics['/a'].type == STRING  # recorded as std_msgs/String
        assert bag.of_type('std_msgs/String') == ['/a', '/b']
        assert bag.parse(next(bag.messages())).data == 'number 0 '


@pytest.mark.parametrize('storage', [StoragePlugin.SQLITE3, StoragePlugin.MCAP])
def test_messages_are_found_though_the_metadata_has_another_qos(
    tmp_path: Path, storage: StoragePlugin
) -> None:
    path = rosbags_bag(tmp_path / 'bag', storage)
    file = path / 'metadata.yaml'
    content = yaml.safe_load(file.read_text())
    for topic in content['rosbag2_bagfile_information']['topics_with_message_count']:
        topic['topic_metadata'] |= {
            'offered_qos_profiles': [ANOTHER_QOS],
            'type_description_hash': 'RIHS01_00',
        }
    file.write_text(yaml.safe_dump(content))
    assert read(path) == MESSAGES
    with Bag(path) as bag:  # who plays the bag wants what somebody wrote there
        assert bag.topics['/a'].qos[0].reliability.name == 'BEST_EFFORT'


def test_a_bag_without_the_messages_it_lists_is_an_error(tmp_path: Path) -> None:
    path = rosbags_bag(tmp_path / 'bag', StoragePlugin.SQLITE3)
    (file,) = path.glob('*.db3')
    with closing(sqlite3.connect(file)) as storage:
        storage.execute('DELETE FROM messages')
        storage.commit()
    message = problem(path)
    assert 'expected 60 messages' in message and '/a (std_msgs/msg/String)' in message


def test_one_file_of_a_bag_is_a_bag(tmp_path: Path) -> None:
    path = rosbags_bag(tmp_path / 'bag')
    assert read(path / 'bag.mcap') == MESSAGES


@pytest.mark.parametrize('storage', STORAGES)
@pytest.mark.parametrize('compression', COMPRESSIONS)
def test_what_is_written_is_read(tmp_path: Path, storage: str, compression: str) -> None:
    if (storage, compression) == ('sqlite3', 'chunk'):
        with pytest.raises(BagError, match='sqlite3 has no chunks'):
            BagWriter(tmp_path / 'bag', storage, compression)
        return
    with BagWriter(tmp_path / 'bag', storage, compression) as bag:
        for topic, t_ns, cdr in MESSAGES:
            bag.add_topic(topic, STRING)
            bag.write(topic, t_ns, cdr)
    assert read(tmp_path / 'bag') == MESSAGES


def test_an_interrupted_recording_is_whole(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), BagWriter(tmp_path / 'bag') as bag:
        bag.add_topic('/a', STRING)
        bag.write('/a', T0, text('one'))
        raise KeyboardInterrupt
    assert read(tmp_path / 'bag') == [('/a', T0, text('one'))]
    with pytest.raises(BagError, match='exists already'):
        BagWriter(tmp_path / 'bag')


def test_results_are_read_back_from_a_bag(tmp_path: Path) -> None:
    kind = 'vision_msgs/msg/Detection2DArray'
    with BagWriter(tmp_path / 'bag') as bag:
        bag.add_topic('/found', kind)
        bag.write('/found', T0, bag.definitions.write(detections(bag)))
    with Bag(tmp_path / 'bag') as bag:
        (message,) = map(bag.parse, bag.messages())
    found = detections_of(message)
    np.testing.assert_allclose(found.xyxy, [[10, 20, 30, 60]])
    assert (found.score.tolist(), found.class_id.tolist()) == ([0.5], [7])
    assert stamp_ns_of(message) == T0 + 5


def detections(bag: BagWriter) -> object:
    """Return a Detection2DArray with one box around (20, 40), 20 wide and 40 high."""

    def make(name: str, **fields: object) -> object:
        return bag.definitions.make(name, **fields)

    stamp = make('builtin_interfaces/msg/Time', sec=T0 // 10**9, nanosec=5)
    header = make('std_msgs/msg/Header', stamp=stamp, frame_id='eye')
    best = make('vision_msgs/msg/ObjectHypothesis', class_id='7', score=0.5)
    pose = make(
        'geometry_msgs/msg/PoseWithCovariance',
        pose=make(
            'geometry_msgs/msg/Pose',
            position=make('geometry_msgs/msg/Point', x=0.0, y=0.0, z=0.0),
            orientation=make('geometry_msgs/msg/Quaternion', x=0.0, y=0.0, z=0.0, w=1.0),
        ),
        covariance=np.zeros(36),
    )
    result = make('vision_msgs/msg/ObjectHypothesisWithPose', hypothesis=best, pose=pose)
    centre = make(
        'vision_msgs/msg/Pose2D',
        position=make('vision_msgs/msg/Point2D', x=20.0, y=40.0),
        theta=0.0,
    )
    box = make('vision_msgs/msg/BoundingBox2D', center=centre, size_x=20.0, size_y=40.0)
    one = make('vision_msgs/msg/Detection2D', header=header, results=[result], bbox=box, id='')
    return make('vision_msgs/msg/Detection2DArray', header=header, detections=[one])


# -- what is wrong with a bag is reported -----------------------------------------------------


def problem(path: Path) -> str:
    with pytest.raises(BagError) as message:
        read(path)
    return str(message.value)


def test_wrong_places_are_reported(tmp_path: Path) -> None:
    assert 'there is no such bag' in problem(tmp_path / 'nowhere')
    assert 'a folder with metadata.yaml' in problem(tmp_path)
    (tmp_path / 'drive.txt').write_text('a long drive')
    assert 'a .mcap, .db3 or .bag file' in problem(tmp_path / 'drive.txt')


def test_a_missing_topic_is_reported_with_those_that_are_there(tmp_path: Path) -> None:
    with Bag(rosbags_bag(tmp_path / 'bag')) as bag, pytest.raises(BagError) as message:
        list(bag.messages(['/camera/image_raw']))
    assert str(message.value).endswith(
        'has no topic /camera/image_raw; it has /a (std_msgs/msg/String), /b (std_msgs/msg/String)'
    )


@pytest.mark.parametrize('storage', [StoragePlugin.SQLITE3, StoragePlugin.MCAP])
def test_a_newer_metadata_is_read_by_what_is_in_the_files(
    tmp_path: Path, storage: StoragePlugin
) -> None:
    path = rosbags_bag(tmp_path / 'bag', storage)
    edit_metadata(path, version=99, storage_identifier='tape')
    assert read(path) == MESSAGES


def test_other_compressions_are_reported(tmp_path: Path) -> None:
    path = rosbags_bag(tmp_path / 'bag')
    edit_metadata(path, compression_mode='MESSAGE', compression_format='lzma')
    assert 'ros2 bag convert' in problem(path)


def test_an_mcap_of_another_profile_is_read_if_its_messages_are_cdr(tmp_path: Path) -> None:
    path = rosbags_bag(tmp_path / 'bag')
    file = path / 'bag.mcap'
    content = file.read_bytes()
    assert content.count(b'ros2') > 0
    file.write_bytes(content.replace(b'ros2', b'ros9', 1))
    assert read(file) == MESSAGES


def test_a_definition_that_cannot_be_read_is_reported(tmp_path: Path) -> None:
    """rosbag2 records the events of services with the text of the service as their definition."""
    service = 'int64 a\n---\nint64 sum\n'
    known, unknown = Definitions(), 'acme_msgs/srv/Add_Event'
    known.give(unknown, MessageDefinition(MessageDefinitionFormat.MSG, service))
    known.give(STRING, MessageDefinition(MessageDefinitionFormat.MSG, service))
    with pytest.raises(BagError, match=r'Add_Event is not known.*cannot be read'):
        known.read(unknown, b'')
    assert known.read(STRING, text('one')).data == 'one'  # an installed package has it too


def test_an_unknown_type_is_reported(tmp_path: Path) -> None:
    path = early_bag(tmp_path / 'bag', msgtype='acme_msgs/msg/Rocket')
    with Bag(path) as bag:
        first = next(bag.messages())  # raw bytes pass all the same
        with pytest.raises(BagError, match=r'/a: the type acme_msgs/msg/Rocket is not known'):
            bag.parse(first)


@pytest.fixture(scope='module')
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[object, object], Path]:
    folder = tmp_path_factory.mktemp('whole')
    return {kind: rosbags_bag(folder / f'bag{i}', *kind) for i, kind in enumerate(KINDS)}


@settings(max_examples=40, deadline=None)
@given(kind=st.sampled_from(KINDS), share=st.floats(0.0, 0.999), flip=st.booleans())
def test_damage_anywhere_is_a_bag_error_or_harmless(
    whole: dict[tuple[object, object], Path],
    tmp_path_factory: pytest.TempPathFactory,
    kind: tuple[StoragePlugin, CompressionMode],
    share: float,
    flip: bool,
) -> None:
    """A file cut off, or a byte turned over: no other exception; what is lost is reported."""
    path = tmp_path_factory.mktemp('damaged') / whole[kind].name
    shutil.copytree(whole[kind], path)
    (file,) = (f for f in path.iterdir() if f.suffix != '.yaml')
    content = bytearray(file.read_bytes())
    place = int(share * len(content))
    if flip:
        content[place] ^= 0xFF
    else:
        del content[place:]
    file.write_bytes(content)
    try:
        with Bag(path) as bag:
            found = [(m.topic, m.t_ns, bytes(m.cdr)) for m in bag.messages()]
    except BagError as error:
        assert '/a (std_msgs/msg/String)' in str(error)  # metadata.yaml still knows
    else:
        assert flip or [m for m in MESSAGES if m in found] == found
        assert len(found) == len(MESSAGES) or bag.warnings
