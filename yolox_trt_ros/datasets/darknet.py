"""Darknet's txt labels: a line a box, ``class centre_x centre_y width height`` as shares of 1."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from yolox_trt_ros.core.errors import ConfigError, FrameError
from yolox_trt_ros.core.output_files import write_whole
from yolox_trt_ros.core.printing import one_line, shown
from yolox_trt_ros.core.text_files import finite_number, read_text
from yolox_trt_ros.datasets.faults import Fault, Faults
from yolox_trt_ros.datasets.labelled import BoxRow, LabelledData, LabelledImage, boxes_of
from yolox_trt_ros.datasets.places import add_unreadable, numbers_of, picture_size, safe_name
from yolox_trt_ros.detect.labels import read_labels
from yolox_trt_ros.image_files import SUFFIXES
from yolox_trt_ros.yaml_files import read_yaml

NAMES = ('obj.names', 'classes.txt', '_darknet.labels', 'labels.names', 'data.yaml', 'dataset.yaml')
"""Files of class names that are looked for in the folder of the labels and above it."""
SPLITS = ('val', 'valid', 'test', 'train')
"""Parts of a ``.data`` or ``.yaml`` file; unless one is asked for, the first that is there."""


@dataclass(frozen=True, slots=True)
class Listing:
    """What is to be read.

    Attributes:
        names: of the classes.
        base: folder that the names of pictures are relative to.
        pictures: files.
    """

    names: tuple[str, ...]
    base: Path
    pictures: list[Path]


def listing(path: Path, names: Path | None, pictures: Path | None, split: str) -> Listing:
    """Return pictures and class names of a folder, a list, a ``.data`` or a ``.yaml`` file.

    Args:
        path: one of them.
        names: file of class names; None: looked for near the labels.
        pictures: folder of the pictures of a folder of labels; None: where the labels are, or
            ``images`` for ``labels``.
        split: part of a ``.data`` or ``.yaml`` file; empty: the first of :data:`SPLITS`.

    Raises:
        ConfigError: there are no pictures or no class names.
    """
    if path.suffix.lower() in ('.data', '.yaml', '.yml'):
        return _of_description(path, names, split)
    if path.is_dir():
        base = pictures or (path / 'images' if (path / 'images').is_dir() else path)
        if base.name == 'labels' and not pictures and (base.parent / 'images').is_dir():
            base = base.parent / 'images'
        return Listing(_names(path, names), base, _pictures_in(base))
    return _of_list(path, _names(path.parent, names), pictures)


def _of_description(path: Path, names: Path | None, split: str) -> Listing:
    """Read darknet's ``.data`` or Ultralytics' ``data.yaml``."""
    if path.suffix.lower() == '.data':
        lines = (line.partition('=') for line in read_text(path).splitlines() if '=' in line)
        content: dict[Any, Any] = {key.strip(): value.strip() for key, _, value in lines}
        named = names or (_near(path, content['names']) if content.get('names') else None)
    else:
        content, named = read_yaml(path, what='a data set'), names or path
    there = [key for key in SPLITS if isinstance(content.get(key), str)]
    wanted = [key for key in there if not split or key in (split, {'val': 'valid'}.get(split))]
    if not wanted:
        raise ConfigError(
            f'{one_line(path)}: expected pictures under {split or ", ".join(SPLITS)}, got '
            f'{one_line(", ".join(there)) or "none"}'
        )
    root = content.get('path')
    base = _near(path, root) if isinstance(root, str) and root else path.parent
    part = _near(base / 'x', content[wanted[0]])
    known = read_labels(named) if named else _names(path.parent, None)
    if part.is_dir():
        return Listing(known, part, _pictures_in(part))
    return _of_list(part, known, None)


def _near(file: Path, name: str) -> Path:
    """Return a path that a file names: beside it, or where the program is started."""
    beside = file.parent / name
    return beside if os.path.exists(beside) or not os.path.exists(name) else Path(name)


def _of_list(path: Path, names: tuple[str, ...], pictures: Path | None) -> Listing:
    lines = read_text(path, what='a list of pictures').splitlines()
    given = [line.strip() for line in lines if line.strip()]
    if not given:
        raise ConfigError(f'{one_line(path)}: expected a list of pictures, got an empty file')
    base = pictures or path.parent
    return Listing(names, base, [_near(base / 'x', name) for name in given])


def _pictures_in(folder: Path) -> list[Path]:
    found = sorted(f for f in folder.rglob('*') if f.suffix.lower() in SUFFIXES)
    if not found:
        raise ConfigError(f'{one_line(folder)}: expected pictures with darknet labels, got none')
    return found


def _names(folder: Path, given: Path | None) -> tuple[str, ...]:
    if given:
        return read_labels(given)
    for near in (folder, folder.parent):
        for name in NAMES:
            if os.path.isfile(near / name):
                return read_labels(near / name)
    raise ConfigError(
        f'{one_line(folder)}: darknet labels have numbers for classes: give their names with '
        f'--names, or put {NAMES[0]} beside them'
    )


def read(path: Path, listed: Listing) -> LabelledData:
    """Return what darknet labels say; files and lines that cannot be used are counted."""
    faults, images = Faults(), []
    for picture in listed.pictures:
        try:
            name = picture.relative_to(listed.base).as_posix()
        except ValueError:
            name = picture.name
        name = name.removeprefix('images/')
        try:
            width, height = picture_size(picture)
        except FrameError as error:
            add_unreadable(faults, picture, error)
            continue
        rows = _rows(label_file(picture), (width, height), len(listed.names), faults)
        if rows is not None:
            images.append(LabelledImage(name, picture, width, height, boxes_of(rows)))
    return LabelledData(path.name, 'darknet', listed.names, images, faults)


def label_file(picture: Path) -> Path:
    """Return a picture's labels: in ``labels`` where it is in ``images``, or beside it."""
    parts = list(picture.with_suffix('.txt').parts)
    for i in range(len(parts) - 2, -1, -1):
        if parts[i] in ('images', 'JPEGImages'):
            other = Path(*parts[:i], 'labels', *parts[i + 1 :])
            if os.path.isfile(other) or not os.path.isfile(Path(*parts)):
                return other
            break
    return Path(*parts)


