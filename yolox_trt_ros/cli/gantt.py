"""A timeline of lanes as PNG or SVG: rows are lanes, colours are cameras."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.output_files import write_whole
from yolox_trt_ros.report import picture
from yolox_trt_ros.report.axes import Scale, bottom_axis, legend, rows
from yolox_trt_ros.report.drawing import Box, Drawing, Text, camera_colour, to_svg
from yolox_trt_ros.schedule.simulation import Record

WIDTH, BAR = 1400.0, 36.0


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
    check_suffix(path)
    drawing = _draw(record, cameras, start_ms, span_ms, title)
    if path.suffix.lower() == '.png':
        write_whole(path, picture.to_png(drawing))
    else:
        write_whole(path, to_svg(drawing, label=title, named_colours=False))


def check_suffix(path: Path) -> None:
    """Raise ConfigError if a timeline cannot be written to a file of this name."""
    if path.suffix.lower() not in ('.png', '.svg'):
        raise ConfigError(f'{path}: expected a name that ends in .png or .svg')


def _draw(
    record: Record, cameras: Mapping[str, float], start_ms: float, span_ms: float, title: str
) -> Drawing:
    colours = {name: camera_colour(i) for i, name in enumerate(cameras)}
    lanes = [lane.name for lane in record.final.lanes] if record.final else []
    names = ['arrivals', *lanes, *(['deadlines'] if any(cameras.values()) else [])]
    drawing = Drawing(WIDTH, 0, [Text(14, 30, title, 19, 'ink')])
    places = dict(zip(names, rows(WIDTH, len(names), BAR, top=56, label=120), strict=True))
    first, last = places['arrivals'], places[names[-1]]
    at = Scale(start_ms, start_ms + span_ms, first.left, first.right)
    bottom_axis(drawing, Scale(0, span_ms, first.left, first.right), 50, last.bottom + 4, 'ms')
    for name, row in places.items():
        row.title(drawing, name)
    for run in record.runs:
        if run.end_ns / 1e6 > start_ms and run.start_ns / 1e6 < start_ms + span_ms:
            left, right = at(run.start_ns / 1e6), at(run.end_ns / 1e6)
            thick, top = BAR / len(run.cameras), places[run.lane].top
            for index, camera in enumerate(run.cameras):
                width = max(1.0, right - left - 1)
                drawing.add(Box(left, top + index * thick, width, thick, colours[camera]))
    for result in record.results:
        received_ms = result.received_ns / 1e6
        marks = [('arrivals', received_ms)]
        if cameras[result.camera]:
            marks.append(('deadlines', received_ms + cameras[result.camera]))
        for name, ms in marks:
            if start_ms <= ms <= start_ms + span_ms:
                row = places[name]
                drawing.add(Box(at(ms) - 1.5, row.top + 8, 3, BAR - 8, colours[result.camera]))
    height = legend(drawing, list(colours.items()), 120, last.bottom + 44, WIDTH)
    return Drawing(WIDTH, height, [Box(0, 0, WIDTH, height, 'paper'), *drawing.shapes])
