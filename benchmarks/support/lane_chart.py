"""Draw what lanes made of the loads that were offered to them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from yolox_trt_ros.report.axes import Scale, legend, tick_text, ticks
from yolox_trt_ros.report.drawing import Drawing, Path, Text, camera_colour, to_svg

WIDTH, HEIGHT, MARGIN = 720.0, 300.0, 56.0


def chart(result: dict[str, Any]) -> str:
    """Return an SVG: results per second, and p99 latency, over images offered per second."""
    gpu = result['gpus'][0] if result['gpus'] else 'CPU'
    drawing = Drawing(WIDTH, 2 * HEIGHT + 90)
    title = f'{result["model"]} on {gpu}, images of {"×".join(map(str, result["image"]))}'
    drawing.add(Text(MARGIN, 20, title, 14, 'ink', bold=True))
    series = {
        _name(key): list(runs) for key, runs in groupby(result['runs'], key=_key)
    }  # fmt: skip
    colours = {name: camera_colour(i) for i, name in enumerate(series)}
    below = legend(drawing, list(colours.items()), MARGIN, 44, WIDTH)
    for place, (figure, unit) in enumerate((('per_s', 'results/s'), ('p99_ms', 'p99, ms'))):
        top = below + 10 + place * HEIGHT
        _plot(drawing, series, colours, figure, unit, (top, top + HEIGHT - 60))
    return str(to_svg(drawing, label=title, named_colours=False))


def _key(run: dict[str, Any]) -> tuple[int, str, int]:
    return run['gpus'], run['memory'], run['streams']


def _name(key: tuple[int, str, int]) -> str:
    gpus, memory, streams = key
    return f'{gpus} GPU{"s" if gpus > 1 else ""}, {memory}, {streams} streams'


def _plot(
    drawing: Drawing,
    series: dict[str, list[dict[str, Any]]],
    colours: dict[str, str],
    figure: str,
    unit: str,
    rows: tuple[float, float],
) -> None:
    top, bottom = rows
    every = [run for runs in series.values() for run in runs]
    across = Scale(0, max(run['offered_per_s'] for run in every), MARGIN, WIDTH - 20)
    up = Scale(0, 1.05 * max(run[figure] for run in every) or 1, bottom, top)
    _grid(drawing, across, up, unit, rows)
    for name, runs in series.items():
        points = sorted((across(run['offered_per_s']), up(run[figure])) for run in runs)
        drawing.add(Path(points, colours[name], 2.0))


def _grid(drawing: Drawing, across: Scale, up: Scale, unit: str, rows: Sequence[float]) -> None:
    top, bottom = rows
    values = ticks(up.low, up.high, 5)
    step = values[1] - values[0] if len(values) > 1 else 1.0
    for value in values:
        y = up(value)
        drawing.add(Path([(across.start, y), (across.end, y)], 'grid', 1.0))
        drawing.add(Text(across.start - 6, y + 4, tick_text(value, step), 11, 'soft', 'end'))
    drawing.add(Text(across.start + 4, top + 4, unit, 11, 'ink'))
    values = ticks(across.low, across.high, 7)
    step = values[1] - values[0] if len(values) > 1 else 1.0
    for value in values:
        text = Text(across(value), bottom + 16, tick_text(value, step), 11, 'soft', 'middle')
        drawing.add(text)
    drawing.add(Text(across.end, bottom + 32, 'images offered/s', 11, 'ink', 'end'))
