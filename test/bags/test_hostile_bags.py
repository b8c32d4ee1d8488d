"""Bags that somebody made to harm: no code runs, nothing hangs, nothing takes all there is."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import mcap_files as mcap
import pytest
from bag_files import MESSAGES, STRING, early_bag, edit_metadata, rosbags_bag
from rosbags.rosbag2 import CompressionMode, StoragePlugin

from yolox_trt_ros.bags.definitions import installed_definition
from yolox_trt_ros.bags.limits import MIB, Limits
from yolox_trt_ros.bags.names import is_installed
from yolox_trt_ros.bags.reader import Bag
from yolox_trt_ros.core.errors import BagError

SMALL = Limits(memory_bytes=64 * MIB, disk_bytes=64 * MIB, seconds=1.0)
RECURSIVE = 'WITH RECURSIVE t(x) AS (VALUES(1) UNION ALL SELECT x + 1 FROM t)'


def read(path: Path, limits: Limits | None = None) -> tuple[list[tuple[str, int, bytes]], str]:
    with Bag(path, limits) as bag:
        found = [(m.topic, m.t_ns, m.cdr) for m in bag.messages()]
        return found, '\n'.join(bag.warnings)


@contextmanager
def database(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path)) as opened:
        yield opened
        opened.commit()


@pytest.fixture
def db3(tmp_path: Path) -> Path:
    return early_bag(tmp_path / 'early') / 'early_0.db3'


# -- SQLite --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    'view',
    [
        f'CREATE VIEW topics AS {RECURSIVE} SELECT x AS id, "/a" AS name, "a/b" AS type, '
        '"cdr" AS serialization_format FROM t',
        'CREATE VIEW topics AS SELECT 1 AS id, "/a" AS name, hex(zeroblob(900000000)) AS type, '
        '"cdr" AS serialization_format',
    ],
)
def test_a_view_in_place_of_topics_is_not_asked(db3: Path, view: str) -> None:
    with database(db3) as opened:
        opened.execute('ALTER TABLE topics RENAME TO old')
        opened.execute(view)
    found, message = read(db3, SMALL)  # the rows of the old table are there
    assert found == MESSAGES
    assert 'view in place of the table "topics"' in message


def test_a_view_in_place_of_messages_is_not_asked(db3: Path) -> None:
    with database(db3) as opened:
        opened.execute('DROP TABLE messages')
        opened.execute(
            f'CREATE VIEW messages AS {RECURSIVE} SELECT x AS id, 1 AS topic_id, x AS timestamp, '
            'zeroblob(9) AS data FROM t'
        )
    with pytest.raises(BagError, match='view in place of the table "messages"'):
        read(db3, SMALL)


def test_computed_columns_are_not_computed(db3: Path) -> None:
    with database(db3) as opened:
        opened.execute('ALTER TABLE messages RENAME TO old')
        opened.execute(
            'CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER, timestamp INTEGER, '
            'data BLOB AS (zeroblob(900000000)))'
        )
        opened.execute('INSERT INTO messages(topic_id, timestamp) VALUES (1, 5)')
    found, message = read(db3, SMALL)
    assert found == MESSAGES and 'computed columns' in message


def test_values_of_wrong_types_are_counted(db3: Path) -> None:
    with database(db3) as opened:
        opened.execute('CREATE TABLE m AS SELECT * FROM messages')
        opened.execute('DROP TABLE messages')
        opened.execute('CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id, timestamp, data)')
        opened.execute('INSERT INTO messages SELECT * FROM m')
        opened.execute('UPDATE messages SET data = NULL WHERE id = 1')
        opened.execute('UPDATE messages SET data = 7 WHERE id = 2')
        opened.execute('UPDATE messages SET data = "text" WHERE id = 3')
        opened.execute('UPDATE messages SET topic_id = 99 WHERE id = 4')
    found, message = read(db3)
    assert found == MESSAGES[4:]
    assert '3 rows have no bytes' in message and '1 messages with no topic' in message


@pytest.mark.parametrize('value', [-5, 2**62, 1e300, 'soon', None, b'x'])
def test_times_that_are_none_cost_their_messages(db3: Path, value: object) -> None:
    with database(db3) as opened:
        opened.execute('CREATE TABLE m AS SELECT * FROM messages')
        opened.execute('DROP TABLE messages')
        opened.execute('CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id, timestamp, data)')
        opened.execute('INSERT INTO messages SELECT * FROM m')
        opened.execute('DROP TABLE m')
        opened.execute('UPDATE messages SET timestamp = ? WHERE id = 7', (value,))
    found, message = read(db3)
    assert found == MESSAGES[:6] + MESSAGES[7:]
    assert '1 messages with invalid times' in message


@pytest.mark.parametrize('name', ['/a\x1b[2J', '/a\n/b', '', ' ', '/' + 'x' * 300, b'/\xff\xfe'])
def test_topics_of_odd_names_are_left_out(db3: Path, name: str | bytes) -> None:
    with database(db3) as opened:
        opened.execute('UPDATE topics SET name = CAST(? AS TEXT) WHERE id = 1', (name,))
    found, message = read(db3)
    assert found == [m for m in MESSAGES if m[0] == '/b']
    assert 'is left out: its name' in message
    assert all(c.isprintable() or c == '\n' for c in message)


@pytest.mark.parametrize('kind', ['this/msg/Zen', '../../x/y', 'os', 'a/b/c/d', '', 'X/msg/y'])
def test_odd_types_of_topics_end_nothing(db3: Path, kind: str) -> None:
    with database(db3) as opened:
        opened.execute('UPDATE topics SET type = ? WHERE id = 1', (kind,))
    with Bag(db3) as bag:
        messages = list(bag.messages())
        assert {m.topic for m in messages} >= {'/b'}
        for message in messages:
            if message.topic == '/a':
                with pytest.raises(BagError, match='is not known'):
                    bag.parse(message)


def test_nothing_but_files_of_interfaces_is_looked_at() -> None:
    assert is_installed('sensor_msgs/msg/Image')
    for name in ('this/msg/Zen', 'os/path', 'sensor_msgs/msg/../Image', 'antigravity/msg/X', 'a'):
        assert not is_installed(name)
        assert installed_definition(name) is None


def test_a_long_query_ends_by_its_time_and_by_ctrl_c(db3: Path, tmp_path: Path) -> None:
    """Both are looked at while SQLite runs."""
    program = f"""
