"""The formats of labelled data: which one something is of, reading it, and writing it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.printing import one_line
from yolox_trt_ros.core.text_files import parse_json_value, read_text
from yolox_trt_ros.datasets import bdd100k, coco, darknet, voc
from yolox_trt_ros.datasets.faults import Faults
from yolox_trt_ros.datasets.labelled import LabelledData

MOST_BYTES = 1 << 30
"""Of a JSON file: the training set of COCO itself has 450 MB of labels."""

Write = Callable[[LabelledData, Path, str], Faults]


@dataclass(frozen=True, slots=True)
class Format:
    """How a data set is written.

    Attributes:
        write: its labels below a folder, as one split.
        pictures: folder that the pictures go into.
    """

    write: Write
    pictures: str


FORMATS = {
    'coco': Format(coco.write, 'images'),
    'bdd100k': Format(bdd100k.write, 'images'),
    'voc': Format(voc.write, voc.IMAGES),
    'darknet': Format(darknet.write, 'images'),
}


def read_labelled(
    path: Path,
    pictures: Path | None = None,
    *,
    format: str = '',
    names: Path | None = None,
    split: str = '',
) -> LabelledData:
    """Return the pictures and labels of a data set; what cannot be used is counted in it.

    Args:
        path: COCO or BDD100K JSON; a folder, list or file of Pascal VOC; a folder, list, ``.data``
            or ``.yaml`` of darknet labels.
        pictures: folder of the pictures; None: looked for near the labels.
        format: one of :data:`FORMATS`; empty: found out.
        names: file of class names, for darknet labels without one near them.
        split: part of a ``.data`` or ``.yaml`` file.

    Raises:
        ConfigError: it cannot be read at all, or no picture is left.
    """
    where = one_line(path)
    if not os.path.exists(path):
        raise ConfigError(f'{where}: expected labelled data, there is no such file or folder')
    content: Any = None
    if path.suffix.lower() == '.json':
        text = read_text(path, most_bytes=MOST_BYTES, what='labels')
        content = parse_json_value(text, where)
    kind = format or _kind(path, content)
    if kind in ('coco', 'bdd100k'):
        if content is None:
            raise ConfigError(f'{where}: expected a .json file, which {kind} labels are')
        data = {'coco': coco.parse, 'bdd100k': bdd100k.parse}[kind](content, path, pictures)
    elif kind == 'voc':
        data = voc.read(path, pictures, voc.files_of(path))
    else:
        data = darknet.read(path, darknet.listing(path, names, pictures, split))
    if not data.images:
        wrong = '; '.join(data.faults.sentences()) or 'it lists none'
        raise ConfigError(f'{where}: expected labelled pictures ({kind}): {wrong}')
    return data


def _kind(path: Path, content: Any) -> str:
    if isinstance(content, dict) and 'frames' not in content:
        return 'coco'
    if content is not None:
        return 'bdd100k'
    if path.suffix.lower() == '.xml' or _has_xml(path):
        return 'voc'
    return 'darknet'


def _has_xml(path: Path) -> bool:
    if path.is_dir():
        inner = path / voc.ANNOTATIONS
        return inner.is_dir() or next(path.rglob('*.xml'), None) is not None
    parents = path.parents
    return (
        len(parents) > 2 and path.parent.name == 'Main' and (parents[2] / voc.ANNOTATIONS).is_dir()
    )
