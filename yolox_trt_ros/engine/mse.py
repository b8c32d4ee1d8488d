"""The range of a tensor whose INT8 version differs least from it: least mean squared error."""

from __future__ import annotations

import numpy as np

STEPS = 127
TRIED = 128
"""Ranges that are tried, from a little to the largest magnitude."""


def least_error(counts: np.ndarray, edges: np.ndarray) -> float:
    """Return the range with the least Σ counts · (value − its INT8 version)².

    Args:
        counts: int (bins,), how many magnitudes are in each bin.
        edges: float (bins + 1,), of the bins, from 0 on.
    """
    middle = ((edges[1:] + edges[:-1]) / 2).astype(np.float64)
    weight = counts.astype(np.float64)
    ranges = edges[-1] * np.arange(1, TRIED + 1) / TRIED
    step = (ranges / STEPS)[:, None]
    error = middle - np.minimum(np.rint(middle / step), STEPS) * step
    # Where bins are wider than a step, the values within one spread evenly over the step.
    width = float(edges[1] - edges[0])
    spread = np.where(step < width, step**2 / 12, error**2)
    clipped = np.where(middle > ranges[:, None], error**2, spread)
    return float(ranges[(clipped @ weight).argmin()])
