"""How well class masks agree with the classes of pixels: IoU of each class, and their mean.

Counts of pixels, true class by predicted class, are added over all pictures; figures are made of
the sums, so that every pixel counts the same (as in the benchmarks of PASCAL VOC and Cityscapes).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from yolox_trt_ros.core.class_names import matching
from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.printing import one_line
from yolox_trt_ros.core.segmentation import MOST_CLASSES, Segmentation

IGNORED = 255
"""Class of pixels whose class nobody knows."""


class MaskScore:
    """Counts pixels by true and predicted class.

    Args:
        classes: names of the true classes, by number.
        labels: of the model's masks, by number; those of other names are wrong wherever they are.

    Attributes:
        counts: int64 (classes, classes + 1): true class, predicted class; the last column has what
            is predicted as none of them.

    Raises:
        ConfigError: the names of the masks' classes are not known, or none is a true class.
    """

    def __init__(self, classes: Sequence[str], labels: Sequence[str]) -> None:
        if not labels:
            raise ConfigError(
                'the model does not name the classes of its masks: give segmentation_labels in the '
                'YAML beside it'
            )
        self.classes = tuple(classes)
        self._number = np.full(MOST_CLASSES, len(classes), np.int64)
        for number, label in enumerate(labels):
            name = matching(label, self.classes)
            if name is not None:
                self._number[number] = self.classes.index(name)
        if (self._number == len(classes)).all():
            raise ConfigError(
                f'the model’s masks have {one_line(", ".join(labels))}; none of these is labelled: '
                f'{one_line(", ".join(classes))}'
            )
        self.counts = np.zeros((len(classes), len(classes) + 1), np.int64)

    def add(self, truth: np.ndarray, mask: Segmentation) -> None:
        """Count the pixels of a picture.

        Args:
            truth: uint8 (height, width), class of each pixel; :data:`IGNORED` does not count.
            mask: of the same picture, at its own resolution.
        """
        height, width = truth.shape
        left, top, right, bottom = _seen(mask, height, width)
        true = truth[top:bottom, left:right]
        predicted = self._number[mask.at(height, width)[top:bottom, left:right]]
        counts = true < len(self.classes)
        rows, columns = self.counts.shape
        pairs = true[counts].astype(np.int64) * columns + predicted[counts]
        self.counts += np.bincount(pairs, minlength=rows * columns).reshape(rows, columns)

    def figures(self) -> dict[str, Any]:
        """Return ``miou``, ``pixel_accuracy``, ``per_class`` (name: IoU, pixels), and the counts.

        A class that is neither in the pictures nor predicted has no IoU, and no part in the mean.
        """
        true = self.counts.sum(1)
        predicted = self.counts[:, :-1].sum(0)
        both = np.diagonal(self.counts).astype(np.float64)
        union = true + predicted - both
        iou = [float(b / u) if u else None for b, u in zip(both, union, strict=True)]
        known = [value for value in iou if value is not None]
        total = int(true.sum())
        return {
            'miou': sum(known) / len(known) if known else None,
            'pixel_accuracy': float(both.sum() / total) if total else None,
            'per_class': {
                name: {'iou': value, 'pixels': int(pixels)}
                for name, value, pixels in zip(self.classes, iou, true.tolist(), strict=True)
            },
            'counts': self.counts.tolist(),
        }


def _seen(mask: Segmentation, height: int, width: int) -> tuple[int, int, int, int]:
    left, top, columns, rows = mask.region
    return left, top, min(width, left + columns), min(height, top + rows)
