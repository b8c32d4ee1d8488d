"""Bags where the reader can open them: in place, or a copy of what an object store has."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from yolox_trt_ros.core.errors import BagError
from yolox_trt_ros.core.printing import one_line
from yolox_trt_ros.fleet.packages import package
from yolox_trt_ros.fleet.store import filesystem_of, is_remote

PART_BYTES = 8 << 20
"""Copied at a time."""


@contextmanager
def local_copy(uri: str) -> Iterator[Path]:
    """Give the path of a bag; a copy ends with the ``with`` block.

    The copy lies in the folder for temporary files, which ``TMPDIR`` names.

    Raises:
        BagError: it cannot be read, or does not fit on the disk.
    """
    if not is_remote(uri):
        yield Path(uri)
        return
    with tempfile.TemporaryDirectory(prefix='yolox_trt_ros_bag_') as folder:
        fs, path = filesystem_of(uri)
        target = Path(folder, path.rpartition('/')[2])
        try:
            _copy(fs, path, target)
        except OSError as error:
            raise BagError(f'{one_line(uri)}: cannot be copied: {one_line(error)}') from error
        yield target


def _copy(fs: Any, path: str, target: Path) -> None:
    arrow = package('pyarrow.fs')
    info = fs.get_file_info(path)
    if info.is_file:
        _copy_file(fs, path, target)
        return
    target.mkdir()
    for one in fs.get_file_info(arrow.FileSelector(path)):
        if one.is_file:
            _copy_file(fs, one.path, target / one.path.rpartition('/')[2])


def _copy_file(fs: Any, path: str, target: Path) -> None:
    with fs.open_input_file(path) as stream, target.open('wb') as file:
        while part := stream.read(PART_BYTES):
            file.write(part)
