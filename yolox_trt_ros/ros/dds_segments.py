"""Shared-memory segments of Fast DDS on this machine: how large, whose, and whether in use."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

SHARED_MEMORY = Path('/dev/shm')
PROCESSES = Path('/proc')

_SEGMENT = re.compile(r'(?:fastdds|fastrtps)_[0-9a-f]{16}')
_LOCK = '_el'
"""Beside each segment; its process holds an exclusive lock on it, which ends with the process."""


def segments(folder: Path = SHARED_MEMORY) -> tuple[list[int], list[int]]:
    """Return the sizes in bytes of segments in use, and of those that killed processes left."""
    used: list[int] = []
    left: list[int] = []
    for path in folder.iterdir():
        if _SEGMENT.fullmatch(path.name) and (size := _size(path)):
            (used if _in_use(path) else left).append(size)
    return used, left


def largest_of(pid: int, folder: Path = SHARED_MEMORY) -> int | None:
    """Return the size in bytes of a process's largest segment, 0 if that is not in this folder.

    Args:
        pid: of the process; of its number, as the middleware tells it, only 16 bits are known.
        folder: of the shared-memory file system.

    Returns:
        None where no such process has one, or can be looked into: another user's, or in another
        container.
    """
    found = [size for process in _processes(pid) for size in _sizes_of(process, folder)]
    return max(found, default=None)


def largest_other(folder: Path = SHARED_MEMORY) -> int:
    """Return the size in bytes of the largest segment in use but this process's; 0: none."""
    sizes, _ = segments(folder)
    for own in _sizes_of(PROCESSES / 'self', folder):
        if own in sizes:
            sizes.remove(own)
    return max(sizes, default=0)


def _processes(pid: int) -> Iterator[Path]:
    for path in PROCESSES.iterdir():
        if path.name.isdigit() and int(path.name) & 0xFFFF == pid & 0xFFFF:
            yield path


def _sizes_of(process: Path, folder: Path) -> list[int]:
    """Return the sizes of the segments whose lock files a process has open."""
    found = []
    with suppress(OSError):  # gone, or not ours to look into
        for link in (process / 'fd').iterdir():
            with suppress(OSError):  # closed meanwhile
                name, lock, _ = Path(os.readlink(link)).name.partition(_LOCK)
                if lock and _SEGMENT.fullmatch(name):
                    found.append(_size(folder / name))
    return found


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _in_use(segment: Path) -> bool:
    try:
        with Path(f'{segment}{_LOCK}').open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:  # locked, or not ours to ask
        return True
    return False
