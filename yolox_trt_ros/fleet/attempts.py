"""How often workers began each segment in one run: one that kills them all must not go on forever.

Ray starts another worker where one dies, and has it repeat the segment, without end.
"""

from __future__ import annotations

import json
from contextlib import suppress

from yolox_trt_ros.fleet.plan import FleetSegment
from yolox_trt_ros.fleet.store import Store

MOST = 3
"""Workers that may die over a segment before it counts as failed."""
FOLDER = 'attempts'


class Attempts:
    """Counts in small files beside the results.

    Args:
        store: of the results.
        run: what no other run is called.
    """

    def __init__(self, store: Store, run: str) -> None:
        self._store, self._run = store, run

    def begin(self, segment: FleetSegment) -> int:
        """Note that a worker begins a segment, and return which attempt it is, from 1."""
        name = f'{FOLDER}/{self._run}/{segment.file.removesuffix(".parquet")}.json'
        raw = self._store.read(name)
        attempt = 1 + (json.loads(raw) if raw else 0)
        self._store.write(name, json.dumps(attempt).encode())
        return attempt

    def forget(self) -> None:
        """Remove the files of this run."""
        fs, root = self._store.opened
        with suppress(OSError):
            fs.delete_dir(f'{root}/{FOLDER}/{self._run}')
        with suppress(OSError):
            if not self._store.names(FOLDER, ''):
                fs.delete_dir(f'{root}/{FOLDER}')
