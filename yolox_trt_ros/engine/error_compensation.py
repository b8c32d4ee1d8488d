"""Remove weights so that those that stay make good what they can, layer by layer.

Optimal brain surgery in the order of columns that SparseGPT introduced (Frantar and Alistarh,
arXiv:2301.00774): of each four input channels two go, those whose removal costs least, and all
later weights of the same output channel move to the least squared error on the layer's inputs.
"""

from __future__ import annotations

import numpy as np

FOUR, TWO = 4, 2
BLOCK = 128
"""Columns after which the rest of the matrix is brought up to date."""
DAMPING = 0.01
"""Share of the mean of the Hessian's diagonal that is added to it, as the paper does."""


def compensated(weights: np.ndarray, hessian: np.ndarray) -> tuple[np.ndarray, float]:
    """Return 2:4 sparse weights, and the share of the output's energy that is lost.

    Args:
        weights: float32 (out, in, kernel height, kernel width), ``in`` a multiple of four.
        hessian: Σ x xᵀ of the layer's inputs, float (n, n) with n = height · width · in, pixels of
            the kernel first and channels last.
    """
    out, inputs, *kernel = weights.shape
    dense = np.moveaxis(weights, 1, -1).reshape(out, -1).astype(np.float64)
    sparse = _pruned(dense.copy(), _factor(hessian))
    change = sparse - dense
    energy = float(np.einsum('ij,ij->', dense @ hessian, dense))
    lost = float(np.einsum('ij,ij->', change @ hessian, change))
    shaped = np.moveaxis(sparse.reshape(out, *kernel, inputs), -1, 1)
    return np.ascontiguousarray(shaped, np.float32), lost / energy if energy > 0 else 0.0


def _factor(hessian: np.ndarray) -> np.ndarray:
    """Return the upper Cholesky factor of the inverse Hessian, damped."""
    damped = hessian.astype(np.float64)
    diagonal = np.einsum('ii->i', damped)
    diagonal += DAMPING * diagonal.mean() or 1.0
    upper: np.ndarray = np.linalg.cholesky(np.linalg.inv(damped)).T
    return upper


def _pruned(rows: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """Return rows (out, n) with two of each four columns zero; the rows given are overwritten."""
    n = rows.shape[1]
    for start in range(0, n, BLOCK):
        stop = min(start + BLOCK, n)
        block, within = rows[:, start:stop], factor[start:stop, start:stop]
        errors = np.zeros_like(block)
        gone = np.zeros(block.shape, bool)
        for k in range(stop - start):
            if k % FOUR == 0:
                worth = (block[:, k : k + FOUR] / np.diag(within)[k : k + FOUR]) ** 2
                cheapest = np.argsort(worth, axis=1, kind='stable')[:, :TWO]
                np.put_along_axis(gone[:, k : k + FOUR], cheapest, True, axis=1)
            errors[:, k] = np.where(gone[:, k], block[:, k], 0) / within[k, k]
            block[:, k:] -= np.outer(errors[:, k], within[k, k:])
        block[gone] = 0
        rows[:, stop:] -= errors @ factor[start:stop, stop:]
    return rows
