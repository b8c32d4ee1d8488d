"""Class masks: what a model's second output means, and what it says of one image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from yolox_trt_ros.core.errors import did_you_mean
from yolox_trt_ros.core.model import InputSpec, Letterbox

MOST_CLASSES = 256
"""A pixel's class is a byte."""

Region = tuple[int, int, int, int]
"""Left, top, width, height in pixels of a source image."""


@dataclass(frozen=True, slots=True)
class SegmentationSpec:
    """What a model's segmentation output means: the class of each cell of a map of its input.

    Attributes:
        output: its name.
        shape: of the map of one image: (classes, height, width) of scores; (1, height, width) or
            (height, width) of class numbers.
        stride: input pixels that a cell stands for, each way.
        numbers: whether the map holds class numbers, because the network has chosen already.
        integers: type of those numbers, such as ``int64``; empty: they are floats.
        labels: names of the classes; empty where they are not known.
    """

    output: str
    shape: tuple[int, ...]
    stride: int
    numbers: bool = False
    integers: str = ''
    labels: tuple[str, ...] = ()

    @property
    def height(self) -> int:
        """Return the rows of the map."""
        return self.shape[-2]

    @property
    def width(self) -> int:
        """Return the columns of the map."""
        return self.shape[-1]

    @property
    def classes(self) -> int:
        """Return how many classes there may be."""
        return len(self.labels) or (MOST_CLASSES if self.numbers else self.shape[0])

    def window(self, box: Letterbox, image: InputSpec) -> tuple[int, int, int, int]:
        """Return which cells an image covers: left, top, width, height.

        At the top left as ``TrtYoloX::feedforwardAndDecode`` of autoware_tensorrt_yolox crops its
        masks: the image is fitted into the map as into the input, sizes rounded down.

        Args:
            box: how the image sits in the input.
            image: the input.
        """
        ours = replace(image, height=self.height, width=self.width)
        fit = Letterbox.fit(box.source_height, box.source_width, ours, box.part)
        return fit.left, fit.top, fit.width, fit.height

    def about(self) -> dict[str, Any]:
        """Return what the YAML beside the model would say of it."""
        labels = {'segmentation_labels': list(self.labels)} if self.labels else {}
        return {'segmentation': self.output, **labels}


def region_of(box: Letterbox) -> Region:
    """Return the part of its image that a network saw."""
    return box.part or (0, 0, box.source_width, box.source_height)


@dataclass(frozen=True, slots=True, eq=False)
class Segmentation:
    """The class of every pixel of one image, at the resolution of the network's map.

    Attributes:
        class_id: uint8 (height, width), without the letterbox's border.
        region: the part of the image that it covers, in source-image pixels.
        labels: names of the classes; empty where they are not known.

    Raises:
        ValueError: the array is no uint8 (height, width).
    """

    class_id: np.ndarray
    region: Region
    labels: Sequence[str] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        if self.class_id.ndim != 2 or self.class_id.dtype != np.uint8 or not self.class_id.size:
            shape, kind = self.class_id.shape, self.class_id.dtype.name
            raise ValueError(f'class_id: expected uint8 (height, width), got {kind} {shape}')

    def label(self, number: int) -> str:
        """Return a class's name; its number as text where names are not known."""
        return self.labels[number] if number < len(self.labels) else str(number)

    def mask(self, *labels: str) -> np.ndarray:
        """Return where one of these classes is, bool (height, width).

        Raises:
            ValueError: there is no class of that name.
        """
        known = list(self.labels)
        for label in labels:
            if label not in known:
                near = did_you_mean(label, known)
                raise ValueError(f'expected a class of the mask, got "{label}"{near}')
        return np.isin(self.class_id, [known.index(label) for label in labels])

    def at(self, height: int, width: int, outside: int = 0) -> np.ndarray:
        """Return the class of each pixel of the whole image, uint8 (height, width).

        Each pixel has the class of the cell that its centre lies in.

        Args:
            height, width: of the source image, pixels.
            outside: class of pixels that the network did not see.
        """
        left, top, region_width, region_height = self.region
        rows, columns = self.class_id.shape
        y = (2 * np.arange(region_height) + 1) * rows // (2 * region_height)
        x = (2 * np.arange(region_width) + 1) * columns // (2 * region_width)
        inside = self.class_id[y[:, None], x]
        if self.region == (0, 0, width, height):
            return inside
        whole = np.full((height, width), outside, np.uint8)
        target = whole[top : top + region_height, left : left + region_width]
        target[...] = inside[: target.shape[0], : target.shape[1]]
        return whole
