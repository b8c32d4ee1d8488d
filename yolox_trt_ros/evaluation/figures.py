"""Draw the confusion matrix, and recall by height and by distance, as PNG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from yolox_trt_ros.report.drawing import Box, Drawing, Path, Text, text_width
from yolox_trt_ros.report.picture import to_png

CELL, MARGIN = 44.0, 16.0
WIDTH, HEIGHT = 420.0, 250.0
LONGEST = 24
"""Letters of a class name on a drawing."""
FEW = 30
"""Most classes that are drawn with their own rows; more leave the diagonal alone visible."""


def confusion_png(figures: Mapping[str, Any]) -> bytes:
    """Return the confusion matrix, each row as shares of its labels."""
    names = [name[:LONGEST] for name in figures['classes']]
    matrix = figures['matrix']
    used = [
        k for k in range(len(names))
        if len(names) <= FEW or sum(matrix[k]) or sum(row[k] for row in matrix)
    ]  # fmt: skip
    order = [*used, len(names)]
    rows = [*(names[k] for k in used), '(nothing)']
    columns = [*(names[k] for k in used), '(missed)']
    label = max(text_width(name, 12) for name in rows) + 12
    side = CELL * len(order)
    left, top = MARGIN + label, MARGIN + 52 + 18
    drawing = Drawing(left + side + MARGIN, top + side + MARGIN + label * 0.2)
    title = f'Labels (rows) and what they were seen as, from score {figures["score"]:g}'
    drawing.add(Text(MARGIN, MARGIN + 12, title, 14, 'ink', bold=True))
    for i, (k, name) in enumerate(zip(order, rows, strict=True)):
        y = top + i * CELL
        drawing.add(Text(left - 8, y + CELL / 2 + 4, name, 12, 'ink', 'end'))
        whole = sum(matrix[k])
        for j, other in enumerate(order):
            count = matrix[k][other]
            x = left + j * CELL
            share = count / whole if whole else 0.0
            colour = 'accent' if k == other else 'error'
            drawing.add(Box(x, y, CELL - 1, CELL - 1, 'track'))
            if count:
                drawing.add(Box(x, y, CELL - 1, CELL - 1, colour, 0.12 + 0.88 * share))
                ink = 'paper' if share > 0.5 else 'ink'
                drawing.add(Text(x + CELL / 2, y + CELL / 2 + 4, f'{count}', 11, ink, 'middle'))
    for j, name in enumerate(columns):
        high = top - 8 - 14 * (j % 3)
        drawing.add(Text(left + j * CELL + CELL / 2, high, name[:14], 11, 'soft', 'middle'))
    return to_png(drawing)


def curves_png(figures: Mapping[str, Any]) -> bytes:
    """Return recall by height, and by distance where it is known."""
    parts = [(figures['by_height'], 'px', 'Recall by height of the label, pixels')]
    if figures['by_distance']:
        parts.append((figures['by_distance'], 'm', 'Recall by distance, metres'))
    drawing = Drawing(len(parts) * (WIDTH + MARGIN) + MARGIN, HEIGHT + 2 * MARGIN)
    for i, (rows, unit, title) in enumerate(parts):
        drawing.put(_curve(rows, unit, title), MARGIN + i * (WIDTH + MARGIN), MARGIN)
    return to_png(drawing)


def _curve(rows: Sequence[Mapping[str, Any]], unit: str, title: str) -> Drawing:
    drawing = Drawing(WIDTH, HEIGHT, [Text(0, 12, title, 14, 'ink', bold=True)])
    left, top, right, bottom = 36.0, 30.0, WIDTH - 4, HEIGHT - 44.0
    for percent in (0, 25, 50, 75, 100):
        y = bottom - (bottom - top) * percent / 100
        drawing.add(Path([(left, y), (right, y)], 'grid', 1))
        drawing.add(Text(left - 6, y + 4, f'{percent}', 11, 'soft', 'end'))
    wide = (right - left) / max(1, len(rows))
    points = []
    for i, row in enumerate(rows):
        x = left + i * wide
        if row['recall'] is not None:
            high = (bottom - top) * row['recall']
            drawing.add(Box(x + 3, bottom - high, wide - 6, high, 'accent', 0.25))
            points.append((x + wide / 2, bottom - high))
        drawing.add(Text(x, bottom + 14, f'{row[f"from_{unit}"]:g}', 11, 'soft', 'middle'))
        drawing.add(Text(x + wide / 2, bottom + 30, f'{row["labels"]}', 10, 'soft', 'middle'))
    if points:
        drawing.add(Path(points, 'accent', 2))
    drawing.add(Text(left - 6, bottom + 30, 'n', 10, 'soft', 'end'))
    return drawing
