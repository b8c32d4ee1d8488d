"""The range that loses least information, by the search that NVIDIA published.

S. Migacz, "8-bit Inference with TensorRT", GTC 2017, and ``_compute_amax_entropy`` of NVIDIA's
pytorch-quantization (TensorRT 8.6, Apache-2.0): of a histogram of magnitudes, each prefix of at
least as many bins as there are levels is a candidate. What lies beyond is moved into the prefix's
last bin; that is the reference. The prefix is then told apart by levels only, each level's values
spread evenly over its bins that hold any. The candidate with the smallest Kullback-Leibler
divergence wins, the widest one of several.
"""

from __future__ import annotations

import numpy as np

LEVELS = 128
"""Magnitudes that INT8 tells apart."""


def best_prefix(counts: np.ndarray) -> int:
    """Return how many bins of a histogram of magnitudes the range is to span.

    Args:
        counts: (bins,) how many values each bin holds, :data:`LEVELS` bins at least. The first
            bin counts as the second one does, for it also holds the zeros, which cost nothing.
    """
    found = np.asarray(counts, np.float64).copy()
    found[0] = found[1]
    sums = np.concatenate([[0.0], np.cumsum(found)])
    filled = np.concatenate([[0], np.cumsum(found > 0)])
    logs = np.concatenate([[0.0], np.cumsum(_x_log_x(found))])
    widest_first = range(len(found), LEVELS - 1, -1)
    divergences = [_divergence(found, sums, filled, logs, size) for size in widest_first]
    return widest_first[int(np.argmin(divergences))]


def _divergence(
    found: np.ndarray, sums: np.ndarray, filled: np.ndarray, logs: np.ndarray, size: int
) -> float:
    """Return the divergence of a prefix from its quantised form, in nats.

    Args:
        found: (bins,) the histogram.
        sums, filled, logs: (bins + 1,) what all bins before one hold, how many of them hold any,
            and the sum of x log x.
        size: of the prefix, bins.
    """
    total, inside, last = sums[-1], sums[size], found[size - 1]
    beyond = total - inside
    if inside == 0:
        return 0.0 if total == 0 else np.inf
    if last == 0 and beyond > 0:
        return np.inf  # values where the quantised form has none
    edges = -(-np.arange(LEVELS + 1) * size // LEVELS)  # a bin belongs to one level
    in_level, bins = np.diff(sums[edges]), np.diff(filled[edges])
    even = np.divide(in_level, bins, out=np.ones(LEVELS), where=bins > 0)
    # Of the reference p = a / total and the quantised q = b / inside, each summing up to 1:
    # sum p log(p / q) = (sum a log a - sum a log b) / total + log(inside / total).
    a_log_a = logs[size] - _x_log_x(last) + _x_log_x(last + beyond)
    a_log_b = float(np.sum(in_level * np.log(even, where=even > 0, out=np.zeros(LEVELS))))
    a_log_b += beyond * np.log(even[np.searchsorted(edges, size - 1, 'right') - 1])
    return float((a_log_a - a_log_b) / total + np.log(inside / total))


def _x_log_x(x: np.ndarray) -> np.ndarray:
    values = np.asarray(x, np.float64)
    return values * np.log(values, where=values > 0, out=np.zeros_like(values))
