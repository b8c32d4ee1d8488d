"""From a damaged file everything whole is read, and the rest is reported: where, how much."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import mcap_files as mcap
import pytest
from bag_files import MESSAGES, STRING, T0, rosbags_bag, text
from rosbags.rosbag2 import CompressionMode, StoragePlugin

from yolox_trt_ros.bags.reader import Bag
from yolox_trt_ros.bags.writer import BagWriter
from yolox_trt_ros.core.errors import BagError

Read = list[tuple[str, int, bytes]]


def salvaged(path: Path) -> tuple[Read, str]:
    with Bag(path) as bag:
        found = [(m.topic, m.t_ns, m.cdr) for m in bag.messages()]
        assert sum(t.count for t in bag.topics.values()) >= len(found)
        return found, '\n'.join(bag.warnings)


def write(path: Path, *parts: bytes) -> Path:
    path.write_bytes(b''.join(parts))
    return path


# -- MCAP ----------------------------------------------------------------------------------------


def test_a_file_that_needs_no_index_is_no_surprise(tmp_path: Path) -> None:
    for codec in ('', 'zstd', 'lz4'):
        made = mcap.chunks(MESSAGES, codec)
        path = write(tmp_path / 'a.mcap', mcap.header(), *made, mcap.end())
        assert salvaged(path) == (MESSAGES, '')


def test_messages_outside_chunks_are_read_in_order(tmp_path: Path) -> None:
    describe = mcap.schema(1, STRING, 'ros2msg', 'string data\n')
    describe += mcap.channel(1, 1, '/a') + mcap.channel(2, 1, '/b')
    loose = [mcap.message('/a/b'.index(t) // 2 + 1, t_ns, cdr) for t, t_ns, cdr in MESSAGES]
    path = write(tmp_path / 'a.mcap', mcap.header(), describe, *reversed(loose), mcap.end())
    assert salvaged(path) == (MESSAGES, '')


@pytest.mark.parametrize('codec', ['', 'zstd', 'lz4'])
def test_a_recording_without_an_end_is_read(tmp_path: Path, codec: str) -> None:
    path = write(tmp_path / 'a.mcap', mcap.header(), *mcap.chunks(MESSAGES, codec))
    found, message = salvaged(path)
    assert found == MESSAGES
    assert 'has no end' in message and '60 messages are whole' in message


@pytest.mark.parametrize('codec', ['', 'zstd', 'lz4'])
def test_a_file_cut_within_a_chunk_is_read_up_to_there(tmp_path: Path, codec: str) -> None:
    made = mcap.chunks([(t, n, c + b'abcdefgh' * 99) for t, n, c in MESSAGES], codec)
    begin = mcap.header() + b''.join(made[:-1])
    path = write(tmp_path / 'a.mcap', begin, made[-1][: len(made[-1]) * 2 // 3])
    found, message = salvaged(path)
    assert 50 <= len(found) < 60 and (codec != '' or len(found) > 55)
    assert [m[:2] for m in found] == [m[:2] for m in MESSAGES[: len(found)]]
    assert f'ends within the chunk at byte {len(begin)}' in message
    assert f'{len(found) - 50} whole messages' in message


@pytest.mark.parametrize('codec', ['', 'zstd', 'lz4'])
def test_a_damaged_chunk_in_the_middle_costs_itself(tmp_path: Path, codec: str) -> None:
    made = mcap.chunks(MESSAGES, codec)
    bad = bytearray(made[2])
    bad[len(bad) // 2] ^= 0x10
    at = len(mcap.header()) + len(made[0]) + len(made[1])
    parts = [mcap.header(), *made[:2], bytes(bad), *made[3:], mcap.end()]
    path = write(tmp_path / 'a.mcap', *parts)
    found, message = salvaged(path)
    assert found == MESSAGES[:20] + MESSAGES[30:]
    assert f'the chunk at byte {at}' in message and 'damaged' in message


def test_a_damaged_chunk_of_an_indexed_file_costs_itself(tmp_path: Path) -> None:
    with BagWriter(tmp_path / 'bag') as bag:
        for topic, t_ns, _ in MESSAGES:
            bag.add_topic(topic, STRING)
            bag.write(topic, t_ns, text('x' * 100_000))
    file = tmp_path / 'bag' / 'bag.mcap'
    content = bytearray(file.read_bytes())
    content[2_000_000:2_200_000] = bytes(200_000)
    file.write_bytes(content)
    found, message = salvaged(file)
    assert 40 < len(found) < 60
    assert 'damaged behind' in message and 'expected' not in message


@pytest.mark.parametrize('garbage', [b'\0' * 5000, bytes(range(256)) * 20, b'\x06' * 3000])
def test_garbage_between_chunks_is_passed_over(tmp_path: Path, garbage: bytes) -> None:
    made = mcap.chunks(MESSAGES, 'zstd')
    begin = mcap.header() + b''.join(made[:3])
    path = write(tmp_path / 'a.mcap', begin, garbage, *made[3:], mcap.end())
    found, message = salvaged(path)
    assert found == MESSAGES
    assert f'from byte {len(begin)} on contain no whole record' in message


def test_a_lying_length_costs_one_chunk(tmp_path: Path) -> None:
    made = mcap.chunks(MESSAGES, 'zstd')
    lying = made[2][:1] + (2**40).to_bytes(8, 'little') + made[2][9:]
    path = write(tmp_path / 'a.mcap', mcap.header(), *made[:2], lying, *made[3:], mcap.end())
    found, message = salvaged(path)
    assert found == MESSAGES[:20] + MESSAGES[30:]
    assert 'no whole record' in message


def test_an_unknown_compression_costs_its_chunks(tmp_path: Path) -> None:
    made = mcap.chunks(MESSAGES)
    odd = mcap.record(
        6, made[1][9:37], mcap.block('bz2'), len(made[1][49:]).to_bytes(8, 'little'), made[1][49:]
    )
    path = write(tmp_path / 'a.mcap', mcap.header(), made[0], odd, *made[2:], mcap.end())
    found, message = salvaged(path)
    assert found == MESSAGES[:10] + MESSAGES[20:]
    assert 'bz2' in message


@pytest.mark.parametrize('where', range(40))
def test_an_index_that_lies_changes_nothing(tmp_path: Path, where: int) -> None:
    """Whatever bytes of the index are other ones: all messages come, in order."""
    path = rosbags_bag(tmp_path / 'bag') / 'bag.mcap'
    content = bytearray(path.read_bytes())
    start = int.from_bytes(content[-28:-20], 'little')
    place = start + (len(content) - 37 - start) * where // 40
    content[place] ^= 0xA5
    path.write_bytes(content)
    with Bag(path) as bag:
        assert [m.t_ns for m in bag.messages()] == [m[1] for m in MESSAGES]


def test_attachments_and_metadata_are_passed_over(tmp_path: Path) -> None:
    more = mcap.record(9, bytes(16), mcap.block('a.txt'), mcap.block('text/plain'), bytes(16))
    more += mcap.record(12, mcap.block('rosbag2'), mcap.block(b''))
    made = mcap.chunks(MESSAGES)
    path = write(tmp_path / 'a.mcap', mcap.header(), more, *made, more, mcap.end())
    assert salvaged(path) == (MESSAGES, '')


def test_nothing_whole_is_an_error(tmp_path: Path) -> None:
    made = mcap.chunks(MESSAGES, 'zstd')
    for content in (mcap.header()[:8], mcap.header(), mcap.header() + made[0][:60], b''):
        path = write(tmp_path / 'a.mcap', content)
        with pytest.raises(BagError, match=r'no message that can be read|is empty'):
            Bag(path)


# -- SQLite --------------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a sqlite3 bag whose messages span many pages."""
    path = tmp_path_factory.mktemp('large') / 'bag'
    with BagWriter(path, 'sqlite3') as bag:
        for topic, t_ns, _ in MESSAGES:
            bag.add_topic(topic, STRING)
            bag.write(topic, t_ns, text('x' * (t_ns // 10**7 % 60 * 1500)))
    return path / 'bag.db3'


@pytest.mark.parametrize('share', [0.3, 0.5, 0.8, 0.95, 0.999])
def test_a_cut_database_gives_the_rows_it_has(large: Path, tmp_path: Path, share: float) -> None:
    cut = tmp_path / 'cut.db3'
    content = large.read_bytes()
    cut.write_bytes(content[: int(len(content) * share)])
    with Bag(large) as bag:
        whole = [(m.topic, m.t_ns, m.cdr) for m in bag.messages()]
    found, message = salvaged(cut)
    assert found == [m for m in whole if m in found]
    assert len(found) >= 60 * share * 0.3
    assert 'is cut off' in message and f'{len(found)} messages are whole' in message


def test_a_damaged_page_costs_its_rows(large: Path, tmp_path: Path) -> None:
    content = bytearray(large.read_bytes())
    page = 4096
    for number in range(60, 64):
        content[number * page : number * page + page] = b'\xff' * page
    bad = tmp_path / 'bad.db3'
    bad.write_bytes(content)
    found, _ = salvaged(bad)
    assert 50 <= len(found) <= 60


def test_a_damaged_time_index_costs_nothing(large: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(large)) as database:
        query = "SELECT rootpage FROM sqlite_master WHERE name = 'timestamp_idx'"
        ((root,),) = database.execute(query)
    content = bytearray(large.read_bytes())
    content[(root - 1) * 4096 : root * 4096] = b'\x55' * 4096
    bad = tmp_path / 'bad.db3'
    bad.write_bytes(content)
    found, message = salvaged(bad)
    assert len(found) == 60
    assert 'malformed' in message


def test_a_database_without_a_time_index_is_read_in_order(large: Path, tmp_path: Path) -> None:
    shutil.copy(large, tmp_path / 'a.db3')
    with closing(sqlite3.connect(tmp_path / 'a.db3')) as database:
        database.execute('DROP INDEX timestamp_idx')
        database.execute('UPDATE messages SET timestamp = 2 * ? - timestamp', (T0,))
        database.commit()
    found, message = salvaged(tmp_path / 'a.db3')
    times = [t_ns for _, t_ns, _ in found]
    assert times == sorted(times) and len(times) == 60 and not message


INTERRUPTED = """
import os, sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute(f'PRAGMA journal_mode={sys.argv[2]}')
database.execute('PRAGMA cache_size=5')
database.execute('BEGIN')
for i in range(20):
    row = (1, 1700000001000000000 + i, bytes([0, 1, 0, 0]) + bytes(8192))
    database.execute('INSERT INTO messages(topic_id, timestamp, data) VALUES (?, ?, ?)', row)
    if sys.argv[2] == 'wal':
        database.execute('COMMIT')
        database.execute('BEGIN')
os._exit(0)
"""


@pytest.mark.parametrize(('mode', 'rows'), [('wal', 80), ('delete', 60)])
def test_what_lies_in_a_journal_counts(large: Path, tmp_path: Path, mode: str, rows: int) -> None:
    """A recorder that was killed leaves what it had not yet moved, or what it would take back."""
    path = tmp_path / 'a.db3'
    shutil.copy(large, path)
    subprocess.run([sys.executable, '-c', INTERRUPTED, str(path), mode], check=True)
    journal = path.with_name(f'a.db3-{"wal" if mode == "wal" else "journal"}')
    assert journal.stat().st_size
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    found, message = salvaged(path)
    assert len(found) == rows
    assert f'{journal.name} is read too' in message
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


@pytest.mark.parametrize('storage', [StoragePlugin.SQLITE3, StoragePlugin.MCAP])
def test_a_cut_file_of_a_packed_bag_is_read(tmp_path: Path, storage: StoragePlugin) -> None:
    path = rosbags_bag(tmp_path / 'bag', storage, CompressionMode.FILE)
    (file,) = path.glob('*.zstd')
    whole = salvaged(path)[0]
    assert whole == MESSAGES
    file.write_bytes(file.read_bytes()[:-20])
    try:
        found, message = salvaged(path)
    except BagError as error:
        assert '/a (std_msgs/msg/String)' in str(error)
    else:
        assert found == [m for m in MESSAGES if m in found]
        assert 'ends early' in message
