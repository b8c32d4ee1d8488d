"""The tables of results: their columns, and how rows become Parquet files."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from yolox_trt_ros.fleet.packages import package

BOX = {'x1': 'float32', 'y1': 'float32', 'x2': 'float32', 'y2': 'float32'}
IMAGE = {'bag': 'string', 'segment': 'int32', 'camera': 'string', 'stamp_ns': 'int64'}
"""What an image is known by, in all tables about images."""

COLUMNS: dict[str, dict[str, str]] = {
    'detections': {
        **IMAGE, 'time': 'time', 'frame_id': 'string', 'class': 'string', 'class_id': 'int32',
        'score': 'float32', **BOX, 'model': 'string', 'version': 'string',
    },
    'images': {
        **IMAGE, 'time': 'time', 'recorded_ns': 'int64', 'topic': 'string', 'frame_id': 'string',
        'width': 'int32', 'height': 'int32', 'encoding': 'string', 'status': 'string',
        'reason': 'string', 'detections': 'int32', 'classes': 'strings', 'model': 'string',
        'version': 'string',
    },
    'truth': {**IMAGE, 'time': 'time', 'objects': 'objects'},
    'segments': {
        'bag': 'string', 'segment': 'int32', 'start_ns': 'int64', 'stop_ns': 'int64',
        'status': 'string', 'reason': 'string', 'images': 'int32', 'unread': 'int32',
        'detections': 'int32', 'seconds': 'float64', 'detect_s': 'float64', 'worker': 'string',
        'attempts': 'int32', 'cameras': 'strings', 'conditions': 'string', 'model': 'string',
        'model_sha256': 'string', 'version': 'string', 'finished': 'time',
    },
    'bags': {
        'bag': 'string', 'bytes': 'int64', 'storage': 'string', 'start_ns': 'int64',
        'end_ns': 'int64', 'images': 'int64', 'cameras': 'strings', 'missing': 'strings',
        'conditions': 'string', 'problem': 'string', 'warnings': 'strings',
    },
}  # fmt: skip
"""Columns of each table and their types; boxes are pixels of the image, times UTC."""
OF_SEGMENTS = ('detections', 'images', 'truth', 'segments')
"""Tables with a file for each segment, in the order in which they are written."""

Rows = Mapping[str, Sequence[Any]]


@cache
def schema(table: str) -> Any:
    """Return the Arrow schema of a table."""
    arrow = package('pyarrow')
    box = [arrow.field(name, arrow.float32()) for name in BOX]
    labelled = arrow.struct(
        [
            arrow.field('class', arrow.string()),
            *box,
            arrow.field('counted', arrow.bool_()),
            arrow.field('distance_m', arrow.float64()),
        ]
    )
    types = {
        'string': arrow.string(),
        'strings': arrow.list_(arrow.string()),
        'int32': arrow.int32(),
        'int64': arrow.int64(),
        'float32': arrow.float32(),
        'float64': arrow.float64(),
        'time': arrow.timestamp('us', tz='UTC'),
        'objects': arrow.list_(labelled),
    }
    return arrow.schema([(name, types[kind]) for name, kind in COLUMNS[table].items()])


def parquet(table: str, rows: Rows) -> bytes:
    """Return a Parquet file with rows of a table, given column by column.

    Args:
        table: a key of :data:`COLUMNS`.
        rows: values by column; ``time`` is that of ``stamp_ns`` and need not be given.
    """
    arrow, writer = package('pyarrow'), package('pyarrow.parquet')
    columns = dict(rows)
    if 'time' in COLUMNS[table] and 'time' not in columns:
        columns['time'] = [ns // 1000 for ns in columns['stamp_ns']]
    kept = {name: columns[name] for name in COLUMNS[table]}
    stream = io.BytesIO()
    writer.write_table(
        arrow.Table.from_pydict(kept, schema=schema(table)), stream, compression='zstd'
    )
    return stream.getvalue()


def empty(table: str) -> dict[str, list[Any]]:
    """Return a table without rows, to be filled."""
    return {name: [] for name in COLUMNS[table] if name != 'time'}


def add(rows: dict[str, list[Any]], **values: Any) -> None:
    """Add a row; every column but ``time`` must be given."""
    for name, column in rows.items():
        column.append(values[name])
