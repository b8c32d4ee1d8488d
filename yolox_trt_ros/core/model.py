"""The specification of a model: its input, its head, its labels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from yolox_trt_ros.core.rules import Rules

if TYPE_CHECKING:
    from yolox_trt_ros.core.frame import Part
    from yolox_trt_ros.core.head import HeadSpec
    from yolox_trt_ros.core.segmentation import SegmentationSpec

InputType = Literal['float32', 'float16', 'uint8']

Placing = Literal['top_left', 'centre', 'stretch']
Interpolation = Literal['bilinear', 'nearest', 'area']

FEEDING = ('letterbox', 'interpolation', 'colour', 'pad', 'scale', 'mean', 'std')
"""Attributes of an :class:`InputSpec` that say how an image becomes the input."""


@dataclass(frozen=True, slots=True)
class FurtherInput:
    """An input beside the image, which gets the same numbers for every image.

    Attributes:
        name: of the tensor.
        dtype: of its numbers, as NumPy calls it.
        shape: for one call; 0 stands for the batch.
        values: what it gets for each image.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    values: tuple[float, ...]

    def array(self, batch: int) -> np.ndarray:
        """Return what is fed with a batch of images."""
        shape = tuple(n or batch for n in self.shape)
        images = math.prod(shape) // len(self.values)
        return np.tile(np.array(self.values, self.dtype), images).reshape(shape)


@dataclass(frozen=True, slots=True)
class InputSpec:
    """How one model is fed.

    Attributes:
        name: of the image tensor, [batch, 3, height, width].
        batch: fixed batch size, or 0 when the model takes any.
        height, width: pixels.
        dtype: of its numbers; ``uint8`` takes pixels as they are.
        colour: channel order.
        pad: value of the letterbox border.
        scale: what pixel values 0 to 255 are multiplied by.
        mean, std: per channel, in the order of ``colour``; the network gets
            (pixel × ``scale`` - ``mean``) / ``std``.
        letterbox: where the image sits: with its aspect ratio at the top left or in the centre, or
            stretched over the whole input.
        interpolation: between pixels. ``area``: bilinear, and as if ``antialias`` were set.
        antialias: whether images that shrink by more than two are averaged, each pixel over the
            source area that it stands for, in place of interpolation.
        further: inputs beside the image.
    """

    name: str
    batch: int
    height: int
    width: int
    dtype: InputType = 'float32'
    colour: Literal['bgr', 'rgb'] = 'bgr'
    pad: int = 114
    scale: float = 1.0
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    letterbox: Placing = 'top_left'
    interpolation: Interpolation = 'bilinear'
    antialias: bool = False
    further: tuple[FurtherInput, ...] = ()

    def constants(self, batch: int = 1) -> dict[str, np.ndarray]:
        """Return what the inputs beside the image get with a batch of images."""
        return {value.name: value.array(batch) for value in self.further}

    @property
    def averages(self) -> bool:
        """Return whether images that shrink by more than two are averaged."""
        return self.antialias or self.interpolation == 'area'

    def normalisation(self) -> tuple[np.ndarray, np.ndarray]:
        """Return what a pixel value is multiplied by and what is then added; float64 (3,) each."""
        std = np.array(self.std)
        return self.scale / std, -np.array(self.mean) / std

    @property
    def largest(self) -> float:
        """Return the largest magnitude that the input can have."""
        multiply, add = self.normalisation()
        return float(np.maximum(np.abs(add), np.abs(255 * multiply + add)).max())


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """What has to be known of a model to feed it and to read its answer.

    Attributes:
        input: how it is fed.
        head: what its outputs mean.
        labels: class names; ``class_id`` of a detection indexes them.
        left_out: further outputs of the file, which nobody reads.
        segmentation: what its class masks are read from; None: it gives none.
    """

    input: InputSpec
    head: HeadSpec
    labels: tuple[str, ...]
    left_out: tuple[str, ...] = ()
    segmentation: SegmentationSpec | None = None


