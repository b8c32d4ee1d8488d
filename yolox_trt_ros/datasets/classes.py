"""Which classes of a data set are wanted, and what they are called: the class file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from yolox_trt_ros.core.class_names import matching
from yolox_trt_ros.core.errors import ConfigError, did_you_mean
from yolox_trt_ros.core.printing import one_line, shown
from yolox_trt_ros.datasets.faults import Fault, Faults
from yolox_trt_ros.datasets.labelled import LabelledData
from yolox_trt_ros.detect.labels import read_labels
from yolox_trt_ros.yaml_files import read_yaml

KEYS = ('classes', 'map', 'ignore')


@dataclass(frozen=True, slots=True)
class ClassChoice:
    """What a class file asks for.

    Attributes:
        file: where it stands.
        classes: that are wanted, in their order; empty: all.
        renamed: name in the data → wanted name; None: its labels are left out.
        ignored: name in the data → wanted name that its labels stand for, to be ignored.
    """

    file: Path
    classes: tuple[str, ...]
    renamed: dict[str, str | None]
    ignored: dict[str, str]


def read_choice(file: Path) -> ClassChoice:
    """Return what a class file asks for.

    A text file has the wanted classes, one a line. A YAML file may have ``classes``, a list of
    them; ``map``, from names of the data to wanted ones (nothing: left out); and ``ignore``, the
    same for labels that count neither as found nor as missed.

    Raises:
        ConfigError: a key is unknown, or a value of the wrong kind.
        ModelError: a text file has no names.
    """
    if file.suffix.lower() not in ('.yaml', '.yml'):
        return ClassChoice(file, read_labels(file), {}, {})
    content, where = read_yaml(file, what='a class file'), one_line(file)
    for key in content:
        if key not in KEYS:
            raise ConfigError(
                f'{where}: the key {shown(key)} is unknown{did_you_mean(str(key), KEYS)}'
            )
    classes = content.get('classes') or []
    renamed, ignored = content.get('map') or {}, content.get('ignore') or {}
    if not isinstance(classes, list) or not all(isinstance(n, str) for n in classes):
        raise ConfigError(f'{where}: classes: expected a list of names, got {shown(classes)}')
    for key, given, empty in (('map', renamed, True), ('ignore', ignored, False)):
        if not isinstance(given, dict) or not all(
            isinstance(a, str) and (isinstance(b, str) or (empty and b is None))
            for a, b in given.items()
        ):
            raise ConfigError(f'{where}: {key}: expected name: name, got {shown(given)}')
    return ClassChoice(file, tuple(classes), renamed, ignored)


def chosen_classes(data: LabelledData, choice: ClassChoice) -> LabelledData:
    """Return a data set with the classes that a class file asks for; what is left out is counted.

    Raises:
        ConfigError: the class file names a class that the data have not, or none is left.
    """
    wanted = [_wanted(name, choice) for name in data.classes]
    _check(data, choice)
    names = list(choice.classes)
    if not names:
        names = list(dict.fromkeys(name for name, _ in wanted if name is not None))
    number = np.array([names.index(n) if n in names else -1 for n, _ in wanted] or [-1], np.int64)
    ignored = np.array([ignore for _, ignore in wanted] or [False])
    if not names or (number < 0).all():
        raise ConfigError(
            f'{one_line(choice.file)}: none of its classes is labelled here: '
            f'{one_line(", ".join(data.classes))}'
        )
    faults, images = Faults(), []
    faults.join(data.faults)
    for image in data.images:
        boxes = image.boxes.ignoring(ignored[image.boxes.class_id])
        numbers = number[boxes.class_id]
        for old, count in zip(
            *np.unique(boxes.class_id[numbers < 0], return_counts=True), strict=True
        ):
            faults.add(Fault.NOT_WANTED, f'{data.classes[old]} in {image.name}', int(count))
        images.append(replace(image, boxes=boxes.numbered(numbers)))
    return replace(data, classes=tuple(names), images=images, faults=faults)


def _wanted(name: str, choice: ClassChoice) -> tuple[str | None, bool]:
    """Return what a class of the data is called, None: left out; and whether it is ignored."""
    if (known := matching(name, list(choice.ignored))) is not None:
        return _spelt(choice.ignored[known], choice), True
    if (known := matching(name, list(choice.renamed))) is not None:
        new = choice.renamed[known]
        return (None if new is None else _spelt(new, choice)), False
    return _spelt(name, choice), False


def _spelt(name: str, choice: ClassChoice) -> str | None:
    return matching(name, choice.classes) if choice.classes else name


def _check(data: LabelledData, choice: ClassChoice) -> None:
    targets: Any = [*choice.renamed.values(), *choice.ignored.values()]
    for name in (*choice.renamed, *choice.ignored):
        if matching(name, data.classes) is None:
            near = did_you_mean(name, data.classes)
            raise ConfigError(f'{one_line(choice.file)}: {shown(name)} is not labelled here{near}')
    for name in targets:
        if name is not None and choice.classes and matching(name, choice.classes) is None:
            near = did_you_mean(name, choice.classes)
            raise ConfigError(
                f'{one_line(choice.file)}: {shown(name)} is not under "classes"{near}'
            )
