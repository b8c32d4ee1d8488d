"""BDD100K (Scalabel) JSON: a list of pictures, each with labels that have a ``box2d``.

Three arrangements are read: the list of the detection task, an object with that list under
``frames``, and the older file a picture, whose ``frames`` have ``objects``.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.output_files import write_whole
from yolox_trt_ros.core.printing import one_line, shown
from yolox_trt_ros.datasets.faults import Fault, Faults
from yolox_trt_ros.datasets.labelled import (
    BoxRow,
    ClassNumbers,
    LabelledData,
    LabelledImage,
    boxes_of,
)
from yolox_trt_ros.datasets.places import box_to_last_pixel, folder_of, numbers_of, safe_name

Entry = dict[str, Any]
AREAS = ('poly2d', 'box3d', 'rle', 'graph')
"""What labels have that are of lanes, areas, 3D boxes and masks: they are no boxes."""


def parse(content: Any, path: Path, pictures: Path | None) -> LabelledData:
    """Return what BDD100K's labels say; entries that cannot be used are counted.

    ``x2`` and ``y2`` are the last pixel, as Scalabel's conversion to COCO takes them: a box is
    ``x2 - x1 + 1`` wide. Labels with the attribute ``crowd`` or ``ignored`` are ignored; the
    extension ``distance_m`` is read from the attributes.

    Args:
        content: of the JSON file.
        path: the file.
        pictures: folder of the pictures; None: looked for near the file.

    Raises:
        ConfigError: it is none of the three arrangements.
    """
    where = f'{one_line(path)}: expected BDD100K labels'
    frames = content.get('frames') if isinstance(content, dict) else content
    if not isinstance(frames, list):
        raise ConfigError(
            f'{where}: a list of pictures, or one under "frames"; got {shown(content)}'
        )
    faults, numbers = Faults(), ClassNumbers(_listed(content))
    found: dict[str, LabelledImage] = {}
    for i, frame in enumerate(frames):
        # The older arrangement names the picture once, above its frames.
        above = content.get('name') if isinstance(content, dict) else None
        _take_frame(frame, f'[{i}]', above, numbers, faults, found)
    folder = folder_of(path, pictures, list(found))
    images = [
        LabelledImage(m.name, folder / m.name, m.width, m.height, m.boxes) for m in found.values()
    ]
    classes, images = numbers.sorted(images)
    return LabelledData(path.name, 'bdd100k', classes, images, faults)


def _listed(content: Any) -> list[str]:
    """Return the categories that Scalabel's configuration lists."""
    config = content.get('config') if isinstance(content, dict) else None
    listed = config.get('categories') if isinstance(config, dict) else None
    entries = listed if isinstance(listed, list) else []
    return [e['name'] for e in entries if isinstance(e, dict) and isinstance(e.get('name'), str)]


def _take_frame(
    frame: Any,
    place: str,
    above: Any,
    numbers: ClassNumbers,
    faults: Faults,
    found: dict[str, LabelledImage],
) -> None:
    name = frame.get('name', above) if isinstance(frame, dict) else None
    if not isinstance(name, str) or not name:
        faults.add(Fault.BROKEN_ENTRY, f'{place}: expected a "name", got {shown(frame)}')
        return
    labels = frame.get('labels', frame.get('objects'))
    if labels is not None and not isinstance(labels, list):
        faults.add(Fault.BROKEN_ENTRY, f'{place}: labels: expected a list, got {shown(labels)}')
        labels = None
    rows, where = [], f'{place} {one_line(name)}'
    for i, label in enumerate(labels or []):
        row = _row(label, f'{where}: labels[{i}]', numbers, faults)
        if row is not None:
            rows.append(row)
    if '.' not in name:
        name += '.jpg'  # of the older arrangement
    size = frame.get('size')
    width, height = (_pixels(size, key) for key in ('width', 'height'))
    if name in found:
        faults.add(Fault.REPEATED, f'{place}: {shown(name)}')
        rows = [*_rows_of(found[name]), *rows]
    found[name] = LabelledImage(name, Path(name), width, height, boxes_of(rows))


def _rows_of(image: LabelledImage) -> list[BoxRow]:
    return [
        BoxRow((x0, y0, x1, y1), class_id, ignored, None, distance_m)
        for (x0, y0, x1, y1), class_id, ignored, _, distance_m in image.boxes.rows()
    ]


def _pixels(size: Any, key: str) -> int:
    value = size.get(key) if isinstance(size, dict) else None
    return value if type(value) is int and value > 0 else 0


def _row(label: Any, place: str, numbers: ClassNumbers, faults: Faults) -> BoxRow | None:
    category = label.get('category') if isinstance(label, dict) else None
    if not isinstance(category, str) or not category:
        faults.add(Fault.BROKEN_ENTRY, f'{place}: expected a "category", got {shown(label)}')
        return None
    box = label.get('box2d')
    if box is None:
        kind = next((key for key in AREAS if label.get(key) is not None), 'nothing')
        faults.add(Fault.NO_BOX, f'{place}: {shown(category)} has {kind}')
        return None
    found = numbers_of(
        [box.get(k) for k in ('x1', 'y1', 'x2', 'y2')] if isinstance(box, dict) else 0
    )
    if found is None:
        faults.add(Fault.BROKEN_ENTRY, f'{place}: box2d: expected x1, y1, x2, y2, got {shown(box)}')
        return None
    pixels = box_to_last_pixel(found[:2], found[2:])
    if pixels is None:
        faults.add(Fault.NEGATIVE_BOX, f'{place}: box2d {shown(box)}')
        return None
    given = label.get('attributes')
    attributes: Entry = given if isinstance(given, dict) else {}
    ignored = bool(attributes.get('crowd')) or bool(attributes.get('ignored'))
    distance = attributes.get('distance_m')
    known = type(distance) in (int, float)
    return BoxRow(
        pixels, numbers[category], ignored, None,
        float(distance) if known and distance else float('nan'),
    )  # fmt: skip


def write(data: LabelledData, folder: Path, split: str) -> Faults:
    """Write ``<split>.json``; the pictures belong into ``images``."""
    frames, lost = [], Faults()
    for image in data.images:
        boxes = image.boxes
        labels: list[Entry] = []
        if other := boxes.outlined():
            lost.add(Fault.LOST_AREA, image.name, other)
        for (x0, y0, x1, y1), class_id, ignored, _, distance_m in boxes.rows():
            attributes: Entry = {'crowd': True} if ignored else {}
            if math.isfinite(distance_m):
                attributes['distance_m'] = distance_m
            labels.append(
                {
                    'id': str(len(labels)),
                    'category': data.classes[class_id],
                    'attributes': attributes,
                    'box2d': {'x1': x0, 'y1': y0, 'x2': x1 - 1, 'y2': y1 - 1},
                }
            )
        size = {'width': image.width, 'height': image.height}
        frames.append({'name': safe_name(image.name), 'size': size, 'labels': labels})
    content = {
        'frames': frames,
        'config': {'categories': [{'name': name} for name in data.classes]},
    }
    write_whole(folder / f'{split}.json', json.dumps(content) + '\n')
    return lost
