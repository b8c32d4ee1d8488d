"""Show the rows of a query: as a table for reading, as CSV or JSON for programs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

from rich.table import Table

from yolox_trt_ros.cli.console import Console
from yolox_trt_ros.core.printing import one_line

FORMATS = ('table', 'csv', 'json')
MOST_ROWS = 200
"""Rows of a table for reading; the other formats have all."""


def show(names: Sequence[str], rows: Sequence[tuple[Any, ...]], form: str) -> None:
    """Print rows to standard output in one of :data:`FORMATS`."""
    if form == 'json':
        print(json.dumps([dict(zip(names, row, strict=True)) for row in rows], default=str))
        return
    if form == 'csv':
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator='\n')
        writer.writerow(names)
        writer.writerows(rows)
        print(stream.getvalue(), end='')
        return
    table = Table(*map(one_line, names))
    for row in rows[:MOST_ROWS]:
        table.add_row(*map(_cell, row))
    console = Console()
    console.print(table)
    more = f', the first {MOST_ROWS} shown; --format csv has all' if len(rows) > MOST_ROWS else ''
    console.print(f'{len(rows)} rows{more}', highlight=False)


def _cell(value: Any) -> str:
    if value is None:
        return '–'
    return f'{value:.4g}' if isinstance(value, float) else one_line(value)
