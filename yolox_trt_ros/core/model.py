"""What has to be known of a YOLOX model to feed it and to read its answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

InputType = Literal['float32', 'float16', 'uint8']

FEEDING = ('colour', 'pad', 'scale', 'mean', 'std')
"""Attributes of a :class:`ModelSpec` that say how pixels become its input."""


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Geometry and conventions of one model.

    Attributes:
        input_name: the image tensor, [batch, 3, height, width].
        batch: fixed batch size, or 0 when the model takes any.
        height, width: input pixels.
        strides: of the head's levels, finest first.
        labels: class names; ``class_id`` of a detection indexes them.
        layout: ``concatenated``: one output [batch, anchors, 5 + classes], anchors level by level,
            row by row; ``per_level``: per stride three maps [batch, 4 | 1 | classes, h, w].
        outputs: output names; for ``per_level`` box, objectness, class of each level in turn.
        scores: ``probability`` if the model ends in sigmoids, ``logit`` if not.
        boxes: ``grid``: centre offset in cells and log size in strides; ``pixel``: centre and size
            in input pixels, decoded by the model itself.
        colour: channel order of the input.
        pad: value of the letterbox border.
        scale: what pixel values 0 to 255 are multiplied by.
        mean, std: per channel, in the order of ``colour``; the network gets
            (pixel × ``scale`` - ``mean``) / ``std``.
        dtype: of the input's numbers; ``uint8`` takes pixels as they are.
        left_out: further outputs of the file, which nobody reads.
        antialias: whether images that shrink by more than two are averaged, each pixel over the
            source area that it stands for, in place of bilinear interpolation.
    """

    input_name: str
    batch: int
    height: int
    width: int
    strides: tuple[int, ...]
    labels: tuple[str, ...]
    layout: Literal['concatenated', 'per_level']
    outputs: tuple[str, ...]
    scores: Literal['probability', 'logit']
    boxes: Literal['grid', 'pixel']
    colour: Literal['bgr', 'rgb'] = 'bgr'
    pad: int = 114
    scale: float = 1.0
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    antialias: bool = False
    dtype: InputType = 'float32'
    left_out: tuple[str, ...] = ()

    def normalisation(self) -> tuple[np.ndarray, np.ndarray]:
        """Return what a pixel value is multiplied by and what is then added; float64 (3,) each."""
        std = np.array(self.std)
        return self.scale / std, -np.array(self.mean) / std

    @property
    def largest_input(self) -> float:
        """Return the largest magnitude that the input can have."""
        multiply, add = self.normalisation()
        return float(np.maximum(np.abs(add), np.abs(255 * multiply + add)).max())

    def grids(self) -> list[tuple[int, int]]:
        """Return (rows, columns) of each level's grid."""
        return [(self.height // s, self.width // s) for s in self.strides]

    @property
    def anchors(self) -> int:
        """Return how many anchors the head has."""
        return sum(rows * columns for rows, columns in self.grids())


@dataclass(frozen=True, slots=True)
class Letterbox:
    """How a source image of one size sits in the model's input: top-left, same scale both ways.

    The convention is YOLOX's own (``preproc`` in yolox/data/data_augment.py): the resized size is
    rounded down, and boxes are divided by the scale before rounding.

    Attributes:
        scale: input pixels per source pixel.
        height, width: input pixels that the image covers.
        source_height, source_width: the image's own pixels.
    """

    scale: float
    height: int
    width: int
    source_height: int
    source_width: int

    @classmethod
    def fit(cls, height: int, width: int, spec: ModelSpec) -> Letterbox:
        """Return the letterbox of a ``height`` x ``width`` source image."""
        scale = min(spec.height / height, spec.width / width)
        return cls(scale, max(1, int(height * scale)), max(1, int(width * scale)), height, width)

    @property
    def shrinks(self) -> bool:
        """Return whether the image shrinks by more than two, so that interpolation skips pixels."""
        return self.source_height > 2 * self.height or self.source_width > 2 * self.width


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What counts as a detection; may change between two frames.

    Attributes:
        score: lowest objectness × class probability.
        nms_iou: overlap above which the lower box of a pair is dropped.
        class_agnostic: ``True``: each anchor has its best class, and boxes of all classes suppress
            each other. ``False``: each class is decided on its own, so an anchor may count for two.
        max_detections: most detections of one image.
        clip_boxes: whether boxes end at the image's border. They do not by default: a box that
            reaches beyond says how far the object does, which nobody can tell afterwards.
    """

    score: float = 0.3
    nms_iou: float = 0.45
    class_agnostic: bool = False
    max_detections: int = 300
    clip_boxes: bool = False
