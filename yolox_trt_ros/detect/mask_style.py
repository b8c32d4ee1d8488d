"""How the masks of a model are shown: names, colours, and boxes that are painted over them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from yolox_trt_ros.core.class_names import AUTOWARE, matching
from yolox_trt_ros.core.colours import class_colours
from yolox_trt_ros.core.config import ModelConfig
from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.errors import ConfigError, did_you_mean
from yolox_trt_ros.core.model import ModelSpec
from yolox_trt_ros.core.printing import shown
from yolox_trt_ros.core.rules import Rules
from yolox_trt_ros.core.segmentation import MOST_CLASSES, Segmentation
from yolox_trt_ros.detect.mask_files import (
    NO_CLASS,
    MaskColors,
    read_mask_boxes,
    read_mask_colors,
)


@dataclass(frozen=True, slots=True, eq=False)
class MaskStyle:
    """What the vehicle says of one model's masks.

    Attributes:
        labels: names of the classes; empty where nobody knows them.
        bgr: uint8 (256, 3), the colour of each class.
        boxes: class of the masks by name of a class of the model, for boxes that are painted.
        score: lowest of such a box.
    """

    labels: tuple[str, ...]
    bgr: np.ndarray
    boxes: Mapping[str, int]
    score: float

    @classmethod
    def of(cls, config: ModelConfig, spec: ModelSpec) -> MaskStyle:
        """Return that of a model which gives masks.

        Raises:
            ConfigError: a file is none, or does not fit the model.
        """
        masks = spec.segmentation
        assert masks
        labels = masks.labels
        if colors := _colors(config):
            if len(colors.labels) < masks.classes and not (masks.numbers and not masks.labels):
                raise ConfigError(
                    f'{config.where}.mask_colors: expected {masks.classes} classes as the model '
                    f'has, got {len(colors.labels)}'
                )
            labels = colors.labels[: masks.classes]
        return cls(
            labels,
            mask_colours(config),
            _painted(config, spec, masks.classes),
            config.mask_box_score,
        )

    def coloured(self, mask: Segmentation) -> np.ndarray:
        """Return a mask as a picture, uint8 (height, width, 3) BGR."""
        picture: np.ndarray = self.bgr[mask.class_id]
        return picture

    def numbers(self, spec: ModelSpec, rules: Rules) -> np.ndarray:
        """Return the class of the masks for each class of the result, int (classes,); -1: none.

        Raises:
            ConfigError: classes that share a name in the result are painted differently.
        """
        found = np.full(len(rules.labels), NO_CLASS)
        for label, number, counts in zip(
            spec.labels, rules.class_ids.tolist(), np.isfinite(rules.scores).tolist(), strict=True
        ):
            painted = self.boxes.get(label, NO_CLASS)
            if not counts:
                continue
            if found[number] not in (NO_CLASS, painted):
                raise ConfigError(
                    f'mask_boxes: classes that are {shown(rules.labels[number])} in the result '
                    'have different classes of the masks'
                )
            found[number] = painted
        return found

    def painted(
        self, mask: Segmentation, found: Detections, numbers: np.ndarray, size: tuple[int, int]
    ) -> Segmentation:
        """Return a mask with boxes painted over it, as Autoware's ``overlapSegmentByRoi`` does.

        Boxes are whole pixels inside the image first, then scaled to the mask and rounded down;
        those that come later, which have lower scores, are painted over the others.

        Args:
            mask: as the network gave it; not changed.
            found: detections of the same image, best first.
            numbers: see :meth:`numbers`.
            size: width and height of the source image.
        """
        painted = (found.score >= self.score) & (numbers[found.class_id] != NO_CLASS)
        if not painted.any():
            return mask
        cells = _cells(found.xyxy[painted], mask, size)
        class_id = mask.class_id.copy()
        for (left, top, right, bottom), number in zip(
            cells.tolist(), numbers[found.class_id[painted]].tolist(), strict=True
        ):
            class_id[top:bottom, left:right] = number
        return replace(mask, class_id=class_id)


def mask_colours(config: ModelConfig) -> np.ndarray:
    """Return the colours of a model's masks, uint8 (256, 3) BGR; of classes without one: black.

    Raises:
        ConfigError: ``mask_colors`` is no such file.
    """
    colors = _colors(config)
    if colors is None:
        return class_colours(MOST_CLASSES)
    bgr = np.zeros((MOST_CLASSES, 3), np.uint8)
    bgr[: len(colors.bgr)] = colors.bgr
    return bgr


def _colors(config: ModelConfig) -> MaskColors | None:
    path = config.mask_colors
    return read_mask_colors(Path(path).expanduser()) if path else None


def _cells(xyxy: np.ndarray, mask: Segmentation, size: tuple[int, int]) -> np.ndarray:
    """Return the cells of a mask that boxes cover: int (n, 4), left, top, right, bottom."""
    last = np.array([size[0] - 1, size[1] - 1] * 2, np.float32)
    boxes = np.minimum(np.maximum(xyxy, 0), last)
    boxes[:, 2:] -= boxes[:, :2]
    left, top, width, height = mask.region
    rows, columns = mask.class_id.shape
    scale = np.array([columns, rows] * 2, np.float32) / np.array([width, height] * 2, np.float32)
    whole = boxes.astype(np.int32)
    whole[:, :2] -= (left, top)
    cells = (whole.astype(np.float32) * scale).astype(np.int32)
    cells[:, 2:] += cells[:, :2]
    return np.maximum(cells, 0)


def _painted(config: ModelConfig, spec: ModelSpec, classes: int) -> dict[str, int]:
    """Return the class of the masks for each class of the model whose boxes are painted."""
    where = config.where
    if not config.mask_boxes:
        return {}
    given = read_mask_boxes(Path(config.mask_boxes).expanduser(), classes)
    named = {label: matching(label, list(given)) for label in spec.labels}
    missing = [label for label, name in named.items() if name is None]
    if missing:
        raise ConfigError(
            f'{where}.mask_boxes: expected a row for every class of the model, none is there for '
            f'{shown(missing)}'
        )
    wanted = config.mask_box_classes or spec.labels
    for name in wanted:
        if matching(name, (*spec.labels, *AUTOWARE)) is None:  # Autoware's may be no class of it
            raise ConfigError(
                f'{where}.mask_box_classes: expected classes of the model, got {shown(name)}'
                f'{did_you_mean(name, spec.labels)}'
            )
    kept = {matching(name, spec.labels) for name in wanted}
    return {label: given[name] for label, name in named.items() if name and label in kept}
