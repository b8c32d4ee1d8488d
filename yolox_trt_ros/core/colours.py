"""Colours of classes."""

from __future__ import annotations

import colorsys
from functools import lru_cache

import numpy as np

Colour = tuple[int, int, int]


@lru_cache(maxsize=1024)
def class_colour(class_id: int) -> Colour:
    """Return a BGR colour that differs well between neighbouring class numbers."""
    # The golden ratio spreads hues evenly however many classes there are.
    r, g, b = colorsys.hsv_to_rgb((0.08 + class_id * 0.61803) % 1.0, 0.75, 1.0)
    return int(b * 255), int(g * 255), int(r * 255)


def class_colours(count: int) -> np.ndarray:
    """Return the colours of the first classes, uint8 (count, 3) BGR."""
    return np.array([class_colour(number) for number in range(count)], np.uint8)
