"""Read class names: one a line, or the list in a YAML file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from yolox_trt_ros.core.errors import ModelError, did_you_mean
from yolox_trt_ros.core.text_files import read_text
from yolox_trt_ros.yaml_files import read_yaml

MOST_BYTES = 1 << 20
_YAML = ('.yaml', '.yml')
_LIST_KEYS = ('names', 'labels', 'classes')


def labels_of(
    path: Path, file: Path | None, given: Sequence[str] | None, classes: int
) -> tuple[str, ...]:
    """Return a model's class names: of the file, else as given, else of ``labels.txt`` beside it.

    Args:
        path: the model.
        file: named by the user, or None.
        given: by the model's description, or None.
        classes: how many the model has.

    Raises:
        ModelError: there are none, or not one for each class.
    """
    beside = path.parent / 'labels.txt'
    if file is None and given is None and beside.is_file():
        file = beside
    names = tuple(given) if file is None and given is not None else None
    if file is not None:
        names = read_labels(file)
    if names is None:
        raise ModelError(
            f'{path} has {classes} classes and no names for them: give a labels file with one '
            f'name a line (--labels, or model.labels of a vehicle file), or put {beside.name} '
            'beside it'
        )
    if len(names) != classes:
        raise ModelError(
            f'{file or path}: expected {classes} labels, one per class of the model, '
            f'got {len(names)}'
        )
    return names


def read_labels(file: Path) -> tuple[str, ...]:
    """Return the class names in a file.

    A text file has one name a line (darknet's ``.names`` too); empty lines, and lines that begin
    with ``#``, are no names. A YAML file has a list, or as Ultralytics writes it a dictionary from
    0 on, under ``names``, ``labels`` or ``classes``. UTF-8, with or without a byte order mark.

    Raises:
        ModelError: the file is missing or no such file.
    """
    if not os.path.lexists(file):
        near = did_you_mean(file.name, (f.name for f in file.parent.glob('*.txt')))
        raise ModelError(f'labels file {file} does not exist{near}')
    if file.suffix.lower() in _YAML:
        return _of_yaml(file)
    text = read_text(file, ModelError, most_bytes=MOST_BYTES, what='a list of labels')
    if '\0' in text:
        raise ModelError(f'labels file {file}: expected text, got a file with NUL characters')
    lines = (line.strip() for line in text.splitlines())
    names = tuple(line for line in lines if line and not line.startswith('#'))
    if not names:
        raise ModelError(f'labels file {file}: expected one class name a line, got none')
    return names


def _of_yaml(file: Path) -> tuple[str, ...]:
    content: Any = read_yaml(file, ModelError, what='a list of class names', most_bytes=MOST_BYTES)
    keys = [key for key in _LIST_KEYS if key in content]
    if not keys:
        raise ModelError(
            f'labels file {file}: expected a list of class names under one of '
            f'{", ".join(_LIST_KEYS)}'
        )
    content = content[keys[0]]
    if isinstance(content, dict):
        if set(content) != set(range(len(content))):
            raise ModelError(
                f'labels file {file}: expected names numbered from 0 on without a gap, got '
                f'{len(content)} others'
            )
        content = [content[i] for i in range(len(content))]
    if not isinstance(content, list) or not content:
        raise ModelError(f'labels file {file}: expected a list of class names')
    if not all(isinstance(name, str) and name.strip() for name in content):
        raise ModelError(
            f'labels file {file}: expected class names that are texts; put those that YAML takes '
            'for numbers or truth values in quotes'
        )
    return tuple(name.strip() for name in content)
