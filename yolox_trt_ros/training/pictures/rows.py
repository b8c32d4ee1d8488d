"""Labelled pictures as a network gets them: letterboxed, with rows of labels in input pixels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.datasets.labelled import LabelledBoxes, LabelledData
from yolox_trt_ros.image_files import read_image

PAD = 114
"""Value of the pixels beside a letterboxed picture, YOLOX's."""
MOST_SLOTS = 200
"""Label rows of a picture; of one that has more the largest boxes are kept."""


class LetterboxedPictures(torch.utils.data.Dataset[tuple[Tensor, Tensor, Tensor]]):
    """Pictures of one data set; made in worker processes.

    Args:
        data: the pictures and labels.
        size: (height, width) of the network's input.

    Attributes:
        slots: label rows of each picture.
        crowded: pictures of which labels are left out, for they have more than rows.
    """

    def __init__(self, data: LabelledData, size: tuple[int, int]) -> None:
        self._files = [str(image.file) for image in data.images]
        self.labels = [image.boxes for image in data.images]
        self.size, self.classes = size, data.classes
        counts = [len(boxes) for boxes in self.labels]
        self.slots = max(1, min(MOST_SLOTS, max(counts, default=1)))
        self.crowded = sum(count > self.slots for count in counts)

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return a picture and its labels.

        Returns:
            uint8 (height, width, 3) BGR; float32 (slots, 6): class (−1: none), left, top, right,
            bottom in input pixels, ignored; float32 (3,): height and width of what is no pad, and
            how many input pixels a pixel of the picture has.
        """
        bgr = read_image(Path(self._files[index]))
        out, scale, seen = letterbox(bgr, self.size)
        rows = label_rows(self.labels[index], scale, self.slots)
        return torch.from_numpy(out), torch.from_numpy(rows), torch.tensor([*seen, scale])


def letterbox(bgr: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, float, tuple[int, int]]:
    """Return a picture as the node's preprocessing places it: top left, the rest is pad.

    Args:
        bgr: uint8 (height, width, 3).
        size: (height, width) of the result.

    Returns:
        uint8 (size, 3); its scale; height and width of what is no pad.
    """
    scale = min(size[0] / bgr.shape[0], size[1] / bgr.shape[1])
    height, width = max(1, int(bgr.shape[0] * scale)), max(1, int(bgr.shape[1] * scale))
    out = np.full((*size, 3), PAD, np.uint8)
    out[:height, :width] = cv2.resize(bgr, (width, height), interpolation=cv2.INTER_LINEAR)
    return out, scale, (height, width)


def label_rows(boxes: LabelledBoxes, scale: float, slots: int) -> np.ndarray:
    """Return labels as float32 (slots, 6), largest first; see :class:`LetterboxedPictures`."""
    rows = np.full((slots, 6), -1, np.float32)
    sides = boxes.xyxy[:, 2:] - boxes.xyxy[:, :2]
    order = np.argsort(-np.prod(sides, axis=1), kind='stable')
    order = order[(sides[order] > 0).all(axis=1)][:slots]
    count = len(order)
    rows[:count, 0] = boxes.class_id[order]
    rows[:count, 1:5] = boxes.xyxy[order] * scale
    rows[:count, 5] = boxes.ignored[order]
    return rows


def check_classes(train: LabelledData, val: LabelledData) -> None:
    """Refuse data whose two parts number their classes differently.

    Raises:
        ConfigError: they do.
    """
    if train.classes != val.classes:
        raise ConfigError(
            f'training data have the classes {", ".join(train.classes)}; those to validate with '
            f'have {", ".join(val.classes)}: give both the same with --classes'
        )


def stacked(
    items: Sequence[tuple[Tensor, Tensor, Tensor]],
) -> tuple[Tensor, Tensor, Tensor]:
    """Return pictures, labels and sizes of a batch, each in one tensor."""
    picture, labels, seen = zip(*items, strict=True)
    return torch.stack(picture), torch.stack(labels), torch.stack(seen)
