"""COCO JSON: images, categories and annotations that refer to each other."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.output_files import write_whole
from yolox_trt_ros.core.printing import one_line, shown
from yolox_trt_ros.core.text_files import member, of_kind
from yolox_trt_ros.datasets.faults import Fault, Faults
from yolox_trt_ros.datasets.labelled import BoxRow, LabelledData, LabelledImage, boxes_of
from yolox_trt_ros.datasets.places import folder_of, numbers_of, safe_name

Entry = dict[str, Any]
Id = int | str


class _BadEntryError(Exception):
    """An entry of the file that cannot be used."""


def parse(content: Any, path: Path, pictures: Path | None) -> LabelledData:
    """Return what COCO labels say; entries that cannot be used are counted.

    Boxes are ``[left, top, width, height]`` in pixels from the picture's edge. ``area`` is taken
    from the annotation, ``iscrowd`` is ignored as COCO's evaluation does, and the extension
    ``distance_m`` is read.

    Args:
        content: of the JSON file.
        path: the file.
        pictures: folder of the pictures; None: looked for near the file.

    Raises:
        ConfigError: one of the three lists is missing, or one id stands for two things.
    """
    where = f'{one_line(path)}: expected COCO labels'
    faults = Faults()
    categories = _by_id(content, 'categories', 'name', where, faults)
    listed = _by_id(content, 'images', 'file_name', where, faults)
    numbers = {key: i for i, key in enumerate(categories)}
    rows: dict[Id, list[BoxRow]] = {key: [] for key in listed}
    for i, entry in enumerate(member(content, 'annotations', list, where)):
        _take(entry, f'annotations[{i}]', rows, numbers, faults)
    folder = folder_of(path, pictures, [str(e['file_name']) for e in listed.values()])
    images = [
        LabelledImage(
            entry['file_name'], folder / entry['file_name'], _pixels(entry, 'width'),
            _pixels(entry, 'height'), boxes_of(rows[key]),
        )
        for key, entry in listed.items()
    ]  # fmt: skip
    names = tuple(entry['name'] for entry in categories.values())
    return LabelledData(path.name, 'coco', names, images, faults)


def _take(
    entry: Any,
    place: str,
    rows: dict[Id, list[BoxRow]],
    numbers: dict[Id, int],
    faults: Faults,
) -> None:
    """Put an annotation's box to its image, or count what is wrong with it."""
    try:
        image, category = _id(entry, 'image_id'), _id(entry, 'category_id')
        x, y, w, h = _box(entry)
        crowd, ignore = _flag(entry, 'iscrowd'), _flag(entry, 'ignore')
        area, distance = _number(entry, 'area'), _number(entry, 'distance_m')
    except _BadEntryError as error:
        faults.add(Fault.BROKEN_ENTRY, f'{place}: {error}')
        return
    if image not in rows:
        faults.add(Fault.UNLISTED, f'{place}: image_id {shown(image)}')
    elif category not in numbers:
        faults.add(Fault.UNKNOWN_CLASS, f'{place}: category_id {shown(category)}')
    elif w < 0 or h < 0:
        faults.add(Fault.NEGATIVE_BOX, f'{place}: bbox {shown(entry["bbox"])}')
    else:
        if ignore and not crowd:
            faults.add(Fault.IGNORE_FLAG, place)
        rows[image].append(
            BoxRow((x, y, x + w, y + h), numbers[category], crowd, area, distance or math.nan)
        )


def _by_id(content: Entry, part: str, name: str, where: str, faults: Faults) -> dict[Id, Entry]:
    found: dict[Id, Entry] = {}
    for i, entry in enumerate(member(content, part, list, where)):
        place = f'{part}[{i}]'
        try:
            number = _id(entry, 'id')
            _of(entry, name, str)
        except _BadEntryError as error:
            faults.add(Fault.BROKEN_ENTRY, f'{place}: {error}')
            continue
        if number in found:
            raise ConfigError(f'{where}: {place}: id {shown(number)} is given twice')
        found[number] = entry
    return found


def _of(entry: Entry, key: str, kind: type) -> Any:
    value = entry.get(key)
    if type(value) is kind or (kind is float and type(value) is int):
        return value
    # The sentence is made only where it is needed: there may be a million entries.
    try:
        return member(entry, key, kind, 'entry', _BadEntryError)
    except _BadEntryError as error:
        raise _BadEntryError(str(error).removeprefix('entry: ')) from None


def _id(entry: Any, key: str) -> Id:
    """Return an id: a whole number, or text in files of some programs."""
    if type(entry) is not dict:
        of_kind(entry, dict, 'the entry', _BadEntryError)
    value: Id = entry[key] if type(entry.get(key)) is str else _of(entry, key, int)
    return value


def _box(entry: Entry) -> tuple[float, float, float, float]:
    found = numbers_of(_of(entry, 'bbox', list))
    if found is None:
        raise _BadEntryError(f'bbox: expected 4 numbers, got {shown(entry["bbox"])}')
    return found


def _flag(entry: Entry, key: str) -> bool:
    value = entry.get(key, 0)
    if type(value) not in (int, bool, float):
        raise _BadEntryError(f'{key}: expected 0 or 1, got {shown(value)}')
    return bool(value)


def _number(entry: Entry, key: str) -> float | None:
    return None if entry.get(key) is None else float(_of(entry, key, float))


def _pixels(entry: Entry, key: str) -> int:
    value = entry.get(key)
    return value if type(value) is int and value > 0 else 0


def write(data: LabelledData, folder: Path, split: str) -> Faults:
    """Write ``<split>.json``; the pictures belong into ``images``."""
    annotations: list[Entry] = []
    for number, image in enumerate(data.images, 1):
        for (x0, y0, x1, y1), class_id, ignored, area, distance_m in image.boxes.rows():
            entry: Entry = {
                'id': len(annotations) + 1,
                'image_id': number,
                'category_id': class_id + 1,
                'bbox': [x0, y0, x1 - x0, y1 - y0],
                'area': area,
                'iscrowd': int(ignored),
            }
            if math.isfinite(distance_m):
                entry['distance_m'] = distance_m
            annotations.append(entry)
    content = {
        'images': [
            {
                'id': number, 'file_name': safe_name(image.name), 'width': image.width,
                'height': image.height,
            }
            for number, image in enumerate(data.images, 1)
        ],
        'categories': [{'id': i, 'name': name} for i, name in enumerate(data.classes, 1)],
        'annotations': annotations,
    }  # fmt: skip
    write_whole(folder / f'{split}.json', json.dumps(content) + '\n')
    return Faults()
