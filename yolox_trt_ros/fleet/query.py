"""Ask the results of a fleet in SQL: DuckDB over the Parquet tables, wherever they lie."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.printing import one_line
from yolox_trt_ros.fleet.packages import package
from yolox_trt_ros.fleet.results import require
from yolox_trt_ros.fleet.store import Store
from yolox_trt_ros.fleet.tables import COLUMNS, schema


class ResultTables:
    """The tables of one fleet, in a DuckDB connection; a context manager.

    The files are read through pyarrow, so DuckDB needs no extension for object stores.

    Args:
        store: of the results.
        timezone: of ``hour(time)`` and of what is shown, such as ``Europe/Berlin``.

    Raises:
        ConfigError: there are no results; the time zone is unknown.
        MissingDependencyError: DuckDB is not installed.
    """

    def __init__(self, store: Store, timezone: str = 'UTC') -> None:
        require(store)
        duckdb, arrow = package('duckdb'), package('pyarrow')
        datasets = package('pyarrow.dataset')
        self._errors = duckdb.Error
        self._connection = duckdb.connect()
        try:
            self._connection.execute(f"SET TimeZone = '{timezone.replace(chr(39), '')}'")
        except duckdb.Error as error:
            self._connection.close()
            raise ConfigError(f'--timezone {one_line(timezone)}: {one_line(error)}') from error
        fs, root = store.opened
        day = arrow.schema([('day', arrow.string())])
        for table in COLUMNS:
            files = store.names(table, '.parquet')
            columns = schema(table)
            if table != 'bags':
                columns = arrow.unify_schemas([columns, day])
            found = datasets.dataset(
                [f'{root}/{name}' for name in files],
                columns,
                format='parquet',
                filesystem=fs,
                partitioning=datasets.partitioning(day, flavor='hive'),
                partition_base_dir=f'{root}/{table}',
            )
            self._connection.register(table, found)

    def __enter__(self) -> ResultTables:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def ask(self, sql: str, values: Sequence[Any] = ()) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Return names of columns, and rows.

        Raises:
            ConfigError: it is no SQL, or asks for what is not there.
        """
        try:
            self._connection.execute(sql, list(values))
            names = [column[0] for column in self._connection.description or ()]
            return names, self._connection.fetchall()
        except self._errors as error:
            tables = '; '.join(f'{name} ({", ".join(of)})' for name, of in COLUMNS.items())
            raise ConfigError(f'{one_line(error)}; tables: {tables}') from error

    def want(self, names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
        """Make the table ``wanted`` of rows of text and numbers, in place of an earlier one."""
        arrow = package('pyarrow')
        columns = zip(*rows, strict=True) if rows else [()] * len(names)
        table = dict(zip(names, map(list, columns), strict=True))
        kinds = {name: COLUMNS['images'].get(name, 'string') for name in names}
        types = arrow.schema(list(kinds.items()))
        self._connection.register('wanted', arrow.Table.from_pydict(table, schema=types))
