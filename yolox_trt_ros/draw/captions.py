"""Captions on pictures: lane and age of a result, and what is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from yolox_trt_ros.draw.boxes import Colour, draw_tag, drawable, text_size

LEVELS: tuple[tuple[str, Colour], ...] = (
    ('OK', (80, 175, 76)),
    ('WARN', (7, 193, 255)),
    ('ERROR', (54, 67, 244)),
    ('STALE', (158, 158, 158)),
)
"""Words and colours of the levels of diagnostic_msgs/DiagnosticStatus."""
RED: Colour = (40, 40, 230)
DARK: Colour = (40, 40, 40)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a table of states.

    Attributes:
        level: index into :data:`LEVELS`.
        text: what is written behind it.
    """

    level: int
    text: str


def draw_caption(image: np.ndarray, text: str, colour: Colour = DARK) -> None:
    """Write a line in the upper left corner of a BGR image, in place."""
    draw_tag(image, text, (0, 0), colour, text_size(image))


def draw_stale(image: np.ndarray, text: str) -> None:
    """Darken a BGR image in place and write across it that it is old."""
    np.right_shift(image, 1, out=image)
    draw_tag(image, text, (0, image.shape[0] // 2), RED, 1.5 * text_size(image))


def draw_table(image: np.ndarray, title: str, lines: Sequence[Line]) -> None:
    """Fill a BGR image with a table of states, in place; lines that find no room are counted."""
    image[:], title = DARK, drawable(title)
    lines = [Line(line.level, drawable(line.text)) for line in lines]
    height, width = image.shape[:2]
    pitch = max(14, height // max(12, len(lines) + 2))
    left = pitch // 2
    longest = max((cv2.getTextSize(line.text, _FONT, 1.0, 1)[0][0] for line in lines), default=1)
    size = min(pitch / 34, (width - 2 * pitch) / longest)
    cv2.putText(image, title, (left, pitch), _FONT, size * 1.1, (255, 255, 255), 1, cv2.LINE_AA)
    room = height // pitch - 1
    shown = list(lines) if len(lines) <= room else list(lines[: room - 1])
    for row, line in enumerate(shown, 2):
        y = row * pitch - pitch // 4
        _, colour = LEVELS[line.level]
        cv2.circle(image, (left + pitch // 4, y - pitch // 4), pitch // 4, colour, cv2.FILLED)
        cv2.putText(
            image, line.text, (left + pitch, y), _FONT, size, (230, 230, 230), 1, cv2.LINE_AA
        )
    if len(shown) < len(lines):
        more = f'and {len(lines) - len(shown)} more'
        cv2.putText(
            image, more, (left + pitch, height - 4), _FONT, size, (230, 230, 230), 1, cv2.LINE_AA
        )


_FONT = cv2.FONT_HERSHEY_SIMPLEX
