"""Read what classes are to be called in the result: a YAML or CSV file, many to one."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yolox_trt_ros.core.class_names import AUTOWARE
from yolox_trt_ros.core.errors import ConfigError, did_you_mean
from yolox_trt_ros.core.printing import one_line, shown
from yolox_trt_ros.core.text_files import read_text
from yolox_trt_ros.yaml_files import read_yaml

MOST_BYTES = 1 << 20
_WHAT = 'a map of classes'
_HEADS = {'name', 'label', 'class', 'class_name', 'label_name', 'category', 'from', 'source'}
"""What the first column of a CSV file may be called."""
_LEFT_OUT = -1
"""Autoware's number of a class that is left out."""


@dataclass(frozen=True, slots=True)
class ClassMap:
    """What the classes of a model are called in the result.

    Attributes:
        file: where this stands, for errors.
        targets: (class of the model by name or number, its name in the result or None to leave it
            out), in the order of the file.
        names: all names that the result has, if it is Autoware's list; otherwise empty.
    """

    file: str
    targets: tuple[tuple[str, str | None], ...]
    names: tuple[str, ...] = ()


def read_class_map(file: Path) -> ClassMap:
    """Return the map in a file.

    YAML has ``car: vehicle`` (an empty name leaves the class out) or ``vehicle: [car, truck]``. CSV
    has rows ``car,vehicle``, with or without a head. Autoware's remap files are such, but have a
    number of its ``ObjectClassification`` in place of the name, or -1; the first row is their head.

    Raises:
        ConfigError: the file is missing or has no such content, or names a class twice.
    """
    if not os.path.lexists(file):
        near = did_you_mean(file.name, (f.name for f in file.parent.glob(f'*{file.suffix}')))
        raise ConfigError(f'{one_line(file)}: there is no such file{near}')
    kind = file.suffix.lower()
    if kind == '.csv':
        found = _of_rows(file)
    elif kind in ('.yaml', '.yml'):
        pairs = tuple(_of_yaml(file))
        found = ClassMap(one_line(file), pairs)
    else:
        raise ConfigError(f'{one_line(file)}: expected a .csv, .yaml or .yml file')
    if not found.targets:
        raise ConfigError(f'{found.file}: expected names of classes, got none')
    sources = [source for source, _ in found.targets]
    if twice := next((s for i, s in enumerate(sources) if s in sources[:i]), None):
        raise ConfigError(f'{found.file}: class {shown(twice)} is there twice')
    return found


def _of_yaml(file: Path) -> Iterator[tuple[str, str | None]]:
    content = read_yaml(file, what=_WHAT, most_bytes=MOST_BYTES)
    for key, value in content.items():
        name = _name(file, key)
        if value is None or value == '':
            yield name, None
        elif isinstance(value, list):
            yield from ((_name(file, source), name) for source in value)
        else:
            yield name, _name(file, value)


def _name(file: Path, value: Any) -> str:
    number = isinstance(value, int) and not isinstance(value, bool)
    if number or (isinstance(value, str) and value.strip()):
        return str(value).strip()
    raise ConfigError(
        f'{one_line(file)}: expected names of classes, got {shown(value)}; put what YAML takes for '
        'a truth value or a fraction in quotes'
    )


def _of_rows(file: Path) -> ClassMap:
    where = one_line(file)
    text = read_text(file, most_bytes=MOST_BYTES, what=_WHAT)
    lines = io.StringIO('\n'.join(line.partition('#')[0] for line in text.splitlines()))
    try:
        rows = [[cell.strip() for cell in row] for row in csv.reader(lines)]
    except csv.Error as error:
        raise ConfigError(f'{where}: no CSV: {error}') from error
    rows = [row for row in rows if any(row)]
    for row in rows:
        if len(row) != 2 or not row[0]:
            raise ConfigError(
                f'{where}: expected two columns, a class of the model and its name in the result '
                f'(or Autoware’s number), got {shown(", ".join(row))}'
            )
    if len(rows) > 1 and all(map(_is_number, (target for _, target in rows[1:]))):
        return _of_autoware(where, rows[0 if _is_number(rows[0][1]) else 1 :])
    if rows and rows[0][0].lower() in _HEADS:
        rows = rows[1:]
    return ClassMap(where, tuple((source, target or None) for source, target in rows))


def _of_autoware(where: str, rows: list[list[str]]) -> ClassMap:
    targets = []
    for source, number in rows:
        if not _LEFT_OUT <= int(number) < len(AUTOWARE):
            raise ConfigError(
                f'{where}: {shown(source)}: expected a number of Autoware’s ObjectClassification, '
                f'0 to {len(AUTOWARE) - 1}, or {_LEFT_OUT}, got {number}'
            )
        targets.append((source, None if int(number) < 0 else AUTOWARE[int(number)]))
    return ClassMap(where, tuple(targets), AUTOWARE)


def _is_number(text: str) -> bool:
    digits = text.removeprefix('-')
    return digits.isascii() and digits.isdecimal() and len(digits) <= 9
