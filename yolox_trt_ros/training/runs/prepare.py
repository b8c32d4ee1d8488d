"""From what the user names to data that can be learned from; what is wrong is told first."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from yolox_trt_ros.core.errors import ConfigError, FrameError
from yolox_trt_ros.core.printing import one_line
from yolox_trt_ros.datasets.check import check_boxes, check_pictures, check_splits
from yolox_trt_ros.datasets.convert import convert
from yolox_trt_ros.datasets.faults import Fault, Faults
from yolox_trt_ros.datasets.labelled import LabelledData, LabelledImage
from yolox_trt_ros.datasets.summary import summary
from yolox_trt_ros.image_files import read_image
from yolox_trt_ros.training.pictures.rows import check_classes

CHECKS = ('all', 'boxes', 'none')
"""Boxes and pictures, and pictures in both parts; boxes alone; nothing."""
FEW = 30
"""Boxes below which a class is told to have few."""
VALIDATION = 'val'
Progress = Callable[[Iterable[LabelledImage], str], Iterable[LabelledImage]]


def held_out(data: LabelledData, share: float, seed: int) -> tuple[LabelledData, LabelledData]:
    """Return what is learned from and what is validated with: a share of one data set.

    Raises:
        ConfigError: it has fewer than two pictures.
    """
    count = len(data.images)
    if count < 2:
        raise ConfigError(f'{data.name}: expected at least 2 pictures, got {count}')
    some = max(1, min(count - 1, round(share * count)))
    chosen = set(np.random.default_rng(seed).permutation(count)[:some].tolist())
    parts: tuple[list[LabelledImage], list[LabelledImage]] = ([], [])
    for k, image in enumerate(data.images):
        parts[k in chosen].append(image)
    return replace(data, images=parts[0]), replace(data, images=parts[1], faults=Faults())


def checked(
    train: LabelledData, val: LabelledData, check: str, progress: Progress
) -> tuple[LabelledData, LabelledData, list[str]]:
    """Return the data without pictures that cannot be read, and sentences about what is wrong.

    Args:
        train, val: the two parts.
        check: one of :data:`CHECKS`.
        progress: shows how far it is.

    Raises:
        ConfigError: classes differ, or nothing is left of a part.
    """
    check_classes(train, val)
    found = Faults()
    found.join(train.faults)
    found.join(val.faults)
    parts = []
    prints = []
    for data in (train, val):
        if check != 'none':
            found.join(check_boxes(data))
        if check == 'all':
            wrong, fingerprints = check_pictures(data, progress, True)
            if train.name == val.name:  # two parts of one: each has the other's pictures beside it
                wrong.counts.pop(Fault.UNLABELLED, None)
            found.join(wrong)
            prints.append(fingerprints)
            if wrong.counts[Fault.NO_PICTURE] or wrong.counts[Fault.DAMAGED_PICTURE]:
                data = _readable(data)
        parts.append(data)
    if check == 'all':
        found.join(check_splits(prints[0], prints[1]))
    return parts[0], parts[1], [*found.sentences(), *_rare(parts[0], parts[1])]


def _readable(data: LabelledData) -> LabelledData:
    """Return a data set without the pictures that cannot be read."""
    kept = []
    for image in data.images:
        try:
            read_image(image.file)
        except FrameError:
            continue
        kept.append(image)
    if not kept:
        raise ConfigError(f'{one_line(data.name)}: not one picture can be read')
    return replace(data, images=kept)


def _rare(train: LabelledData, val: LabelledData) -> list[str]:
    """Return a sentence for each class with few labels, or none to validate with."""
    said = []
    learned, measured = summary(train)['classes'], summary(val)['classes']
    for name, row in learned.items():
        count = row['boxes'] - row['ignored']
        if count < FEW:
            said.append(
                f'class {one_line(name)}: {count} boxes in {row["pictures"]} pictures to learn '
                'from; expect it to stay poor'
            )
        if measured[name]['boxes'] == measured[name]['ignored']:
            said.append(f'class {one_line(name)}: no box to validate with: it has no AP')
    if all(row['boxes'] == row['ignored'] for row in learned.values()):
        raise ConfigError(f'{one_line(train.name)}: expected labelled boxes, got none')
    return said


def write_validation(val: LabelledData, folder: Path, progress: Progress) -> Path:
    """Write the validation pictures as COCO, so that every tool can measure on them.

    Returns:
        The file of the labels; the pictures are links beside it.
    """
    convert(val, 'coco', folder, split=VALIDATION, placing='link', progress=progress)
    return folder / f'{VALIDATION}.json'
