"""The report as one picture: drawings to pixels by Pillow, two columns below the summary."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable
from typing import Any

from yolox_trt_ros.core.errors import MissingDependencyError
from yolox_trt_ros.report import charts, timeline
from yolox_trt_ros.report.analysis import busiest_window
from yolox_trt_ros.report.drawing import PALETTE, Box, Drawing, Text
from yolox_trt_ros.report.drawing import Path as Line
from yolox_trt_ros.report.findings import figures, findings, headline
from yolox_trt_ros.report.recording import Recording

SHARP = 2
"""Everything is drawn this much larger and then reduced, which smooths edges."""
COLUMN, MARGIN, GAP = 760.0, 28.0, 26.0
LETTERS = 200
"""That fit into a line of the summary."""
TALLEST = 2.0
"""Height of a sample by its width; a taller image is shown smaller."""
ANCHORS = {'start': 'ls', 'middle': 'ms', 'end': 'rs'}


def png(recording: Recording) -> bytes:
    """Return the summary, the charts and the samples as a PNG file.

    Raises:
        MissingDependencyError: Pillow is not installed, or older than 10.1.
    """
    drawing, images = _layout(recording)
    return to_png(drawing, images)


def to_png(
    drawing: Drawing, images: dict[tuple[float, float, float], bytes] | None = None
) -> bytes:
    """Return a drawing as a PNG file.

    Args:
        drawing: what is drawn, on white.
        images: JPEG files by (x, y, width) of the places they are put at.

    Raises:
        MissingDependencyError: Pillow is not installed, or older than 10.1.
    """
    image, pen, letters = _canvas(drawing)
    for shape in drawing.shapes:
        _draw(pen, shape, letters)
    for (x, y, width), jpeg in (images or {}).items():
        _paste(image, jpeg, x, y, width)
    size = (round(drawing.width), round(drawing.height))
    out = io.BytesIO()
    image.resize(size, reducing_gap=2.0).save(out, 'PNG', optimize=True)
    return out.getvalue()


def _canvas(drawing: Drawing) -> tuple[Any, Any, Callable[[float], Any]]:
    try:
        from PIL import Image, ImageDraw, ImageFont

        ImageFont.load_default(12)
    except (ImportError, TypeError) as error:
        raise MissingDependencyError(
            "pictures of charts need Pillow 10.1 or newer: pip install 'pillow>=10.1'"
        ) from error
    size = (round(drawing.width * SHARP), round(drawing.height * SHARP))
    image = Image.new('RGB', size, PALETTE['paper'])
    fonts: dict[int, Any] = {}

    def letters(points: float) -> Any:
        pixels = round(points * SHARP)
        if pixels not in fonts:
            fonts[pixels] = ImageFont.load_default(pixels)
        return fonts[pixels]

    return image, ImageDraw.Draw(image, 'RGBA'), letters


def _draw(pen: Any, shape: Box | Line | Text, letters: Callable[[float], Any]) -> None:
    value = PALETTE.get(shape.colour, shape.colour)
    red, green, blue = (int(value[i : i + 2], 16) for i in (1, 3, 5))
    if isinstance(shape, Text):
        at, anchor = (shape.x * SHARP, shape.y * SHARP), ANCHORS[shape.anchor]
        stroke = 0.35 * SHARP if shape.bold else 0
        pen.text(at, shape.text, (red, green, blue), letters(shape.size), anchor,
                 stroke_width=stroke)  # fmt: skip
        return
    colour = (red, green, blue, round(255 * shape.opacity))
    if isinstance(shape, Box):
        if shape.opacity and shape.width > 0 and shape.height > 0:
            far = ((shape.x + shape.width) * SHARP - 1, (shape.y + shape.height) * SHARP - 1)
            near = (min(shape.x * SHARP, far[0]), min(shape.y * SHARP, far[1]))
            pen.rounded_rectangle([near, far], shape.radius * SHARP, colour)
        return
    points = [(x * SHARP, y * SHARP) for x, y in shape.points]
    if shape.filled and len(points) > 2:
        pen.polygon(points, colour)
    elif len(points) > 1:
        pen.line(points, colour, max(1, round(shape.width * SHARP)), joint='curve')


def _paste(image: Any, jpeg: bytes, x: float, y: float, width: float) -> None:
    from PIL import Image

    picture = Image.open(io.BytesIO(jpeg)).convert('RGB')
    wide = round(width * SHARP)
    scale = min(wide / picture.width, wide * TALLEST / picture.height)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    image.paste(picture.resize(size, reducing_gap=2.0), (round(x * SHARP), round(y * SHARP)))


def _layout(recording: Recording) -> tuple[Drawing, dict[tuple[float, float, float], bytes]]:
    page = Drawing(2 * COLUMN + GAP + 2 * MARGIN, 0)
    y = _summary(page, recording)
    images, y = _samples(page, recording, y)
    columns = [y, y]
    span = min(1_000_000_000, max(1, int(recording.duration_s * 1e9)))
    parts: list[tuple[str, Drawing]] = [
        ('Latency: arrival to publication', charts.latency_by_camera(recording, COLUMN)),
        ('Age of the newest detections', charts.age_over_time(recording, COLUMN)),
        ('Latency by stage', charts.latency_by_stage(recording, COLUMN)),
        ('Load of lanes, health and placement', timeline.timeline(recording, COLUMN)),
        (
            'The lanes around the slowest result',
            timeline.gantt(recording, busiest_window(recording, span), span, COLUMN),
        ),
        ('Dropped images per second', charts.drops_over_time(recording, COLUMN)),
        ('Mean time by stage', charts.stages_by_camera(recording, COLUMN)),
        ('Detections by class', charts.classes(recording, COLUMN)),
    ]
    for title, part in parts:
        column = 0 if columns[0] <= columns[1] else 1
        x = MARGIN + column * (COLUMN + GAP)
        page.add(Text(x, columns[column] + 16, title, 16, 'ink', bold=True))
        page.put(part, x, columns[column] + 30)
        columns[column] += 30 + part.height + GAP
    page.height = max(columns) + MARGIN
    return page, images


def _summary(page: Drawing, recording: Recording) -> float:
    found = findings(recording)
    level, words = headline(found)
    x, y = MARGIN, MARGIN + 24
    page.add(Text(x, y, 'Detection report', 28, 'ink', bold=True))
    page.add(Text(page.width - MARGIN, y, f'{recording.source} · {recording.duration_s:.0f} s', 14,
                  'soft', 'end'))  # fmt: skip
    y += 22
    shown = figures(recording)
    wide = (page.width - 2 * MARGIN - 12 * (len(shown) - 1)) / len(shown)
    for i, figure in enumerate(shown):
        left = x + i * (wide + 12)
        page.add(
            Box(left, y, wide, 84, 'track', radius=8),
            Text(left + 14, y + 22, figure.name, 13),
            Text(left + 14, y + 53, figure.value, 28, 'ink', bold=True),
            Text(left + 14, y + 73, figure.note, 12),
        )
    y += 84 + 34
    page.add(Text(x, y, words, 18, level, bold=True))
    for finding in found:
        page.add(Box(x + 2, y + 14, 10, 10, finding.level, radius=5))
        for line in textwrap.wrap(finding.text, LETTERS):
            y += 24
            page.add(Text(x + 22, y, line, 14, 'ink'))
    return y + 30


def _samples(
    page: Drawing, recording: Recording, y: float
) -> tuple[dict[tuple[float, float, float], bytes], float]:
    images: dict[tuple[float, float, float], bytes] = {}
    count = min(8, len(recording.samples))
    if not count:
        return images, y
    wide = (page.width - 2 * MARGIN - 10 * (count - 1)) / max(4, count)
    high = max(wide * _aspect(sample.jpeg) for sample in recording.samples[:count])
    for i, sample in enumerate(recording.samples[:count]):
        left = MARGIN + i * (wide + 10)
        images[left, y, wide] = sample.jpeg
        page.add(Text(left, y + high + 14, sample.camera, 12))
    return images, y + high + 40


def _aspect(jpeg: bytes) -> float:
    from PIL import Image

    picture = Image.open(io.BytesIO(jpeg))
    return min(TALLEST, float(picture.height / picture.width))
