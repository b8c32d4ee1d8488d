"""Read what the classes of masks are called, how they are coloured, and which boxes are painted.

The files are Autoware's: its ``semseg_color_map.csv`` and ``roi_to_semseg_label_remap.csv``, as
``load_segmentation_colormap`` and ``load_label_id_remap_file`` of autoware_tensorrt_yolox read
them.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.printing import one_line, shown
from yolox_trt_ros.core.segmentation import MOST_CLASSES
from yolox_trt_ros.core.text_files import read_text

MOST_BYTES = 1 << 20
NO_CLASS = -1
"""In place of a number: boxes of this class are not painted."""


@dataclass(frozen=True, slots=True, eq=False)
class MaskColors:
    """Names and colours of the classes of masks.

    Attributes:
        labels: names, by number.
        bgr: uint8 (classes, 3).
    """

    labels: tuple[str, ...]
    bgr: np.ndarray


def read_mask_colors(file: Path) -> MaskColors:
    """Return the names and colours in a CSV file of rows ``id,name,r,g,b`` behind a head.

    Raises:
        ConfigError: the file is missing, or its rows are no such, or not numbered from 0 on.
    """
    where = one_line(file)
    labels, colours = [], []
    for place, row in enumerate(_rows(file, 5, 'id, name, r, g, b')):
        number, name, *rgb = row
        if number != str(place):
            raise ConfigError(f'{where}: expected the row of class {place}, got {shown(number)}')
        if not name:
            raise ConfigError(f'{where}: expected a name of class {place}, got none')
        labels.append(name)
        colours.append([_number(where, text, 0, 255) for text in reversed(rgb)])
    if not 1 <= len(labels) <= MOST_CLASSES:
        raise ConfigError(f'{where}: expected 1 to {MOST_CLASSES} classes, got {len(labels)}')
    return MaskColors(tuple(labels), np.array(colours, np.uint8))


def read_mask_boxes(file: Path, classes: int) -> dict[str, int]:
    """Return the class of the masks that boxes of each class of a model are painted with.

    Args:
        file: CSV with rows ``name,id`` behind a head; -1: they are not painted.
        classes: of the masks.

    Raises:
        ConfigError: the file is missing, or its rows are no such; a class is there twice.
    """
    where = one_line(file)
    found: dict[str, int] = {}
    for name, number in _rows(file, 2, 'a class of the model, the number of one of the masks'):
        if not name or name in found:
            raise ConfigError(f'{where}: expected each class once, got {shown(name)} again')
        found[name] = _number(where, number, NO_CLASS, classes - 1)
    if not found:
        raise ConfigError(f'{where}: expected names of classes, got none')
    return found


def _rows(file: Path, columns: int, what: str) -> list[list[str]]:
    """Return the rows of a CSV file without its head, comments and empty lines."""
    where = one_line(file)
    text = read_text(file, most_bytes=MOST_BYTES, what='a table of classes')
    lines = io.StringIO('\n'.join(line.partition('#')[0] for line in text.splitlines()))
    try:
        rows = [[cell.strip() for cell in row] for row in csv.reader(lines)]
    except csv.Error as error:
        raise ConfigError(f'{where}: no CSV: {error}') from error
    rows = [row for row in rows if any(row)][1:]
    for row in rows:
        if len(row) != columns:
            raise ConfigError(
                f'{where}: expected {columns} columns behind a head ({what}), got '
                f'{shown(", ".join(row))}'
            )
    return rows


def _number(where: str, text: str, low: int, high: int) -> int:
    digits = text.removeprefix('-')
    if digits.isascii() and digits.isdecimal() and len(digits) < 9 and low <= int(text) <= high:
        return int(text)
    raise ConfigError(f'{where}: expected a number, {low} to {high}, got {shown(text)}')