def _rows(file: Path, size: tuple[int, int], classes: int, faults: Faults) -> list[BoxRow] | None:
    if not os.path.isfile(file):
        faults.add(Fault.NO_LABELS, one_line(file))
        return []
    try:
        lines = read_text(file, what='darknet labels').splitlines()
    except ConfigError as error:
        faults.add(Fault.LABEL_FILE, str(error))
        return None
    rows, where = [], one_line(file.name)
    for i, line in enumerate(lines, 1):
        if line.strip():
            row = _row(line.split(), f'{where}, line {i}', size, classes, faults)
            rows += [row] if row is not None else []
    return rows


def _row(
    words: Sequence[str], place: str, size: tuple[int, int], classes: int, faults: Faults
) -> BoxRow | None:
    box = numbers_of([_number(word) for word in words[1:]])
    if box is None or not (words[0].isascii() and words[0].isdecimal() and len(words[0]) < 10):
        wanted = 'expected a class number and 4 numbers'
        faults.add(Fault.BROKEN_ENTRY, f'{place}: {wanted}, got {shown(" ".join(words))}')
        return None
    if int(words[0]) >= classes:
        faults.add(Fault.UNKNOWN_CLASS, f'{place}: class {words[0]} of {classes}')
        return None
    x, y, w, h = box
    if w < 0 or h < 0:
        faults.add(Fault.NEGATIVE_BOX, f'{place}: {shown(" ".join(words))}')
        return None
    left, top = (x - w / 2) * size[0], (y - h / 2) * size[1]
    return BoxRow((left, top, left + w * size[0], top + h * size[1]), int(words[0]))


def _number(word: str) -> float:
    try:
        return finite_number(word)
    except ValueError:
        return float('nan')


def write(data: LabelledData, folder: Path, split: str) -> Faults:
    """Write ``labels``, a list of the split, ``obj.names`` and ``obj.data``.

    The pictures belong into ``images``.
    """
    lost, listed = Faults(), []
    for image in data.images:
        boxes, name = image.boxes, safe_name(image.name)
        size = np.array([image.width, image.height], float)
        kept = boxes[~boxes.ignored]
        for kind, count in (
            (Fault.LOST_IGNORED, boxes.ignored.sum()),
            (Fault.LOST_AREA, kept.outlined()),
            (Fault.LOST_DISTANCE, np.isfinite(kept.distance_m).sum()),
        ):
            if count:
                lost.add(kind, image.name, int(count))
        centre = (kept.xyxy[:, :2] + kept.xyxy[:, 2:]) / 2 / size
        extent = (kept.xyxy[:, 2:] - kept.xyxy[:, :2]) / size
        lines = [
            f'{c} {x:.9g} {y:.9g} {w:.9g} {h:.9g}\n'
            for c, (x, y), (w, h) in zip(
                kept.class_id.tolist(), centre.tolist(), extent.tolist(), strict=True
            )
        ]
        stem = PurePosixPath(name).with_suffix('.txt').as_posix()
        write_whole(folder / 'labels' / stem, ''.join(lines))
        listed.append(f'images/{name}\n')
    write_whole(folder / f'{split}.txt', ''.join(listed))
    write_whole(folder / 'obj.names', ''.join(f'{name}\n' for name in data.classes))
    part = 'train' if split == 'train' else 'valid'
    description = f'classes = {len(data.classes)}\n{part} = {split}.txt\nnames = obj.names\n'
    write_whole(folder / 'obj.data', description)
    return lost
