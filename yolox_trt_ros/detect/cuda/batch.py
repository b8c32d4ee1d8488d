"""The record that describes a batch to the kernels: ``batch.cuh`` as NumPy types."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from yolox_trt_ros.core.frame import Part
from yolox_trt_ros.detect.cuda.runtime import Device

MAX_IMAGES = 64
"""kImages in batch.cuh."""

IMAGE = np.dtype(
    [
        ('data', 'u8'),
        ('across', 'u8'),
        ('down', 'u8'),
        ('scale', 'i8', 2),
        ('step', 'i4'),
        ('width', 'i4'),
        ('height', 'i4'),
        ('out_width', 'i4'),
        ('out_height', 'i4'),
        ('format', 'i4'),
        ('order', 'i4'),
        ('swap', 'i4'),
        ('left', 'i4'),
        ('top', 'i4'),
        ('letterbox', 'f4', 2),
        ('part', 'i4', 4),
    ],
    align=True,
)
RULES = np.dtype(
    [
        ('scores', 'u8'),
        ('class_ids', 'u8'),
        ('edges', 'u8'),
        ('edge_count', 'i4'),
        ('first', 'f4'),
        ('lowest', 'f4'),
    ],
    align=True,
)
THRESHOLDS = np.dtype(
    [
        ('iou', 'f4'),
        ('class_agnostic', 'i4'),
        ('max_detections', 'i4'),
        ('clip', 'i4'),
    ],
    align=True,
)
BATCH = np.dtype(
    [
        ('images', 'i4'),
        ('thresholds', THRESHOLDS),
        ('image', IMAGE, MAX_IMAGES),
        ('rules', RULES, MAX_IMAGES),
    ],
    align=True,
)


class Pixels(NamedTuple):
    """How a raw image of 8 bits a sample lies in memory: a :class:`Frame`'s attributes."""

    encoding: str
    height: int
    width: int
    step: int
    part: Part | None = None


Source = tuple[Pixels, int]
"""An image and the address at which kernels find it."""


class BatchTable:
    """One batch's images and thresholds, in memory that recorded launches read again and again.

    The preprocessor and the postprocessor describe a batch, :meth:`upload` takes that to where
    their kernels look.

    Args:
        device: where the kernels run. An integrated one reads the host's memory.

    Attributes:
        record: ``BATCH`` (), pinned.
        images: ``IMAGE`` (``MAX_IMAGES``,), a part of it.
        sources: what the preprocessor last wrote to them.
        kinds: likewise, but for the addresses; keeps the tables that they point to.
        limits: what the postprocessor last wrote of all images.
        rules: likewise, of each; keeps the tables that they point to.
        changed: whether one of them wrote since the last upload.
        address: of the record, for kernels.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._host = device.pinned(1, BATCH)
        self._source = device.address(self._host)
        self.kinds: list[Any] = [None] * MAX_IMAGES
        self.sources: Sequence[Source | None] | None = None
        self.limits: Any = None
        self.rules: list[Any] = [None] * MAX_IMAGES
        self.changed = True
        self.record, self.images = self._host[0], self._host['image'][0]
        self._copy = None if device.integrated else device.zeros((BATCH.itemsize,), np.uint8)
        self.address = self._source if self._copy is None else device.address(self._copy)

    def upload(self, stream: Any) -> None:
        """Enqueue the copy; the record stays as it is until that is done."""
        if self._copy is not None and self.changed:
            self.changed = False
            self._device.upload(self.address, self._source, BATCH.itemsize, stream)
