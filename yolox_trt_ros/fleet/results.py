"""The results of a fleet: a folder of Parquet tables, a file for each segment in each of them.

A segment's files have names of their own and are replaced whole, and the one in ``segments`` comes
last: however often workers die and repeat it, each table has its rows once.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.fleet.index import IndexedBag
from yolox_trt_ros.fleet.job import FleetJob, check_same
from yolox_trt_ros.fleet.packages import package
from yolox_trt_ros.fleet.plan import FleetSegment
from yolox_trt_ros.fleet.store import Store
from yolox_trt_ros.fleet.tables import OF_SEGMENTS, Rows, add, empty, parquet, schema

RUN, BAGS = 'run.json', 'bags/bags.parquet'
OK, PARTIAL, FAILED = 'ok', 'partial', 'failed'
"""Of a segment: all images have results; some could not be read; nothing was written."""
READERS = 16


def begin(store: Store, job: FleetJob, resume: bool) -> None:
    """Take a folder for the results of a run.

    Raises:
        ConfigError: it has results and this is no resumption, or they are of another run.
    """
    raw = store.read(RUN)
    if raw is None:
        if resume:
            raise ConfigError(f'{store.uri}: has no results of a fleet that could be resumed')
        store.write(RUN, json.dumps(job.identity(), indent=1).encode() + b'\n')
        return
    if not resume:
        raise ConfigError(
            f'{store.uri}: has results already: --resume runs what is missing, or choose another '
            '--out'
        )
    check_same(json.loads(raw), job)


def require(store: Store) -> dict[str, Any]:
    """Return what the results of a folder are of.

    Raises:
        ConfigError: there are none.
    """
    raw = store.read(RUN)
    if raw is None:
        raise ConfigError(f'{store.uri}: has no results of a fleet: expected its --out')
    found: dict[str, Any] = json.loads(raw)
    return found


def write_segment(store: Store, segment: FleetSegment, tables: Mapping[str, Rows]) -> None:
    """Write the rows of a segment; those of ``segments`` last."""
    for name in OF_SEGMENTS:
        store.write(f'{name}/{segment.file}', parquet(name, tables[name]))


def _rows(store: Store, table: str, name: str) -> list[dict[str, Any]]:
    """Return the rows of a file; none if it is not there, or is no Parquet file that is whole."""
    reader, raw = package('pyarrow.parquet'), store.read(name)
    if raw is None:
        return []
    try:
        found: list[dict[str, Any]] = reader.read_table(
            io.BytesIO(raw), schema=schema(table)
        ).to_pylist()
    except (OSError, ValueError):  # pyarrow's errors are of these kinds
        return []
    return found


def segment_rows(store: Store) -> list[dict[str, Any]]:
    """Return the rows of the segments that were written; what is damaged counts as missing."""
    with ThreadPoolExecutor(READERS) as threads:
        names = store.names('segments', '.parquet')
        return [r for part in threads.map(partial(_rows, store, 'segments'), names) for r in part]


def remaining(store: Store, segments: Sequence[FleetSegment]) -> list[FleetSegment]:
    """Return the segments that have no results, or failed, or were cut otherwise."""
    done = {
        (row['bag'], row['segment'], row['start_ns'], row['stop_ns'])
        for row in segment_rows(store)
        if row['status'] != FAILED
    }
    return [s for s in segments if (s.bag, s.number, s.start_ns, s.stop_ns) not in done]


def written(store: Store, segment: FleetSegment) -> dict[str, Any] | None:
    """Return a segment's row if it was written; None: it was not."""
    return next(iter(_rows(store, 'segments', f'segments/{segment.file}')), None)


def write_bags(store: Store, bags: Sequence[IndexedBag]) -> None:
    """Write the table of all bags that were found, also of those that cannot be read.

    Bags of earlier runs into this folder stay.
    """
    rows, now = empty('bags'), {bag.found.uri for bag in bags}
    for row in _rows(store, 'bags', BAGS):
        if row['bag'] not in now:
            add(rows, **row)
    for bag in bags:
        add(
            rows,
            bag=bag.found.uri,
            bytes=bag.found.size,
            storage=bag.storage,
            start_ns=bag.start_ns,
            end_ns=bag.end_ns,
            images=bag.images,
            cameras=[camera.camera for camera in bag.cameras],
            missing=list(bag.missing),
            conditions=json.dumps(dict(bag.found.conditions)),
            problem=bag.problem,
            warnings=list(bag.warnings),
        )
    store.write(BAGS, parquet('bags', rows))
