"""A timeline of lanes as PNG or SVG: rows are lanes, colours are cameras."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

import cv2
import numpy as np

from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.schedule.simulation import Record

COLOURS = (
    '#4269d0', '#efb118', '#ff725c', '#6cc5b0', '#3ca951', '#ff8ab7', '#a463f2', '#97bbf5',
    '#9c6b4e', '#9498a0',
)  # fmt: skip
"""Ten colours that stay apart for colour-blind eyes (Observable 10)."""
WIDTH, LEFT, RIGHT, TOP, ROW, BAR = 1400, 120, 30, 64, 54, 36
INK, FAINT, PAPER = '#1b1e23', '#d9dce1', '#ffffff'


@dataclass(frozen=True, slots=True)
class Shape:
    """A filled box (x, y, width, height), or text at (x, y); pixels from the top left."""

    kind: str
    x: float
    y: float
    width: float = 0.0
    height: float = 0.0
    colour: str = INK
    text: str = ''
    size: int = 15
    anchor: str = 'start'


def draw_gantt(
    path: Path,
    record: Record,
    cameras: Mapping[str, float],
    *,
    start_ms: float,
    span_ms: float,
    title: str,
) -> None:
    """Write the runs of a simulation between two moments.

    Args:
        path: where to; the suffix chooses ``.png`` or ``.svg``.
        record: with results and runs.
        cameras: names in order of colour, each with its deadline in milliseconds (0: none).
        start_ms, span_ms: what is shown, from the start of the simulation.
        title: one line.

    Raises:
        ConfigError: another suffix.
    """
    writers: dict[str, Callable[[Path, Sequence[Shape], int], None]] = {
        '.png': _write_png,
        '.svg': _write_svg,
    }
    if path.suffix.lower() not in writers:
        raise ConfigError(f'{path}: expected a name that ends in .png or .svg')
    shapes, height = _shapes(record, cameras, start_ms, span_ms, title)
    path.parent.mkdir(parents=True, exist_ok=True)
    writers[path.suffix.lower()](path, shapes, height)


def _shapes(
    record: Record, cameras: Mapping[str, float], start_ms: float, span_ms: float, title: str
) -> tuple[list[Shape], int]:
    colours = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(cameras)}
    lanes = [lane.name for lane in record.final.lanes] if record.final else []
    rows = {name: TOP + ROW * (index + 1) for index, name in enumerate(lanes)}
    foot = TOP + ROW * (len(lanes) + 1)
    bottom = foot + (ROW if any(cameras.values()) else 0)

    def at(ns: float) -> float:
        part = (ns / 1e6 - start_ms) / span_ms
        return LEFT + (WIDTH - LEFT - RIGHT) * min(1.0, max(0.0, part))

    def shown(ns: float) -> bool:
        return 0 <= ns / 1e6 - start_ms <= span_ms

    shapes = [Shape('text', LEFT, 34, text=title, size=19)]
    shapes += _axis(start_ms, span_ms, at, bottom)
    labels = [('arrivals', TOP), *rows.items()]
    labels += [('deadlines', foot)] if any(cameras.values()) else []
    for name, y in labels:
        shapes.append(Shape('text', LEFT - 12, y + BAR * 0.68, text=name, anchor='end'))
    for run in record.runs:
        if run.end_ns / 1e6 > start_ms and run.start_ns / 1e6 < start_ms + span_ms:
            left, right = at(run.start_ns), at(run.end_ns)
            thick = BAR / len(run.cameras)
            for index, camera in enumerate(run.cameras):
                top = rows[run.lane] + index * thick
                width = max(1.0, right - left - 1)
                shapes.append(Shape('box', left, top, width, thick, colours[camera]))
    for result in record.results:
        colour = colours[result.camera]
        if shown(result.received_ns):
            shapes.append(Shape('box', at(result.received_ns) - 1.5, TOP + 8, 3, BAR - 8, colour))
        due_ns = result.received_ns + cameras[result.camera] * 1e6
        if cameras[result.camera] and shown(due_ns):
            shapes.append(Shape('box', at(due_ns) - 1.5, foot, 3, BAR - 8, colour))
    return shapes + _legend(colours, bottom + 44), bottom + 44 + 24 * (1 + (len(cameras) - 1) // 5)


def _axis(
    start_ms: float, span_ms: float, at: Callable[[float], float], bottom: float
) -> list[Shape]:
    step_ms = next((s for s in (1, 2, 5, 10, 20, 50, 100, 200, 500) if span_ms / s <= 14), 1000)
    shapes = []
    for index in range(int(span_ms // step_ms) + 1):
        x = at((start_ms + index * step_ms) * 1e6)
        shapes.append(Shape('box', x, TOP - 6, 1, bottom - TOP + 6, FAINT))
        shapes.append(
            Shape('text', x, bottom + 16, text=f'{index * step_ms} ms', size=13, anchor='middle')
        )
    return shapes


def _legend(colours: Mapping[str, str], y: float) -> list[Shape]:
    shapes = []
    for index, (name, colour) in enumerate(colours.items()):
        x = LEFT + 240.0 * (index % 5)
        row = y + 24 * (index // 5)
        shapes.append(Shape('box', x, row - 12, 14, 14, colour))
        shapes.append(Shape('text', x + 20, row, text=name, size=14))
    return shapes


def _write_svg(path: Path, shapes: Sequence[Shape], height: int) -> None:
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" font-family="sans-serif">',
        f'<rect width="{WIDTH}" height="{height}" fill="{PAPER}"/>',
    ]
    for s in shapes:
        if s.kind == 'box':
            lines.append(
                f'<rect x="{s.x:.1f}" y="{s.y:.1f}" width="{s.width:.1f}" '
                f'height="{s.height:.1f}" fill="{s.colour}"/>'
            )
        else:
            lines.append(
                f'<text x="{s.x:.1f}" y="{s.y:.1f}" font-size="{s.size}" fill="{s.colour}" '
                f'text-anchor="{s.anchor}">{escape(s.text)}</text>'
            )
    path.write_text('\n'.join([*lines, '</svg>']) + '\n', encoding='utf-8')


def _write_png(path: Path, shapes: Sequence[Shape], height: int) -> None:
    scale = 2  # drawn twice as large and reduced, which smooths the letters
    image = np.full((height * scale, WIDTH * scale, 3), 255, np.uint8)
    for s in shapes:
        bgr = tuple(int(s.colour[i : i + 2], 16) for i in (5, 3, 1))
        if s.kind == 'box':
            corner = (round(s.x * scale), round(s.y * scale))
            far = (
                round((s.x + s.width) * scale) - 1,
                round((s.y + s.height) * scale) - 1,
            )
            cv2.rectangle(image, corner, far, bgr, cv2.FILLED)
        else:
            font, thick = cv2.FONT_HERSHEY_DUPLEX, scale // 2
            size = s.size * scale / 30
            width = cv2.getTextSize(s.text, font, size, thick)[0][0]
            shift = {'start': 0, 'middle': width // 2, 'end': width}[s.anchor]
            origin = (round(s.x * scale) - shift, round(s.y * scale))
            cv2.putText(image, s.text, origin, font, size, bgr, thick, cv2.LINE_AA)
    small = cv2.resize(image, (WIDTH, height), interpolation=cv2.INTER_AREA)
    if not cv2.imwrite(str(path), small):
        raise OSError(f'{path}: the picture could not be written')
