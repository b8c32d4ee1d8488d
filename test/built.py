"""What tests compile: made once in a run of the tests, by whichever process comes first."""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from pathlib import Path

from yolox_trt_ros.core.resources import cache_folder


def built(name: str, make: Callable[[Path], None]) -> Path:
    """Return a folder in the cache of this run that ``make`` has filled."""
    folder = cache_folder('tests') / name
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / 'lock').open('w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / 'done').exists():
            make(folder)
            (folder / 'done').touch()
    return folder
