"""What a detector found in one image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FLOAT, INT = np.dtype(np.float32), np.dtype(np.int32)


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """Boxes, scores and classes of one image, best score first; empty is a normal value.

    Attributes:
        xyxy: float32 (n, 4), left, top, right, bottom in source-image pixels.
        score: float32 (n,), 0 to 1.
        class_id: int32 (n,), index into the model's labels.

    Raises:
        ValueError: shapes or dtypes do not fit each other.
    """

    xyxy: np.ndarray
    score: np.ndarray
    class_id: np.ndarray

    def __post_init__(self) -> None:
        n = len(self.xyxy)
        for name, array, shape, dtype in (
            ('xyxy', self.xyxy, (n, 4), FLOAT),
            ('score', self.score, (n,), FLOAT),
            ('class_id', self.class_id, (n,), INT),
        ):
            if array.shape != shape or array.dtype != dtype:
                raise ValueError(
                    f'{name}: expected {dtype.name} of shape {shape}, '
                    f'got {array.dtype.name} of shape {array.shape}'
                )

    def __len__(self) -> int:
        return len(self.score)

    @classmethod
    def empty(cls) -> Detections:
        """Return a result without any box."""
        return cls(
            np.empty((0, 4), np.float32), np.empty((0,), np.float32), np.empty((0,), np.int32)
        )
