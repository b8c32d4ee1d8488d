"""Draw detections on an image, for people."""

from __future__ import annotations

from typing import Protocol

import cv2
import numpy as np

from yolox_trt_ros.core.colours import Colour as Colour
from yolox_trt_ros.core.colours import class_colour as class_colour
from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.printing import one_line

MOST_DRAWN = 1000
"""Boxes drawn on one image, the best ones."""
LONGEST_TAG = 200
"""Letters written on one line."""


class ClassNames(Protocol):
    """Class names by number, such as a sequence of them."""

    def __getitem__(self, number: int, /) -> str:
        """Return a class's name."""
        ...


def draw_detections(image: np.ndarray, found: Detections, labels: ClassNames) -> np.ndarray:
    """Return a copy of a BGR image with boxes, class names and scores on it."""
    drawn = image.copy()
    draw_on(drawn, found, labels)
    return drawn


def text_size(image: np.ndarray) -> float:
    """Return the OpenCV font scale that reads well on an image of this size."""
    return float(max(0.4, min(image.shape[:2]) / 1000))


def draw_on(drawn: np.ndarray, found: Detections, labels: ClassNames) -> None:
    """Draw boxes, class names and scores on a BGR image, in place."""
    size = text_size(drawn)
    thickness = max(1, round(size * 2.5))
    # Best last, so that it lies on top.
    for i in range(min(len(found), MOST_DRAWN))[::-1]:
        score, class_id = found.score[i], found.class_id[i]
        x1, y1, x2, y2 = corners(found.xyxy[i], drawn)
        colour = class_colour(int(class_id))
        cv2.rectangle(drawn, (x1, y1), (x2, y2), colour, thickness, cv2.LINE_AA)
        draw_tag(drawn, f'{labels[class_id]} {score:.2f}', (x1, y1), colour, size)


def corners(box: np.ndarray, image: np.ndarray) -> tuple[int, int, int, int]:
    """Return a box in whole pixels that OpenCV can draw: far outside it is cut, NaN is 0.

    Args:
        box: (4,) left, top, right, bottom.
        image: what it is drawn on.
    """
    far = 4 * max(image.shape[:2])
    x1, y1, x2, y2 = np.clip(np.nan_to_num(box, nan=0.0), -far, far).round().astype(int).tolist()
    return x1, y1, x2, y2


def drawable(text: str) -> str:
    """Return a text that OpenCV can write: one line of a length, and no half of a pair.

    What cannot be encoded, such as a byte that was not UTF-8, would end the process.
    """
    return one_line(text[:LONGEST_TAG])


def draw_tag(
    image: np.ndarray, text: str, corner: tuple[int, int], colour: Colour, size: float
) -> None:
    """Write text on a filled box that sits on ``corner``, inside the image where it can be."""
    text = drawable(text)
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
