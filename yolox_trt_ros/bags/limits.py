"""Limits on memory, disk and time for reading a bag that may be malicious."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from yolox_trt_ros.core.errors import BagError

MIB = 1 << 20
UNPACKED_RATIO = 200
"""Of a packed file; recordings of raw images shrink to a tenth, of a simulation to a hundredth."""
UNPACKED_FREE_BYTES = 256 * MIB
"""May be unpacked whatever the ratio."""
SLOWEST_BYTES_PER_S = 4e6
"""Of a disk that is still waited for."""
START_S = 60.0
MEMORY, DISK, TIME = (f'YOLOX_TRT_ROS_BAG_{name}' for name in ('MEMORY_MIB', 'DISK_MIB', 'TIME_S'))
"""Environment variables that set the limits of this process and of those that it starts."""


@dataclass(frozen=True)
class Limits:
    """What reading one bag may take.

    Attributes:
        memory_bytes: one unpacked chunk, one message, or messages held to put them in order.
        disk_bytes: unpacked copies of its files; None: half of what is free, and no more than 200
            times the packed file.
        seconds: until it is open, and between two messages; None: 60 s, and 1 s for each 4 MB.
    """

    memory_bytes: int = 1024 * MIB
    disk_bytes: int | None = None
    seconds: float | None = None

    @staticmethod
    def here() -> Limits:
        """Return the limits that the environment sets, which the tools' options do.

        Raises:
            BagError: a variable is none of what it should be.
        """
        memory, disk, seconds = map(_variable, (MEMORY, DISK, TIME))
        return Limits(
            Limits.memory_bytes if memory is None else round(memory * MIB),
            None if disk is None else round(disk * MIB),
            seconds,
        )

    def check_memory(self, wanted: int, what: str) -> None:
        """Refuse to hold more than may be held.

        Raises:
            BagError: says the limit and how to raise it.
        """
        if wanted > self.memory_bytes:
            raise BagError(
                f'{what} asks for {size_text(wanted)} of memory, more than the limit of '
                f'{size_text(self.memory_bytes)}; --bag-memory raises it'
            )

    def disk_for(self, file: Path) -> int:
        """Return how many bytes a copy or the unpacked content of a file may take on disk."""
        if self.disk_bytes is not None:
            return self.disk_bytes
        free = shutil.disk_usage(tempfile.gettempdir()).free
        return min(free // 2, UNPACKED_FREE_BYTES + UNPACKED_RATIO * file.stat().st_size)

    def disk_error(self, file: Path, limit: int) -> BagError:
        """Return what is reported when a file takes more disk than it may."""
        return BagError(
            f'{file}: takes more than {size_text(limit)} in {tempfile.gettempdir()}, the limit; '
            '--bag-disk raises it, TMPDIR names another folder'
        )


def _variable(name: str) -> float | None:
    text = os.environ.get(name, '')
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < 2**40:
        raise BagError(f'{name}: expected a number above 0, got "{text[:40]}"')
    return value


class Clock:
    """Ends what takes too long.

    Args:
        limits: of the bag.
        path, size: of the file, for the sentence and for the time that it may take.
    """

    def __init__(self, limits: Limits, path: Path, size: int) -> None:
        self._path = path
        self.allowed_s = (
            limits.seconds if limits.seconds is not None else START_S + size / SLOWEST_BYTES_PER_S
        )
        self.restart()

    def restart(self) -> None:
        """Begin again."""
        self._end_s = time.monotonic() + self.allowed_s

    @property
    def over(self) -> bool:
        """Return whether the time is over."""
        return time.monotonic() > self._end_s

    def check(self) -> None:
        """Go on only while there is time.

        Raises:
            BagError: says the limit and how to raise it.
        """
        if self.over:
            raise self.error()

    def error(self) -> BagError:
        """Return what is reported when the time is over."""
        return BagError(
            f'{self._path}: reading it takes longer than {self.allowed_s:.0f} s, the limit; '
            '--bag-time raises it'
        )


def size_text(count: float) -> str:
    """Return a number of bytes for people."""
    for unit in ('bytes', 'KiB', 'MiB', 'GiB'):
        if count < 1024 or unit == 'GiB':
            break
        count /= 1024
    return f'{count:.0f} {unit}' if unit == 'bytes' or count >= 100 else f'{count:.1f} {unit}'
