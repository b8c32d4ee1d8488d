"""Ranges of several methods side by side."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping

import numpy as np

SHOWN = 5


def scale_table(found: Mapping[str, Mapping[str, float]]) -> str:
    """Return the ranges as CSV: a tensor a line, a method a column.

    Args:
        found: range by tensor, by method; a tensor that a method does not know has no entry.
    """
    names = dict.fromkeys(name for ranges in found.values() for name in ranges)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(['tensor', *found])
    for name in names:
        values = (ranges.get(name) for ranges in found.values())
        writer.writerow([name, *('' if value is None else f'{value:.6g}' for value in values)])
    return text.getvalue()


def difference_of(ours: Mapping[str, float], theirs: Mapping[str, float]) -> str:
    """Return a line that says how far ranges are from those of another program.

    Args:
        ours, theirs: largest magnitude by tensor.
    """
    shared = [name for name in ours if name in theirs]
    if not shared:
        return 'no tensor has the same name in both'
    ratios = np.array([ours[name] / theirs[name] for name in shared])
    low, median, high = np.percentile(ratios, (5, 50, 95))
    apart = sorted(zip(np.abs(np.log(ratios)), shared, ratios, strict=True), reverse=True)
    worst = ', '.join(f'{name} {ratio:.2f}' for _, name, ratio in apart[:SHOWN])
    return (
        f'ours divided by theirs, {len(shared)} of {len(ours)} tensors: median {median:.3f}, '
        f'5 to 95 %: {low:.3f} to {high:.3f}; most apart: {worst}'
    )
