"""The entropy search against one written out bin by bin, with SciPy's divergence where it is."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yolox_trt_ros.engine.entropy import LEVELS, best_prefix


def divergence(counts: list[float], size: int) -> float:
    """Return the divergence of one candidate as the publication describes it."""
    reference = counts[:size]
    reference[-1] += sum(counts[size:])
    level = [index * LEVELS // size for index in range(size)]
    quantised = [0.0] * size
    for one in set(level):
        members = [i for i in range(size) if level[i] == one and counts[i] > 0]
        for i in members:
            quantised[i] = sum(counts[j] for j in members) / len(members)
    p_sum, q_sum = sum(reference), sum(quantised)
    found = 0.0
    for p, q in zip(reference, quantised, strict=True):
        if p > 0 and q == 0:
            return math.inf
        if p > 0:
            found += p / p_sum * math.log((p / p_sum) / (q / q_sum))
    return found


def slow_best(counts: list[float]) -> tuple[int, dict[int, float]]:
    changed = [counts[1], *counts[1:]]
    found = {size: divergence(changed, size) for size in range(LEVELS, len(counts) + 1)}
    least = min(found.values())
    return max(size for size, value in found.items() if value == least), found


COUNTS = st.lists(st.integers(0, 1000) | st.just(0), min_size=LEVELS, max_size=170)


@settings(max_examples=25)
@given(COUNTS)
def test_same_as_bin_by_bin(counts: list[int]) -> None:
    if not any(counts[1:]):
        return
    _, found = slow_best(list(map(float, counts)))
    assert found[best_prefix(np.array(counts))] == pytest.approx(min(found.values()), abs=1e-9)


@pytest.mark.parametrize('spread', [0.02, 0.1, 0.5])
def test_long_tails_are_cut(spread: float) -> None:
    """A tail of few values is given up for finer steps; a level distribution is kept whole."""
    rng = np.random.default_rng(1)
    values = np.abs(rng.normal(0, spread, 200_000))
    values[:20] = np.linspace(spread * 6, 1, 20)
    counts, _ = np.histogram(values, 512, (0, 1))
    best, _ = slow_best(list(map(float, counts)))
    assert best_prefix(counts) == best
    flat = np.full(512, 1000)
    assert best_prefix(flat) == 512
