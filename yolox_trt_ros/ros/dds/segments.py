"""List Fast DDS's shared-memory segments on this machine, and remove unused ones.

A participant makes a segment, which holds its messages, and for each of its ports a queue, which
others write to. Beside each lies a lock file, on which the kernel keeps the participant's lock
until its process is gone. A clean end removes all of them. A killed process leaves them, and Fast
DDS itself removes a segment never and a port only when the next process takes its number.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

SHARED_MEMORY = Path('/dev/shm')
PROCESSES = Path('/proc')

_SEGMENT = re.compile(r'(?:fastdds|fastrtps)_[0-9a-f]{16}')
_PORT = re.compile(r'(?:fastdds|fastrtps)_port\d+')
_LOCK = '_el'
"""Beside each segment; its process holds an exclusive lock on it, which ends with the process."""
_SHARED_LOCK = '_sl'
"""Beside a port that several processes read."""
_LOCKS = (_LOCK, _SHARED_LOCK)
JUST_MADE_S = 2.0
"""A younger file may be of a process that has not come to lock it yet."""


@dataclass(frozen=True, slots=True)
class Left:
    """What a process left that was killed: a segment or a port, with its lock files.

    Attributes:
        path: the segment or port.
        size: bytes.
        own: whether it is this user's, who may remove it.
    """

    path: Path
    size: int
    own: bool


def left_behind(folder: Path = SHARED_MEMORY) -> list[Left]:
    """Return the segments and ports of killed processes: nobody holds their locks."""
    found = []
    for path in _entries(folder):
        with suppress(OSError):  # gone meanwhile
            about = path.lstat()
            if stat.S_ISREG(about.st_mode) and not _just_made(path) and not _in_use(path):
                found.append(Left(path, about.st_size, about.st_uid == os.geteuid()))
    # A port is also a file that others write to; a segment they only read, and keep if they must.
    mapped = _mapped() if any(_PORT.fullmatch(left.path.name) for left in found) else set()
    return [
        left
        for left in found
        if _SEGMENT.fullmatch(left.path.name) or _file_id(left.path) not in mapped
    ]


def reclaim(folder: Path = SHARED_MEMORY) -> int:
    """Remove what killed processes of this user left behind, and return its bytes.

    What is in use stays: the locks are taken first, and held until the files are gone. A process
    that opens a port meanwhile finds it locked, and takes the next number.
    """
    freed = 0
    for left in left_behind(folder):
        with ExitStack() as locks, suppress(OSError):  # in use again, or not ours
            if left.own:
                there = [_lock(Path(f'{left.path}{suffix}'), locks) for suffix in _LOCKS]
                if not any(there):  # whoever opens the port now must find it locked
                    _lock(Path(f'{left.path}{_LOCK}'), locks, os.O_CREAT | os.O_EXCL)
                freed += left.size if _remove(left.path) else 0
    return freed


def remove_own(folder: Path = SHARED_MEMORY) -> list[str]:
    """Remove this process's segments and ports: right before it ends without its middleware.

    Returns:
        Their names; none where the middleware has ended as it should.
    """
    names = _held_by(PROCESSES / 'self')
    for name in names:
        _remove(folder / name)
    return names


def segments(folder: Path = SHARED_MEMORY) -> tuple[list[int], list[int]]:
    """Return the sizes in bytes of segments in use, and of those that killed processes left."""
    used: list[int] = []
    left: list[int] = []
    for path in folder.iterdir():
        if _SEGMENT.fullmatch(path.name) and (size := _size(path)):
            (used if _just_made(path) or _in_use(path) else left).append(size)
    return used, left


def largest_of(pid: int, folder: Path = SHARED_MEMORY) -> int | None:
    """Return the size in bytes of a process's largest segment, 0 if that is not in this folder.

    Args:
        pid: of the process; of its number, as the middleware shows it, only 16 bits are known.
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
    return [_size(folder / name) for name in _held_by(process) if _SEGMENT.fullmatch(name)]


def _held_by(process: Path) -> list[str]:
    """Return the segments and ports whose exclusive lock files a process has open."""
    found = []
    with suppress(OSError):  # gone, or not ours to look into
        for link in (process / 'fd').iterdir():
            with suppress(OSError):  # closed meanwhile
                name, lock, _ = Path(os.readlink(link)).name.partition(_LOCK)
                if lock and (_SEGMENT.fullmatch(name) or _PORT.fullmatch(name)):
                    found.append(name)
    return found


def _entries(folder: Path) -> Iterator[Path]:
    with suppress(OSError):  # no shared memory
        for path in folder.iterdir():
            if _SEGMENT.fullmatch(path.name) or _PORT.fullmatch(path.name):
                yield path


def _mapped() -> set[tuple[int, int]]:
    """Return device and inode of every port in memory of a process that can be looked into."""
    found: set[tuple[int, int]] = set()
    for process in PROCESSES.iterdir():
        if process.name.isdigit():
            with suppress(OSError):
                for line in (process / 'maps').read_text(errors='replace').splitlines():
                    if '_port' in line:
                        _, _, _, device, inode, _ = line.split(maxsplit=5)
                        major, minor = (int(part, 16) for part in device.split(':'))
                        found.add((os.makedev(major, minor), int(inode)))
    return found


def _file_id(path: Path) -> tuple[int, int] | None:
    with suppress(OSError):
        about = path.stat()
        return about.st_dev, about.st_ino
    return None


def _just_made(path: Path) -> bool:
    """Return whether a process may still be about to lock a segment or port.

    To ask for the lock is to hold it for a moment, in which that process would not get it.
    """
    made_s = 0.0
    for file in (path, Path(f'{path}{_LOCK}')):
        with suppress(FileNotFoundError):
            made_s = max(made_s, file.lstat().st_ctime)
    return time.time() - made_s <= JUST_MADE_S


def _lock(path: Path, locks: ExitStack, create: int = 0) -> bool:
    """Take a lock file's lock until the stack ends, and return whether there is such a file.

    Raises:
        OSError: somebody has it.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | create)
    except FileNotFoundError:
        return False
    locks.callback(os.close, fd)
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return True


def _remove(path: Path) -> bool:
    """Remove a segment or port and what belongs to it; return whether it was there."""
    beside = [path.with_name(f'sem.{path.name}_mutex'), *(Path(f'{path}{s}') for s in _LOCKS)]
    for file in (*beside, path):
        try:
            file.unlink()
        except OSError:
            there = False
        else:
            there = True
    return there


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _in_use(path: Path) -> bool:
    try:
        with ExitStack() as locks:
            for suffix in _LOCKS:
                _lock(Path(f'{path}{suffix}'), locks)
    except OSError:  # locked, or not ours to ask
        return True
    return False