import sqlite3, sys, threading, os, signal, time
from yolox_trt_ros.bags import sqlite
from yolox_trt_ros.bags.limits import Limits
from pathlib import Path
file = sqlite.SqliteFile(Path({str(db3)!r}), Limits(seconds=float(sys.argv[1])), print)
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have switched it off
timer = threading.Timer(float(sys.argv[2]), lambda: os.kill(os.getpid(), signal.SIGINT))
timer.daemon = True
timer.start()
file._database.set_authorizer(None)
file.clock.restart()
try:
    file._all({RECURSIVE!r} + ' SELECT max(x) FROM t')
except Exception as error:
    file._check_stopped(error)
"""
    for seconds, signal_s, expected in (('0.5', '60', 'takes longer'), ('60', '0.5', 'Keyboard')):
        command = [sys.executable, '-c', program, seconds, signal_s]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=50)
        assert expected in ended.stderr


# -- what is packed ------------------------------------------------------------------------------


def test_a_packed_file_that_fills_the_disk_is_refused(tmp_path: Path) -> None:
    path = tmp_path / 'a.mcap.zstd'
    path.write_bytes(mcap.zstd.compress(mcap.header() + bytes(300 * MIB)))
    assert path.stat().st_size < 64 * 1024
    with pytest.raises(BagError, match=r'more than 2.. MiB.*--bag-disk raises it'):
        Bag(path)  # by default no more than the ratio allows
    with pytest.raises(BagError, match=r'more than 64.0 MiB'):
        Bag(path, SMALL)
    assert not list(Path(os.environ.get('TMPDIR', '/tmp')).glob('yolox_trt_ros_bag_*'))


@pytest.mark.parametrize('codec', ['zstd', 'lz4'])
def test_a_chunk_that_fills_the_memory_is_refused(tmp_path: Path, codec: str) -> None:
    path = tmp_path / 'a.mcap'
    packed = mcap.PACKERS[codec](bytes(300 * MIB))
    for size in (300 * MIB, 2**40):
        bomb = mcap.chunk(b'', 0, 1, codec, size, 0, packed)
        path.write_bytes(mcap.header() + b''.join(mcap.chunks(MESSAGES)) + bomb + mcap.end())
        with pytest.raises(BagError, match=r'--bag-memory raises it'):
            Bag(path, SMALL)
    lies = mcap.chunk(b'', 0, 1, codec, 1000, 0, packed)
    path.write_bytes(mcap.header() + b''.join(mcap.chunks(MESSAGES)) + lies + mcap.end())
    found, message = read(path, SMALL)
    assert found == MESSAGES and 'more than the 1000 bytes that it declares' in message


def test_a_message_that_fills_the_memory_is_refused(tmp_path: Path) -> None:
    path = rosbags_bag(tmp_path / 'bag', StoragePlugin.SQLITE3, CompressionMode.MESSAGE)
    with database(path / 'bag.db3') as opened:
        bomb = mcap.zstd.compress(bytes(300 * MIB))
        opened.execute('UPDATE messages SET data = ? WHERE id = 3', (bomb,))
    with pytest.raises(BagError, match=r'--bag-memory raises it'):
        read(path, SMALL)


# -- files that are none -------------------------------------------------------------------------


def test_pipes_sockets_and_devices_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / 'pipe.mcap')
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / 'socket.db3'))
        for name in ('pipe.mcap', 'socket.db3'):
            with pytest.raises(BagError, match=r'regular file|cannot be opened'):
                Bag(tmp_path / name)
    with pytest.raises(BagError, match='got a device'):
        Bag('/dev/zero')
    (tmp_path / 'loop.mcap').symlink_to('loop.mcap')
    with pytest.raises(BagError, match='cannot be opened'):
        Bag(tmp_path / 'loop.mcap')
    path = rosbags_bag(tmp_path / 'bag')
    (path / 'metadata.yaml').unlink()
    os.mkfifo(path / 'metadata.yaml')
    os.mkfifo(path / 'other.db3')
    found, message = read(path)
    assert found == MESSAGES
    assert message.count('got a pipe') == 2


# -- metadata ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    'content',
    [
        b'', b'{', b'a: [', b'[1, 2]', b'5', b'\xff\xfe', b'rosbag2_bagfile_information: 7',
        b'rosbag2_bagfile_information: {}', b'a: &a [*a]', b'x: 2026-13-45', b'[' * 5000,
        b'rosbag2_bagfile_information: {relative_file_paths: 5, message_count: ten}',
        b'rosbag2_bagfile_information: {version: 9, topics_with_message_count: [5, {}, [1]]}',
        b'rosbag2_bagfile_information: {message_count: 1' + b'0' * 5000 + b'}',
    ],
)  # fmt: skip
def test_metadata_that_is_none_costs_nothing(tmp_path: Path, content: bytes) -> None:
    path = rosbags_bag(tmp_path / 'bag')
    (path / 'metadata.yaml').write_bytes(content)
    found, _ = read(path)
    assert found == MESSAGES


@pytest.mark.parametrize('depth', [10**20, -1, 'many', None, 1.5, [1]])
def test_a_quality_of_service_that_is_none_is_reported(tmp_path: Path, depth: object) -> None:
    path = rosbags_bag(tmp_path / 'bag')
    topic = {
        'topic_metadata': {
            'name': '/a',
            'type': STRING,
            'serialization_format': 'cdr',
            'offered_qos_profiles': [{'depth': depth}],
        },
        'message_count': 20,
    }
    edit_metadata(path, topics_with_message_count=[topic])
    found, message = read(path)
    assert found == MESSAGES and '/a: quality of service is not read' in message


# -- definitions ---------------------------------------------------------------------------------
