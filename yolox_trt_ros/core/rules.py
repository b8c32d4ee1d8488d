"""What counts in one camera's images: lowest scores by class, names of classes, ignored parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np


def _nowhere() -> np.ndarray:
    return np.empty((0, 2, 4), np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Rules:
    """What of a model's answer becomes a detection, applied before top-k and suppression.

    Two are the same only if they are one object.

    Attributes:
        scores: float32 (classes of the model,): a detection's score exceeds that of its class;
            infinity leaves the class out.
        class_ids: int32 (classes of the model,): number in the result; several classes may share
            one, and then suppress each other as one class.
        labels: names in the result; ``class_ids`` index them.
        edges: float32 (n, 2, 4), the sides of :mod:`core.regions`' polygons: detections whose
            centre lies inside are left out.
    """

    scores: np.ndarray
    class_ids: np.ndarray
    labels: tuple[str, ...]
    edges: np.ndarray = field(default_factory=_nowhere)

    @classmethod
    def of_all(cls, labels: Sequence[str], score: float) -> Rules:
        """Return the rules of a model whose classes all count above one score."""
        n = len(labels)
        return cls(np.full(n, score, np.float32), np.arange(n, dtype=np.int32), tuple(labels))

    @property
    def lowest(self) -> float:
        """Return the lowest score that any class has to exceed."""
        return float(self.scores.min())

    @property
    def names(self) -> list[str]:
        """Return the name of each class of the model in the result; empty: it is left out."""
        numbers = zip(self.class_ids.tolist(), np.isfinite(self.scores).tolist(), strict=True)
        return [self.labels[i] if counts else '' for i, counts in numbers]

    @property
    def wanted(self) -> list[int]:
        """Return the numbers that detections can have, ascending."""
        return sorted({*self.class_ids[np.isfinite(self.scores)].tolist()})
