"""Find what is wrong with labelled data: boxes, pictures, and the same picture in two splits."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from yolox_trt_ros.core.errors import FrameError
from yolox_trt_ros.core.printing import one_line
from yolox_trt_ros.datasets.faults import Fault, Faults
from yolox_trt_ros.datasets.labelled import LabelledData, LabelledImage
from yolox_trt_ros.datasets.places import add_other_size, add_unreadable, beyond
from yolox_trt_ros.image_files import SUFFIXES, decode, image_bytes

SIDE = 16
"""Differences of brightness a row and a column of the picture's fingerprint: 256 bits."""
MOST_BITS = 10
"""Fingerprints that differ in no more are of pictures that look alike."""
_ONES = np.array([bin(i).count('1') for i in range(256)], np.uint8)

Progress = Callable[[Iterable[LabelledImage], str], Iterable[LabelledImage]]


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What tells a picture from others.

    Attributes:
        name: of the picture.
        digest: of the file's bytes.
        bits: uint8 (SIDE * SIDE / 8,): where brightness rises from left to right.
        flat: whether nearly nothing in it rises or falls, so that the bits say nothing.
    """

    name: str
    digest: bytes
    bits: np.ndarray
    flat: bool


def check_boxes(data: LabelledData) -> Faults:
    """Return what is wrong with boxes that are of the format and still no good labels."""
    found = Faults()
    for image in data.images:
        boxes = image.boxes
        where = one_line(image.name)
        empty = (boxes.xyxy[:, 2:] <= boxes.xyxy[:, :2]).any(axis=1)
        _add(found, Fault.EMPTY_BOX, where, empty)
        rows = np.column_stack([boxes.xyxy, boxes.class_id])
        _, first = np.unique(rows, axis=0, return_index=True)
        if len(first) < len(rows):
            found.add(Fault.TWICE, where, len(rows) - len(first))
        if image.width and image.height:
            far = beyond(boxes.xyxy, image.width, image.height)
            size = np.array([image.width, image.height])
            outside = ((boxes.xyxy[:, :2] >= size) | (boxes.xyxy[:, 2:] <= 0)).any(axis=1)
            _add(found, Fault.OUTSIDE, where, outside)
            _add(found, Fault.BEYOND, where, (far > 1) & ~outside)
    return found


def _add(found: Faults, kind: Fault, where: str, which: Any) -> None:
    if count := int(which.sum()):
        found.add(kind, where, count)


def check_pictures(
    data: LabelledData, progress: Progress, fingerprints: bool
) -> tuple[Faults, list[Fingerprint]]:
    """Return what is wrong with the pictures of a data set, and their fingerprints if asked for."""
    found, prints = Faults(), []
    for image in progress(data.images, f'pictures of {data.name}'):
        try:
            content = image_bytes(image.file)
            picture = decode(content)
        except FrameError as error:
            add_unreadable(found, image.file, error)
            continue
        add_other_size(found, image, *picture.shape[:2])
        if fingerprints:
            digest = hashlib.sha256(content.tobytes()).digest()
            prints.append(_fingerprint(image.name, digest, picture))
    for file in _unlabelled(data):
        found.add(Fault.UNLABELLED, one_line(file))
    return found, prints


def _unlabelled(data: LabelledData) -> list[Path]:
    """Return pictures in the folders of the labelled ones that no label names."""
    named = {image.file for image in data.images}
    folders = {file.parent for file in named if os.path.isdir(file.parent)}
    there = (f for folder in sorted(folders) for f in sorted(folder.iterdir()))
    return [f for f in there if f.suffix.lower() in SUFFIXES and f not in named]


def _fingerprint(name: str, digest: bytes, picture: np.ndarray) -> Fingerprint:
    grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    small = cv2.resize(grey, (SIDE + 1, SIDE), interpolation=cv2.INTER_AREA).astype(np.int16)
    rise = small[:, 1:] - small[:, :-1]
    flat = bool((np.abs(rise) > 2).sum() < SIDE * SIDE // 8)
    return Fingerprint(name, digest, np.packbits(rise > 0), flat)


def check_splits(a: Sequence[Fingerprint], b: Sequence[Fingerprint]) -> Faults:
    """Return which pictures of one split are also in another, by bytes or by looks."""
    found = Faults()
    files = {one.digest: one.name for one in a}
    same = {one.name for one in b if one.digest in files}
    for one in b:
        if one.digest in files:
            found.add(Fault.DUPLICATE, f'{one_line(one.name)} is {one_line(files[one.digest])}')
    left = [one for one in a if not one.flat]
    right = [one for one in b if not one.flat and one.name not in same]
    if not left or not right:
        return found
    bits = np.stack([one.bits for one in left])
    for one in right:
        differ = _ONES[bits ^ one.bits].sum(axis=1)
        nearest = int(differ.argmin())
        if differ[nearest] <= MOST_BITS:
            like = one_line(left[nearest].name)
            found.add(Fault.ALIKE, f'{one_line(one.name)} looks like {like}')
    return found
