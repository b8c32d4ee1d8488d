"""Run lengths of masks: Autoware's form of a class mask, and COCO's of one class."""

from __future__ import annotations

import numpy as np

from yolox_trt_ros.core.errors import ConfigError

RUN = np.dtype([('value', 'u1'), ('length', '<i4')])
"""A run in Autoware's messages: 5 bytes without padding, as ``perception_utils`` packs them."""


def runs_of(values: np.ndarray) -> np.ndarray:
    """Return the runs of equal values of a mask, row by row: ``RUN`` (n,).

    The bytes are those that ``TrtYoloXDetector`` of autoware_tensorrt_yolox makes of
    ``perception_utils::runLengthEncoder``.

    Args:
        values: uint8 (height, width).
    """
    flat = np.ascontiguousarray(values).reshape(-1)
    ends = np.flatnonzero(flat[1:] != flat[:-1])
    runs = np.empty(len(ends) + 1, RUN)
    runs['value'][:-1], runs['value'][-1] = flat[ends], flat[-1]
    runs['length'][:-1], runs['length'][-1] = ends + 1, flat.size
    runs['length'][1:] -= runs['length'][:-1].copy()
    return runs


def values_of(data: np.ndarray | bytes, height: int, width: int) -> np.ndarray:
    """Return the mask whose runs these are, uint8 (height, width).

    Raises:
        ConfigError: the data are no runs of so many pixels.
    """
    raw = np.frombuffer(data, np.uint8)
    if len(raw) % RUN.itemsize:
        raise ConfigError(f'expected runs of {RUN.itemsize} bytes, got {len(raw)} bytes')
    runs = raw.view(RUN)
    lengths = runs['length'].astype(np.int64)
    if (lengths < 0).any() or lengths.sum() != height * width:
        raise ConfigError(
            f'expected runs of {height}x{width} = {height * width} pixels, got {lengths.sum()}'
        )
    return np.repeat(runs['value'], lengths).reshape(height, width)


def coco_counts(mask: np.ndarray) -> list[int]:
    """Return COCO's uncompressed run lengths of a mask: column by column, beginning with zeros.

    Args:
        mask: bool (height, width).
    """
    flat = mask.T.reshape(-1)
    ends = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    lengths = np.diff(ends, prepend=0, append=flat.size).tolist()
    return [0, *lengths] if flat[0] else lengths
