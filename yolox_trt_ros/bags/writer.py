"""Write a bag that other tools read: mcap by default, sqlite3 on request."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from yolox_trt_ros.bags.definitions import Definitions
from yolox_trt_ros.bags.names import full_name
from yolox_trt_ros.bags.rosbags_library import interfaces, rosbag2
from yolox_trt_ros.core.errors import BagError, did_you_mean
from yolox_trt_ros.core.interruption import held_back

STORAGES = {'mcap': rosbag2.StoragePlugin.MCAP, 'sqlite3': rosbag2.StoragePlugin.SQLITE3}
COMPRESSIONS = {
    'none': rosbag2.CompressionMode.NONE,
    'chunk': rosbag2.CompressionMode.STORAGE,
    'message': rosbag2.CompressionMode.MESSAGE,
    'file': rosbag2.CompressionMode.FILE,
}
METADATA_VERSION = 8
"""Newer ones write QoS in a way that rosbag2 before Jazzy does not read."""


class BagWriter:
    """A bag that is open for writing; a context manager.

    It is finished, with its index, whatever ends the ``with`` block: a recording that is
    interrupted is still a recording.

    Args:
        path: a folder that does not exist yet.
        storage: a key of :data:`STORAGES`.
        compression: a key of :data:`COMPRESSIONS`; all of them zstd. ``chunk`` is mcap's own,
            which every mcap reader knows.
        definitions: of the types to write; those of a bag that is being copied know more.

    Raises:
        BagError: the folder exists or cannot be made, or the two do not go together.
    """

    def __init__(
        self,
        path: str | Path,
        storage: str = 'mcap',
        compression: str = 'none',
        definitions: Definitions | None = None,
    ) -> None:
        self.path = Path(path)
        self.definitions = definitions or Definitions()
        for value, valid in ((storage, STORAGES), (compression, COMPRESSIONS)):
            if value not in valid:
                near = did_you_mean(value, valid)
                raise BagError(f'"{value}" is not a storage or compression of a bag{near}')
        if storage == 'sqlite3' and compression == 'chunk':
            raise BagError('sqlite3 has no chunks: compress messages, the file, or choose mcap')
        try:
            self._writer = rosbag2.Writer(
                self.path, version=METADATA_VERSION, storage_plugin=STORAGES[storage]
            )
            self._writer.set_compression(COMPRESSIONS[compression], rosbag2.CompressionFormat.ZSTD)
            self._writer.open()
        except (OSError, rosbag2.WriterError) as error:
            raise BagError(f'{self.path}: cannot be written: {error}') from error
        self._connections: dict[str, Any] = {}
        self._open = True

    def __enter__(self) -> BagWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add_topic(self, name: str, msgtype: str, qos: Sequence[interfaces.Qos] = ()) -> None:
        """Declare a topic; one that is declared already is left as it is.

        Raises:
            BagError: its type is known nowhere.
        """
        if name in self._connections:
            return
        text, digest = self.definitions.text_and_hash(msgtype)
        self._connections[name] = self._writer.add_connection(
            name, full_name(msgtype), msgdef=text, rihs01=digest, offered_qos_profiles=list(qos)
        )

    def write(self, topic: str, t_ns: int, cdr: bytes | memoryview) -> None:
        """Write a serialised message of a declared topic.

        Args:
            topic: its name.
            t_ns: recording time, nanoseconds of the ROS clock.
            cdr: encapsulation header and body.
        """
        self._writer.write(self._connections[topic], t_ns, cdr)

    def close(self) -> None:
        """Write the index; a second call does nothing."""
        if self._open:
            self._open = False
            with held_back():
                self._writer.close()
