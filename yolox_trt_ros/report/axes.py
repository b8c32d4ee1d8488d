"""Scales, ticks and grid lines that the drawings share."""

from __future__ import annotations

import math
from dataclasses import dataclass

from yolox_trt_ros.report.drawing import Box, Drawing, Path, Text, text_width

SMALL = 11.0
"""Size of the letters on axes."""


@dataclass(frozen=True, slots=True)
class Scale:
    """A straight line from values to pixels; values outside are held at its ends."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Return the pixel of a value."""
        part = (value - self.low) / ((self.high - self.low) or 1.0)
        return self.start + (self.end - self.start) * min(1.0, max(0.0, part))


def nice_step(span: float, most: int) -> float:
    """Return the smallest step of 1, 2 or 5 times a power of ten that gives at most ``most``."""
    if span <= 0:
        return 1.0
    rough = span / max(1, most)
    power = 10.0 ** math.floor(math.log10(rough))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= rough * (1 - 1e-9))


def ticks(low: float, high: float, most: int) -> list[float]:
    """Return round values within a range."""
    step = nice_step(high - low, most)
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


def tick_text(value: float, step: float) -> str:
    """Return a tick's value with the digits its step asks for."""
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return f'{value:,.{digits}f}'


def bottom_axis(drawing: Drawing, scale: Scale, top: float, bottom: float, unit: str) -> None:
    """Draw vertical grid lines with their values below; the last one has the unit."""
    values = ticks(scale.low, scale.high, max(2, int((scale.end - scale.start) / 80)))
    step = values[1] - values[0] if len(values) > 1 else 1.0
    for index, value in enumerate(values):
        x = scale(value)
        drawing.add(Path([(x, top), (x, bottom)], 'grid', 1.0))
        text = tick_text(value, step) + (f' {unit}' if index == len(values) - 1 else '')
        anchor = 'end' if x > scale.end - 24 else 'start' if x < 6 else 'middle'
        drawing.add(Text(x, bottom + 15, text, SMALL, 'soft', anchor))


def legend(
    drawing: Drawing, entries: list[tuple[str, str]], x: float, y: float, right: float
) -> float:
    """Write colour → name pairs, as many rows as they need; return the next free ``y``."""
    at = x
    for name, colour in entries:
        wide = 22 + text_width(name, 12)
        if at > x and at + wide > right:
            at, y = x, y + 20
        drawing.add(Box(at, y - 9, 10, 10, colour, radius=2), Text(at + 15, y, name))
        at += wide + 12
    return y + 20


NARROW = 600.0
"""Below this width, labels stand above their rows instead of beside them."""


@dataclass(frozen=True, slots=True)
class Row:
    """Where one row of a chart lies, and where its name and its figures go."""

    left: float
    right: float
    top: float
    bottom: float
    narrow: bool

    def title(self, drawing: Drawing, name: str, figures: str = '') -> None:
        """Write the row's name and figures."""
        if self.narrow:
            base = self.top - 5
            drawing.add(Text(self.left, base, name, 12, 'ink', bold=True))
            place = Text(self.right, base, figures, SMALL, 'soft', 'end')
        else:
            base = (self.top + self.bottom) / 2 + 4
            drawing.add(Text(self.left - 12, base, name, 13, 'ink', 'end'))
            place = Text(self.right + 12, base, figures, 12, 'soft')
        if figures:
            drawing.add(place)


def rows(
    width: float,
    count: int,
    height: float,
    *,
    top: float = 4,
    label: float = 110,
    figures: float = 0,
) -> list[Row]:
    """Return the rows of a chart, one below the other.

    Args:
        width: of the drawing; a narrow one has its labels above the rows.
        count: rows.
        height: of each, without label.
        top: where the first one begins.
        label: space for names on the left of a wide drawing.
        figures: space for figures on its right.
    """
    narrow = width < NARROW
    pitch = height + (24 if narrow else 8)
    left, right = (2.0, width - 2.0) if narrow else (label, width - max(figures, 8.0))
    first = top + (18 if narrow else 0)
    return [
        Row(left, right, first + i * pitch, first + i * pitch + height, narrow)
        for i in range(count)
    ]
