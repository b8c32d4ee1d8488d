"""What can still be told of a bag that cannot be read."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import yaml

from yolox_trt_ros.bags.definitions import full_name
from yolox_trt_ros.bags.rosbags_library import storage_mcap

STORAGES = ('.mcap', '.db3')
MCAP_MAGIC_BYTES = 8
NEWEST_VERSION = 9
"""Of rosbag2's metadata, as far as the rosbags library knows it."""


def topics_there(path: Path) -> list[str]:
    """Return ``name (type)`` of every topic that a damaged bag still shows; empty if none does."""
    found: dict[str, str] = {}
    for file in [path] if path.is_file() else sorted(path.iterdir()):
        look: Callable[[Path], Iterator[tuple[str, str]]] | None = {
            '.yaml': _of_metadata,
            '.db3': _of_sqlite,
            '.mcap': _of_mcap,
        }.get(file.suffix)
        if look:
            # Whatever is wrong with this file was told already: here only what is right counts.
            with suppress(Exception):
                for topic, kind in look(file):
                    found.setdefault(topic, full_name(kind))
    return [f'{topic} ({kind})' for topic, kind in sorted(found.items())]


def advice(path: Path, error: Exception) -> str:
    """Return what to do about a bag that cannot be read."""
    files = [path] if path.is_file() else sorted(path.iterdir())
    storages = [file.name for file in files if file.suffix in STORAGES]
    text = str(error)
    if path.is_dir() and not (path / 'metadata.yaml').is_file():
        if not storages:
            return 'A bag is a folder with metadata.yaml and .mcap or .db3 files.'
        return (
            'The recording was interrupted: "ros2 bag reindex" writes its metadata.yaml, or give '
            f'the file itself: {path / storages[0]}.'
        )
    if path.is_file() and path.suffix not in STORAGES:
        return 'Expected the folder of a bag, or a .mcap or .db3 file of ROS 2.'
    if 'version' in text:
        return f'Known are the versions 1 to {NEWEST_VERSION} of rosbag2; update rosbags.'
    if 'Profile' in text:
        return 'It is an mcap of something else than ROS 2.'
    if 'Serialization format' in text:
        return 'Known is cdr, what ROS 2 sends; "ros2 bag convert" writes that.'
    if 'Compression' in text or 'Storage plugin' in text:
        return 'Known are mcap and sqlite3, plain or zstd: "ros2 bag convert" writes these.'
    if any(name.endswith('.mcap') for name in storages):
        return 'It is damaged or cut off: "mcap recover" saves what is whole.'
    return 'It is damaged or cut off: "ros2 bag reindex" or "sqlite3 .recover" saves what is whole.'


def _of_metadata(file: Path) -> Iterator[tuple[str, str]]:
    information = yaml.safe_load(file.read_text())['rosbag2_bagfile_information']
    for entry in information['topics_with_message_count']:
        yield entry['topic_metadata']['name'], entry['topic_metadata']['type']


def _of_sqlite(file: Path) -> Iterator[tuple[str, str]]:
    connection = sqlite3.connect(f'file:{file}?mode=ro&immutable=1', uri=True)
    try:
        yield from connection.execute('SELECT name, type FROM topics')
    finally:
        connection.close()


def _of_mcap(file: Path) -> Iterator[tuple[str, str]]:
    """Read the file from its start as far as it goes; its index is at the end and may be lost."""
    reader = storage_mcap.McapReader(file)
    with file.open('rb') as stream:
        reader.bio = stream
        stream.seek(MCAP_MAGIC_BYTES + 1)
        storage_mcap.read_sized(stream)
        reader.data_start = stream.tell()
        reader.data_end = os.fstat(stream.fileno()).st_size
        with suppress(Exception):
            reader.meta_scan()
        yield from [(c.topic, c.msgtype) for c in reader.connections]
