"""A bag of several files: parts that are missing, renamed, doubled, or of another recording."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import mcap_files as mcap
import pytest
import yaml
from bag_files import KINDS, MESSAGES, STRING, edit_metadata, rosbags_bag
from rosbags.rosbag2 import CompressionMode, StoragePlugin

from yolox_trt_ros.bags.reader import Bag
from yolox_trt_ros.core.errors import BagError


def read(path: Path) -> tuple[list[tuple[str, int, bytes]], str]:
    with Bag(path) as bag:
        found = [(m.topic, m.t_ns, m.cdr) for m in bag.messages()]
        return found, '\n'.join(bag.warnings)


@pytest.fixture
def split(tmp_path: Path) -> Path:
    """Return a bag of three parts, 20 messages each."""
    path = tmp_path / 'drive'
    path.mkdir()
    names = [f'drive_{i}.mcap' for i in range(3)]
    for i, name in enumerate(names):
        made = mcap.chunks(MESSAGES[i * 20 : i * 20 + 20])
        (path / name).write_bytes(mcap.header() + b''.join(made) + mcap.end())
    topics = [
        {
            'topic_metadata': {'name': n, 'type': STRING, 'serialization_format': 'cdr'},
            'message_count': count,
        }
        for n, count in (('/a', 20), ('/b', 40))
    ]
    information: dict[str, Any] = {
        'version': 5,
        'storage_identifier': 'mcap',
        'relative_file_paths': names,
        'message_count': 60,
        'topics_with_message_count': topics,
    }
    text = yaml.safe_dump({'rosbag2_bagfile_information': information})
    (path / 'metadata.yaml').write_text(text)
    return path


def test_all_parts_are_read(split: Path) -> None:
    assert read(split) == (MESSAGES, '')


def test_parts_in_wrong_order_are_read_by_their_times(split: Path) -> None:
    names = [f'drive_{i}.mcap' for i in (2, 0, 1)]
    edit_metadata(split, relative_file_paths=names)
    assert read(split)[0] == MESSAGES


def test_parts_that_overlap_are_merged(split: Path) -> None:
    for i in range(3):
        made = mcap.chunks(MESSAGES[i::3])
        (split / f'drive_{i}.mcap').write_bytes(mcap.header() + b''.join(made) + mcap.end())
    assert read(split) == (MESSAGES, '')


def test_a_missing_part_is_named_and_the_rest_read(split: Path) -> None:
    (split / 'drive_1.mcap').unlink()
    found, message = read(split)
    assert found == MESSAGES[:20] + MESSAGES[40:]
    assert 'drive_1.mcap, which metadata.yaml names, are missing' in message
    assert 'metadata.yaml says 60 messages, the files have 40' in message
    (split / 'metadata.yaml').unlink()
    assert 'parts drive_1 seem to be missing' in read(split)[1]


@pytest.mark.parametrize('content', [b'', b'\x89MCAP0\r\n', b'something else'])
def test_a_part_that_is_none_is_named_and_the_rest_read(split: Path, content: bytes) -> None:
    (split / 'drive_1.mcap').write_bytes(content)
    found, message = read(split)
    assert found == MESSAGES[:20] + MESSAGES[40:]
    assert str(split / 'drive_1.mcap') in message


def test_renamed_parts_are_found(split: Path) -> None:
    for i in range(3):
        (split / f'drive_{i}.mcap').rename(split / f'monday_{i}.mcap')
    found, message = read(split)
    assert found == MESSAGES and 'monday_0.mcap, monday_1.mcap' in message


def test_the_metadata_of_another_recording_is_reported(split: Path, tmp_path: Path) -> None:
    other = rosbags_bag(tmp_path / 'other')
    shutil.copy(other / 'metadata.yaml', split / 'metadata.yaml')
    edit_metadata(split, message_count=7)
    found, message = read(split)
    assert found == MESSAGES
    assert 'other.mcap, which metadata.yaml names, are missing' in message
    assert 'metadata.yaml says 7 messages, the files have 60' in message


def test_a_part_that_is_there_twice_is_read_once(split: Path) -> None:
    shutil.copy(split / 'drive_1.mcap', split / 'drive_1 (copy).mcap')
    found, message = read(split)
    assert (
        found == MESSAGES and 'drive_1 (copy).mcap are not listed in its metadata.yaml' in message
    )
    (split / 'metadata.yaml').unlink()
    found, message = read(split)
    assert found == MESSAGES and 'holds the same as' in message
    edit = ['drive_0.mcap', 'drive_1.mcap', 'drive_1.mcap', 'drive_2.mcap']
    (split / 'metadata.yaml').write_text(
        yaml.safe_dump({'rosbag2_bagfile_information': {'relative_file_paths': edit}})
    )
    assert read(split)[0] == MESSAGES


def test_a_folder_without_metadata_is_a_bag(split: Path) -> None:
    (split / 'metadata.yaml').unlink()
    found, message = read(split)
    assert found == MESSAGES and 'has no metadata.yaml' in message


@pytest.mark.parametrize('storage', [StoragePlugin.SQLITE3, StoragePlugin.MCAP])
@pytest.mark.parametrize('mode', [m for s, m in KINDS if s == StoragePlugin.SQLITE3])
def test_a_file_alone_is_a_bag(
    tmp_path: Path, storage: StoragePlugin, mode: CompressionMode
) -> None:
    (file,) = (f for f in rosbags_bag(tmp_path / 'b', storage, mode).iterdir() if 'b.' in f.name)
    alone = tmp_path / file.name
    shutil.move(file, alone)
    assert read(alone) == (MESSAGES, '')
    other = alone.rename(tmp_path / 'without_suffix')
    assert read(other) == (MESSAGES, '')


def test_names_with_odd_characters_are_read(tmp_path: Path) -> None:
    for storage in (StoragePlugin.SQLITE3, StoragePlugin.MCAP):
        path = rosbags_bag(tmp_path / storage.name, storage)
        path = path.rename(tmp_path / f'a #1 ?x=%20 {storage.name}')
        (file,) = (f for f in path.iterdir() if f.suffix != '.yaml')
        assert read(path) == (MESSAGES, '')
        assert read(file.rename(tmp_path / f'#?%{file.suffix}')) == (MESSAGES, '')


@pytest.mark.parametrize(
    ('content', 'words'),
    [
        (b'version https://git-lfs.github.com/spec/v1\n', 'git lfs pull'),
        (b'\x1f\x8b\x08', 'gunzip'),
        (b'PK\x03\x04', 'unzip'),
        (b'SQLite format 3\0' + bytes(50), 'is not an SQLite file'),
        (b'\x89PNG\r\n', 'this begins with'),
    ],
)
def test_what_is_no_bag_is_reported(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / 'a.mcap'
    path.write_bytes(content)
    with pytest.raises(BagError, match=words):
        Bag(path)


def test_a_folder_of_bags_is_reported(tmp_path: Path) -> None:
    rosbags_bag(tmp_path / 'monday')
    with pytest.raises(BagError, match='contains bags: monday'):
        Bag(tmp_path)