@dataclass(frozen=True, slots=True)
class Letterbox:
    """How a source image of one size sits in the model's input.

    At the top left, the convention is YOLOX's own (``preproc`` in yolox/data/data_augment.py): the
    resized size is rounded down. In the centre it is rounded, and so is the border at the left and
    the top, a half downwards. Boxes are divided by the scale before rounding in both. A stretched
    image has a scale of its own each way.

    Attributes:
        scale: input pixels per source pixel; where ``scale_down`` is not 0, across only.
        height, width: input pixels that the image covers.
        source_height, source_width: the image's own pixels.
        left, top: input pixels before the image.
        scale_down: of a stretched image, input pixels per source pixel from top to bottom.
        part: left, top, width and height of what sits there of the image, source pixels; None: all
            of it.
    """

    scale: float
    height: int
    width: int
    source_height: int
    source_width: int
    left: int = 0
    top: int = 0
    scale_down: float = 0.0
    part: Part | None = None

    @classmethod
    def fit(
        cls,
        height: int,
        width: int,
        spec: InputSpec,
        part: Part | None = None,
    ) -> Letterbox:
        """Return the letterbox of a ``height`` x ``width`` source image, or of a part of it."""
        if part is not None:
            box = cls.fit(part[3], part[2], spec)
            return replace(box, source_height=height, source_width=width, part=part)
        across, down = spec.width / width, spec.height / height
        if spec.letterbox == 'stretch':
            return cls(across, spec.height, spec.width, height, width, scale_down=down)
        scale = min(down, across)
        if spec.letterbox == 'top_left':
            rows, columns = max(1, int(height * scale)), max(1, int(width * scale))
            return cls(scale, rows, columns, height, width)
        rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
        left, top = (spec.width - columns) // 2, (spec.height - rows) // 2
        return cls(scale, rows, columns, height, width, left, top)

    @property
    def scales(self) -> tuple[float, float]:
        """Return input pixels per source pixel, across and down."""
        return self.scale, self.scale_down or self.scale

    def to_source(self, xyxy: np.ndarray) -> np.ndarray:
        """Return boxes in source pixels.

        Args:
            xyxy: float32 (n, 4), corners in input pixels; not changed.
        """
        origin = np.array((self.left, self.top) * 2, np.float32)
        moved: np.ndarray = (xyxy - origin) / np.array(self.scales * 2, np.float32)
        if self.part is not None:
            moved += np.array(self.part[:2] * 2, np.float32)
        return moved

    @property
    def shrinks(self) -> bool:
        """Return whether the image shrinks by more than two, so that interpolation skips pixels.

        One that is stretched the other way is interpolated all the same.
        """
        _, _, width, height = self.part or (0, 0, self.source_width, self.source_height)
        rows, columns = height / self.height, width / self.width
        return max(rows, columns) > 2 and min(rows, columns) >= 1


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What counts as a detection; may change between two frames.

    Attributes:
        score: lowest that any class has; for YOLOX objectness × class probability.
        nms_iou: overlap above which the lower box of a pair is dropped.
        class_agnostic: ``True``: each anchor has its best class, and boxes of all classes suppress
            each other. ``False``: each class is decided on its own, so an anchor may count for two.
        max_detections: most detections of one image.
        clip_boxes: whether boxes end at the image's border. They do not by default: a box that
            reaches beyond says how far the object does, which nobody knows afterwards.
        rules: of classes and parts of the image; None: all count above ``score``.
        cameras: by name, of cameras that have their own; they differ in ``score`` and ``rules``.
    """

    score: float = 0.3
    nms_iou: float = 0.45
    class_agnostic: bool = False
    max_detections: int = 300
    clip_boxes: bool = False
    rules: Rules | None = None
    cameras: Mapping[str, Thresholds] = field(default_factory=dict)

    def of(self, camera: str) -> Thresholds:
        """Return those of a camera's images."""
        return self.cameras.get(camera, self)
