"""Notice that a model has never seen such pictures: it finds something, but is sure of little."""

from __future__ import annotations

import threading
from collections import deque

import numpy as np

COUNTED = 0.3
"""Lowest score that is looked at, whatever lower ones are published."""
SURE = 0.7
"""Score of a detection that a model is sure of."""
LEAST_SHARE = 0.4
"""Of a packaged model's detections in its own world 62 to 98 % are sure, by camera and by world; in
photographs 16 and 21 %."""
LEAST = 150
"""Detections without which nothing is said."""
IMAGES = 300
"""Results of a camera that are looked back on."""


class ScoreWatch:
    """Scores of each camera's latest results. Called from any thread."""

    def __init__(self) -> None:
        self._results: dict[str, deque[tuple[int, int]]] = {}
        self._lock = threading.Lock()

    def add(self, camera: str, score: np.ndarray) -> None:
        """Take in the scores of one result, float32 (n,)."""
        counts = int((score >= COUNTED).sum()), int((score >= SURE).sum())
        with self._lock:
            self._results.setdefault(camera, deque(maxlen=IMAGES)).append(counts)

    def hint(self, camera: str) -> str:
        """Return what is conspicuous about a camera's results; empty: nothing."""
        with self._lock:
            results = list(self._results.get(camera, ()))
        found, sure = (sum(column) for column in zip(*results, strict=True)) if results else (0, 0)
        if found < LEAST or sure >= LEAST_SHARE * found:
            return ''
        return (
            f'only {sure / found:.0%} of {found} detections have a score of {SURE:g} or more: '
            'these pictures do not look like those that the model was trained on'
        )
