"""Where the pictures of a data set are, how large they are, and which names are safe to write."""

from __future__ import annotations

import glob
import math
import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from yolox_trt_ros.core.errors import FrameError, did_you_mean
from yolox_trt_ros.core.image_files import read_file_head
from yolox_trt_ros.core.printing import one_line
from yolox_trt_ros.datasets.faults import EXAMPLES, Fault, Faults
from yolox_trt_ros.datasets.labelled import LabelledImage
from yolox_trt_ros.image_files import SUFFIXES, decode, image_bytes

FOLDERS = ('images', 'JPEGImages', 'data', 'obj')
"""What folders of pictures are called beside their labels."""
_TRIED = 20
_ROUNDING = 1e-6
_LARGEST = 1e7
"""Pixels: no coordinate of a box lies further out."""


def numbers_of(values: Any) -> tuple[float, float, float, float] | None:
    """Return four finite numbers of a sensible size, or None if these are others."""
    if not isinstance(values, (list, tuple)) or len(values) != 4:
        return None
    if not all(type(v) in (int, float) and math.isfinite(v) and abs(v) < _LARGEST for v in values):
        return None
    a, b, c, d = map(float, values)
    return a, b, c, d


def box_to_last_pixel(
    first: tuple[float, float], last: tuple[float, float]
) -> tuple[float, float, float, float] | None:
    """Return the box from one pixel to another, both included; None if its size is negative.

    Sizes that are negative by rounding are 0.
    """
    right, bottom = last[0] + 1, last[1] + 1
    if right < first[0] - _ROUNDING or bottom < first[1] - _ROUNDING:
        return None
    return first[0], first[1], max(right, first[0]), max(bottom, first[1])


def folder_of(labels: Path, given: Path | None, names: Sequence[str]) -> Path:
    """Return the folder that the names of pictures belong to.

    Args:
        labels: the file of labels.
        given: by the user: it is taken as it is.
        names: of pictures; the folder near the labels is taken that has the first of them.
    """
    if given is not None:
        return given
    here = labels.parent
    split = labels.stem.rpartition('_')[2]
    near = [here, *(base / f for base in (here, here.parent) for f in (*FOLDERS, labels.stem))]
    near += [here.parent / split, here.parent / 'images' / split, here.parent]
    for name in names[:_TRIED]:
        for folder in near:
            if os.path.isfile(folder / name):
                return folder
    return here


def safe_name(name: str) -> str:
    """Return a picture's name as it may be written below a folder: nothing leads out of it."""
    parts = [p for p in PurePosixPath(name.replace('\\', '/')).parts if p not in ('/', '..', '.')]
    return '/'.join(parts) or 'picture'


def picture_with(stem: Path) -> Path | None:
    """Return the picture whose name without suffix this is; None if there is none."""
    for suffix in SUFFIXES:
        for written in (suffix, suffix.upper()):
            file = Path(f'{stem}{written}')
            if os.path.isfile(file):
                return file
    return None


def picture_size(file: Path) -> tuple[int, int]:
    """Return width and height of a picture as it is read: turned as its EXIF data say.

    Raises:
        FrameError: it cannot be read.
    """
    data = image_bytes(file)
    head = read_file_head(data)
    turned = head is not None and head.kind == 'jpeg' and b'Exif' in data[:65536].tobytes()
    if head is None or turned or not (head.width and head.height):
        height, width = decode(data).shape[:2]
        return width, height
    return head.width, head.height


def add_unreadable(faults: Faults, file: Path, error: FrameError) -> None:
    """Count a picture that is not there, with a near name that is, or one that is damaged."""
    if os.path.exists(file):
        faults.add(Fault.DAMAGED_PICTURE, f'{one_line(file)}: {error}')
        return
    near = ''
    if faults.counts[Fault.NO_PICTURE] < EXAMPLES and os.path.isdir(file.parent):
        there = file.parent.glob(f'*{glob.escape(file.suffix)}')
        near = did_you_mean(file.name, (other.name for other in there))
    faults.add(Fault.NO_PICTURE, f'{one_line(file)}{near if "did you mean" in near else ""}')


def add_other_size(faults: Faults, image: LabelledImage, height: int, width: int) -> None:
    """Count a picture that has another size than its labels say, if they say one."""
    if (image.width, image.height) not in ((0, 0), (width, height)):
        said = f'{width}x{height}, the labels say {image.width}x{image.height}'
        faults.add(Fault.OTHER_SIZE, f'{one_line(image.name)}: {said}')


def beyond(xyxy: np.ndarray, width: int, height: int) -> np.ndarray:
    """Return by how many pixels boxes (n, 4) reach beyond a picture, float64 (n,)."""
    low = np.maximum(-xyxy[:, :2], 0).max(axis=1, initial=0)
    high = np.maximum(xyxy[:, 2:] - (width, height), 0).max(axis=1, initial=0)
    return np.maximum(low, high)
