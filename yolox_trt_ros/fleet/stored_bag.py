"""Bags where they are: on a disk, or in an object store, where MCAP files are read in parts."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from yolox_trt_ros.bags.mcap_records import MAGIC
from yolox_trt_ros.bags.packing import DamageError
from yolox_trt_ros.bags.reader import Bag
from yolox_trt_ros.bags.storage import ByteSource, RegularFile, Warn
from yolox_trt_ros.core.errors import BagError
from yolox_trt_ros.core.printing import one_line
from yolox_trt_ros.fleet.packages import package
from yolox_trt_ros.fleet.store import filesystem_of, is_remote

PART_BYTES = 8 << 20
"""Read at a time of what is read from front to back."""
LEAST_BYTES = 64 << 10
"""Read at a time of what is not: a request takes as long as to send so much."""


@contextmanager
def opened_bag(uri: str, warn: Warn = lambda sentence: None) -> Iterator[Bag]:
    """Give a bag, open.

    Of an object store's MCAP files what is asked for is read there, and nothing else. Other files
    are copied to the folder for temporary files, which ``TMPDIR`` names, until the ``with`` block
    ends.

    Raises:
        BagError: it cannot be read, or does not fit on the disk.
    """
    if not is_remote(uri):
        with Bag(uri, warn=warn) as bag:
            yield bag
        return
    with tempfile.TemporaryDirectory(prefix='yolox_trt_ros_bag_') as folder:
        fs, path = filesystem_of(uri)
        stored = StoredFiles(fs)
        target = Path(folder, path.rpartition('/')[2])
        try:
            stored.bring(path, target)
        except OSError as error:
            raise BagError(f'{one_line(uri)}: cannot be read: {one_line(error)}') from error
        try:
            bag = Bag(target, warn=warn, open_file=stored.open)
        except BagError as error:
            raise BagError(str(error).replace(str(target), uri)) from error
        with bag:
            yield bag


class StoredFiles:
    """The files of one bag in an object store.

    Args:
        fs: pyarrow's file system.
    """

    def __init__(self, fs: Any) -> None:
        self._fs = fs
        self._far: dict[Path, StoredFile] = {}

    def bring(self, path: str, target: Path) -> None:
        """Put a bag's files into a folder: copies, or holes in place of those that stay there.

        Raises:
            OSError: the store or the disk refuses.
        """
        info = self._fs.get_file_info(path)
        if info.is_file:
            self._bring_file(info, target)
            return
        target.mkdir()
        for one in self._fs.get_file_info(package('pyarrow.fs').FileSelector(path)):
            if one.is_file:
                self._bring_file(one, target / one.path.rpartition('/')[2])

    def _bring_file(self, info: Any, target: Path) -> None:
        source = self._fs.open_input_file(info.path)
        far = StoredFile(target, source, info.size)
        if far.read(len(MAGIC), 0) == MAGIC:
            with target.open('wb') as file:
                file.truncate(info.size)  # a hole: it takes no room
            self._far[target] = far
            return
        source.seek(0)  # some stores have one position for all reads
        with source, target.open('wb') as file:
            while part := source.read(PART_BYTES):
                file.write(part)

    def open(self, file: Path) -> ByteSource:
        """Return what reads a file, here or there."""
        return self._far.get(file) or RegularFile(file)


class StoredFile:
    """A file of an object store that is read by position, from any thread.

    Small reads are answered from a window around them, which grows while they go on where the one
    before ended, as the search through a damaged file does.

    Args:
        path: what it is called here.
        source: pyarrow's file.
        size: bytes.
    """

    near = False

    def __init__(self, path: Path, source: Any, size: int) -> None:
        self.path, self.size, self._source = path, size, source
        self._lock = threading.Lock()
        self._at, self._window, self._step = 0, b'', LEAST_BYTES

    def read(self, count: int, at: int) -> bytes:
        """Return so many bytes from a position on, fewer at the end of the file.

        Raises:
            DamageError: the store does not give them.
        """
        count = max(0, min(count, self.size - at))
        with self._lock:
            begin = at - self._at
            have = self._window[begin : begin + count] if 0 <= begin <= len(self._window) else b''
            if len(have) == count:
                return have
            if count > self._step:
                return have + self._fetched(count - len(have), at + len(have))
            goes_on = 0 <= begin <= len(self._window) + LEAST_BYTES
            self._step = min(PART_BYTES, 2 * self._step) if goes_on else LEAST_BYTES
            self._window = self._fetched(min(max(count, self._step), self.size - at), at)
            self._at = at
            return self._window[:count]

    def _fetched(self, count: int, at: int) -> bytes:
        try:
            return bytes(self._source.read_at(count, at))
        except OSError as error:
            raise DamageError(f'cannot be read at byte {at}: {one_line(error)}') from error

    def close(self) -> None:
        """Leave it open: it is opened several times, and ends with the bag."""
