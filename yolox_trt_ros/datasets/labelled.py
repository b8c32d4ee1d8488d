"""What a data set says: classes, pictures, and the labelled boxes in each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from yolox_trt_ros.datasets.faults import Faults

_set = object.__setattr__


@dataclass(frozen=True, slots=True, eq=False, init=False)
class LabelledBoxes:
    """The labelled boxes of one picture.

    Args:
        xyxy, class_id, ignored: see the attributes.
        area: by default that of the boxes.
        distance_m: by default unknown.

    Attributes:
        xyxy: float64 (n, 4): left, top, right, bottom in pixels; 0 is the picture's edge.
        class_id: int64 (n,), index into the names of the classes.
        ignored: bool (n,): counts neither as found nor as missed (COCO's ``iscrowd``, VOC's
            ``difficult``).
        area: float64 (n,), square pixels, of the object itself where its outline was labelled.
        distance_m: float64 (n,) from the camera; NaN where not known.

    Raises:
        ValueError: the lengths differ.
    """

    xyxy: np.ndarray
    class_id: np.ndarray
    ignored: np.ndarray
    area: np.ndarray
    distance_m: np.ndarray

    def __init__(
        self,
        xyxy: np.ndarray,
        class_id: np.ndarray,
        ignored: np.ndarray,
        area: np.ndarray | None = None,
        distance_m: np.ndarray | None = None,
    ) -> None:
        boxes = np.asarray(xyxy, np.float64).reshape(-1, 4)
        values = {
            'class_id': np.asarray(class_id, np.int64),
            'ignored': np.asarray(ignored, bool),
            'area': np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
            if area is None
            else np.asarray(area, np.float64),
            'distance_m': np.full(len(boxes), np.nan)
            if distance_m is None
            else np.asarray(distance_m, np.float64),
        }
        for name, value in values.items():
            if value.shape != (len(boxes),):
                raise ValueError(f'{name}: expected ({len(boxes)},), got {value.shape}')
            _set(self, name, value)
        _set(self, 'xyxy', boxes)

    def __len__(self) -> int:
        return len(self.class_id)

    def __getitem__(self, chosen: np.ndarray) -> LabelledBoxes:
        """Return the boxes that a mask or indices choose."""
        return LabelledBoxes(*(getattr(self, name)[chosen] for name in self.__slots__))

    def rows(self) -> Iterator[tuple[list[float], int, bool, float, float]]:
        """Yield each box as plain numbers: xyxy, class, ignored, area, distance."""
        return zip(*(getattr(self, name).tolist() for name in self.__slots__), strict=True)

    def outlined(self) -> int:
        """Return how many areas are not those of the boxes."""
        plain = np.prod(self.xyxy[:, 2:] - self.xyxy[:, :2], axis=1)
        return int((np.abs(self.area - plain) > 1e-6 * np.maximum(plain, 1)).sum())

    def numbered(self, class_id: np.ndarray) -> LabelledBoxes:
        """Return the same boxes with other class numbers; those below 0 are left out."""
        boxes = LabelledBoxes(self.xyxy, class_id, self.ignored, self.area, self.distance_m)
        return boxes[boxes.class_id >= 0]

    def ignoring(self, which: np.ndarray) -> LabelledBoxes:
        """Return the same boxes, those that a mask chooses ignored as well."""
        return LabelledBoxes(
            self.xyxy, self.class_id, self.ignored | which, self.area, self.distance_m
        )

    def ignoring_below(self, height: float) -> LabelledBoxes:
        """Return the same labels, those less than this many pixels high ignored."""
        return self.ignoring(self.xyxy[:, 3] - self.xyxy[:, 1] < height)


class BoxRow(NamedTuple):
    """One box as readers collect them; see :class:`LabelledBoxes`."""

    xyxy: tuple[float, float, float, float]
    class_id: int
    ignored: bool = False
    area: float | None = None
    distance_m: float = float('nan')


def boxes_of(rows: Sequence[BoxRow]) -> LabelledBoxes:
    """Return the boxes that a reader collected."""
    table = np.array([row.xyxy for row in rows], np.float64).reshape(-1, 4)
    plain = np.prod(table[:, 2:] - table[:, :2], axis=1)
    given = np.array([row.area is not None for row in rows], bool)
    areas = np.array([row.area or 0.0 for row in rows], np.float64)
    return LabelledBoxes(
        table,
        np.array([row.class_id for row in rows], np.int64),
        np.array([row.ignored for row in rows], bool),
        np.where(given, areas, plain),
        np.array([row.distance_m for row in rows], np.float64),
    )


@dataclass(frozen=True, slots=True, eq=False)
class LabelledImage:
    """One picture and its labels.

    Attributes:
        name: as the labels give it, with ``/`` between folders.
        file: where the picture should be.
        width, height: pixels, as the labels say; 0 where they do not.
        boxes: what is labelled.
    """

    name: str
    file: Path
    width: int
    height: int
    boxes: LabelledBoxes


@dataclass(frozen=True, slots=True, eq=False)
class LabelledData:
    """A data set.

    Attributes:
        name: for reports.
        format: one of :data:`datasets.formats.FORMATS`.
        classes: names, by number.
        images: in the order of the labels.
        faults: what was found to be wrong while reading.
    """

    name: str
    format: str
    classes: tuple[str, ...]
    images: list[LabelledImage]
    faults: Faults = field(default_factory=Faults)


class ClassNumbers:
    """Numbers class names in the order in which they come, for formats without a list."""

    def __init__(self, names: Sequence[str] = ()) -> None:
        self._listed = tuple(dict.fromkeys(names))
        self._numbers = {name: i for i, name in enumerate(self._listed)}

    def __getitem__(self, name: str) -> int:
        return self._numbers.setdefault(name, len(self._numbers))

    def sorted(self, images: list[LabelledImage]) -> tuple[tuple[str, ...], list[LabelledImage]]:
        """Return the names, those that were not listed in alphabetical order, and the images.

        The order of a folder's files then does not decide about the numbers.
        """
        names = (*self._listed, *sorted(set(self._numbers) - set(self._listed)))
        order = {name: i for i, name in enumerate(names)}
        number = np.array([order[name] for name in self._numbers] or [0], np.int64)
        return names, [
            LabelledImage(
                image.name, image.file, image.width, image.height,
                image.boxes.numbered(number[image.boxes.class_id]),
            )
            for image in images
        ]  # fmt: skip
