"""Bags as several tools write them."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import yaml
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

T0 = 1_700_000_000_000_000_000
STORE = get_typestore(Stores.ROS2_HUMBLE)
KINDS = [
    (StoragePlugin.SQLITE3, CompressionMode.NONE),
    (StoragePlugin.SQLITE3, CompressionMode.MESSAGE),
    (StoragePlugin.SQLITE3, CompressionMode.FILE),
    (StoragePlugin.MCAP, CompressionMode.NONE),
    (StoragePlugin.MCAP, CompressionMode.STORAGE),
    (StoragePlugin.MCAP, CompressionMode.MESSAGE),
    (StoragePlugin.MCAP, CompressionMode.FILE),
]


def text(words: str) -> bytes:
    """Return a std_msgs/String as CDR."""
    return bytes(STORE.serialize_cdr(STORE.types['std_msgs/msg/String'](words), STRING))


STRING = 'std_msgs/msg/String'
MESSAGES = [
    (('/a', '/b', '/b')[i % 3], T0 + i * 10**7, text(f'number {i} ' + 'x' * i)) for i in range(60)
]


def rosbags_bag(
    path: Path,
    storage: StoragePlugin = StoragePlugin.MCAP,
    compression: CompressionMode = CompressionMode.NONE,
    version: Any = 9,
) -> Path:
    """Write :data:`MESSAGES` as the rosbags library does."""
    writer = Writer(path, version=version, storage_plugin=storage)
    writer.set_compression(compression, CompressionFormat.ZSTD)
    with writer:
        topics = {
            name: writer.add_connection(name, STRING, typestore=STORE) for name in ['/a', '/b']
        }
        for topic, t_ns, cdr in MESSAGES:
            writer.write(topics[topic], t_ns, cdr)
    return path


def edit_metadata(path: Path, **changed: Any) -> None:
    """Change entries of a bag's metadata; None takes one away."""
    file = path / 'metadata.yaml'
    content = yaml.safe_load(file.read_text())
    information = content['rosbag2_bagfile_information']
    for name, value in changed.items():
        if value is None:
            information.pop(name, None)
        else:
            information[name] = value
    file.write_text(yaml.safe_dump(content))


def early_bag(path: Path, version: int = 1, msgtype: str = 'std_msgs/String') -> Path:
    """Write a bag as rosbag2 of Dashing did: no QoS, no definitions, absolute file paths."""
    path.mkdir()
    storage = sqlite3.connect(path / f'{path.name}_0.db3')
    storage.executescript(
        'CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT NOT NULL, type TEXT NOT NULL,'
        ' serialization_format TEXT NOT NULL);'
        'CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER NOT NULL,'
        ' timestamp INTEGER NOT NULL, data BLOB NOT NULL);'
        'CREATE INDEX timestamp_idx ON messages (timestamp ASC);'
    )
    names = ['/a', '/b']
    storage.executemany(
        'INSERT INTO topics VALUES (?, ?, ?, "cdr")',
        [(i + 1, name, msgtype) for i, name in enumerate(names)],
    )
    storage.executemany(
        'INSERT INTO messages(topic_id, timestamp, data) VALUES (?, ?, ?)',
        [(names.index(topic) + 1, t_ns, cdr) for topic, t_ns, cdr in MESSAGES],
    )
    storage.commit()
    storage.close()
    topics = [
        {
            'topic_metadata': {'name': name, 'type': msgtype, 'serialization_format': 'cdr'},
            'message_count': sum(m[0] == name for m in MESSAGES),
        }
        for name in names
    ]
    information = {
        'version': version,
        'storage_identifier': 'sqlite3',
        'relative_file_paths': [f'/home/somebody/{path.name}/{path.name}_0.db3'],
        'duration': {'nanoseconds': MESSAGES[-1][1] - T0},
        'starting_time': {'nanoseconds_since_epoch': T0},
        'message_count': len(MESSAGES),
        'topics_with_message_count': topics,
    }
    (path / 'metadata.yaml').write_text(
        yaml.safe_dump({'rosbag2_bagfile_information': information})
    )
    return path
