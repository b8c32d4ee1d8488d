"""Read COCO label files: images, categories and boxes that refer to each other."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.printing import one_line, shown
from yolox_trt_ros.core.text_files import member, of_kind, read_json

MOST_BYTES = 1 << 30
"""The training set of COCO itself has 450 MB of labels."""

Row = tuple[float, float, float, float, int, bool, float]


@dataclass(frozen=True, slots=True, eq=False)
class LabelledImage:
    """One image's labels.

    Attributes:
        file_name: as the file gives it.
        xyxy: float32 (n, 4), pixels.
        category: int64 (n,), index into the names.
        crowd: bool (n,), COCO's ``iscrowd``.
        distance_m: float64 (n,); NaN where not given.
    """

    file_name: str
    xyxy: np.ndarray
    category: np.ndarray
    crowd: np.ndarray
    distance_m: np.ndarray


def read_coco(file: Path) -> tuple[list[str], list[LabelledImage]]:
    """Return the names of the categories, and the images with their labels.

    Raises:
        ConfigError: the file is not COCO's format; the message names the entry.
    """
    content = read_json(file, most_bytes=MOST_BYTES, what='COCO labels')
    where = f'{one_line(file)}: expected COCO labels'
    categories = _by_id(content, 'categories', 'name', where)
    images = _by_id(content, 'images', 'file_name', where)
    numbers = {category: i for i, category in enumerate(categories)}
    rows: dict[Any, list[Row]] = {image: [] for image in images}
    for i, entry in enumerate(member(content, 'annotations', list, where)):
        place = f'{where}: annotations[{i}]'
        image = _known(entry, 'image_id', images, place)
        category = _known(entry, 'category_id', categories, place)
        rows[image].append(_row(entry, numbers[category], place))
    return list(categories.values()), [
        _labelled(name, rows[image]) for image, name in images.items()
    ]


def _by_id(content: dict[str, Any], part: str, name: str, where: str) -> dict[Any, str]:
    found: dict[Any, str] = {}
    for i, entry in enumerate(member(content, part, list, where)):
        place = f'{where}: {part}[{i}]'
        text = member(entry, name, str, place)
        number = _id(entry, 'id', place)
        if number in found:
            raise ConfigError(f'{place}: id {shown(number)} is given twice')
        found[number] = text
    return found


def _id(entry: dict[str, Any], key: str, where: str) -> Any:
    """Return an id: a whole number, or text in files of some programs."""
    if type(entry.get(key)) is str:
        return entry[key]
    return member(entry, key, int, where)


def _known(entry: Any, key: str, known: dict[Any, str], where: str) -> Any:
    number = _id(of_kind(entry, dict, where), key, where)
    if number not in known:
        raise ConfigError(f'{where}: {key} {shown(number)} is no id of the file')
    return number


def _row(entry: dict[str, Any], category: int, where: str) -> Row:
    box = member(entry, 'bbox', list, where)
    if len(box) != 4:
        raise ConfigError(f'{where}: bbox: expected 4 numbers, got {shown(box)}')
    x, y, w, h = (float(of_kind(v, float, f'{where}: bbox')) for v in box)
    if w < 0 or h < 0:
        raise ConfigError(f'{where}: bbox: expected a width and height of 0 or more, got {box}')
    crowd = bool(entry.get('iscrowd', False))
    given = entry.get('distance_m')
    distance_m = float(member(entry, 'distance_m', float, where)) if given is not None else math.nan
    return x, y, x + w, y + h, category, crowd, distance_m or math.nan


def _labelled(file_name: str, rows: list[Row]) -> LabelledImage:
    table = np.array(rows, float).reshape(-1, 7)
    return LabelledImage(
        file_name,
        table[:, :4].astype(np.float32),
        table[:, 4].astype(int),
        table[:, 5] > 0,
        table[:, 6],
    )
