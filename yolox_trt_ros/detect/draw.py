"""Draw detections on an image, for people."""

from __future__ import annotations

import colorsys
from functools import cache
from typing import Protocol

import cv2
import numpy as np

from yolox_trt_ros.core.detections import Detections

Colour = tuple[int, int, int]


class Labels(Protocol):
    """Class names by number, such as a sequence of them."""

    def __getitem__(self, number: int, /) -> str:
        """Return a class's name."""
        ...


@cache
def class_colour(class_id: int) -> Colour:
    """Return a BGR colour that differs well between neighbouring class numbers."""
    # The golden ratio spreads hues evenly however many classes there are.
    r, g, b = colorsys.hsv_to_rgb((0.08 + class_id * 0.61803) % 1.0, 0.75, 1.0)
    return int(b * 255), int(g * 255), int(r * 255)


def draw_detections(image: np.ndarray, found: Detections, labels: Labels) -> np.ndarray:
    """Return a copy of a BGR image with boxes, class names and scores on it."""
    drawn = image.copy()
    draw_on(drawn, found, labels)
    return drawn


def text_size(image: np.ndarray) -> float:
    """Return the OpenCV font scale that reads well on an image of this size."""
    return float(max(0.4, min(image.shape[:2]) / 1000))


def draw_on(drawn: np.ndarray, found: Detections, labels: Labels) -> None:
    """Draw boxes, class names and scores on a BGR image, in place."""
    size = text_size(drawn)
    thickness = max(1, round(size * 2.5))
    # Best last, so that it lies on top.
    for box, score, class_id in zip(
        found.xyxy[::-1], found.score[::-1], found.class_id[::-1], strict=True
    ):
        x1, y1, x2, y2 = (round(float(v)) for v in box)
        colour = class_colour(int(class_id))
        cv2.rectangle(drawn, (x1, y1), (x2, y2), colour, thickness, cv2.LINE_AA)
        draw_tag(drawn, f'{labels[class_id]} {score:.2f}', (x1, y1), colour, size)


def draw_tag(
    image: np.ndarray, text: str, corner: tuple[int, int], colour: Colour, size: float
) -> None:
    """Write text on a filled box that sits on ``corner``, inside the image where it can be."""
    font, weight = cv2.FONT_HERSHEY_SIMPLEX, max(1, round(size * 1.6))
    (width, height), base = cv2.getTextSize(text, font, size, weight)
    x = max(0, min(corner[0], image.shape[1] - width))
    y = max(corner[1], height + base)
    cv2.rectangle(image, (x, y - height - base), (x + width, y), colour, cv2.FILLED)
    dark = sum(colour) > 300
    cv2.putText(
        image,
        text,
        (x, y - base // 2 - 1),
        font,
        size,
        (0, 0, 0) if dark else (255, 255, 255),
        weight,
        cv2.LINE_AA,
    )
