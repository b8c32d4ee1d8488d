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
        # Asked at once: every image of every batch passes here.
        if not (
            self.xyxy.shape == (n, 4)
            and self.score.shape == self.class_id.shape == (n,)
            and self.xyxy.dtype == self.score.dtype == FLOAT
            and self.class_id.dtype == INT
        ):
            raise ValueError(self._misfit(n))

    def _misfit(self, n: int) -> str:
        expected = (('xyxy', FLOAT, (n, 4)), ('score', FLOAT, (n,)), ('class_id', INT, (n,)))
        for name, dtype, shape in expected:
            array = getattr(self, name)
            if array.shape != shape or array.dtype != dtype:
                break
        return (
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
