"""The report as one HTML file with everything inside: styles, script, drawings, pictures.

``page.html`` is the page, a template of Jinja2 that escapes whatever it is given: the names and
reasons in a recording are those of somebody's messages. Only the package's own style and script,
and drawings, whose texts :func:`drawing.to_svg` has escaped, go in as they are. The page's
Content-Security-Policy allows no script but that one, and nothing from outside.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from yolox_trt_ros import __version__
from yolox_trt_ros.core.errors import MissingDependencyError
from yolox_trt_ros.core.printing import one_line
from yolox_trt_ros.core.trace import STAGES
from yolox_trt_ros.report import charts, timeline
from yolox_trt_ros.report.analysis import (
    busiest_window,
    counted,
    events,
    middle_window,
    percentiles_ms,
)
from yolox_trt_ros.report.drawing import PALETTE, Drawing, camera_colour, to_svg
from yolox_trt_ros.report.findings import figures, findings, headline
from yolox_trt_ros.report.recording import CameraRecord, Recording

try:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup
except ImportError as error:
    raise MissingDependencyError(
        'reports need Jinja2: apt install python3-jinja2, or pip install jinja2'
    ) from error

HERE = Path(__file__).parent
WIDE, PHONE = 1018.0, 346.0
"""Widths of the two versions of each drawing, CSS pixels."""
GANTT_NS = {WIDE: 1_000_000_000, PHONE: 400_000_000}
"""Time that a drawing of the lanes shows."""
MOST_EVENTS = 60
DARK = {
    'ink': '#e8ecf2', 'soft': '#9aa5b4', 'grid': '#2b3340', 'track': '#202733', 'paper': '#171c25',
}  # fmt: skip
PAGE = {
    'back': ('#f5f6f8', '#0f131a'),
    'ok-dark': ('#23855a', '#23855a'),
    'warn-dark': ('#a8720a', '#a8720a'),
}
"""Further colours of the page, by day and by night."""

Chart = Callable[[Recording, float], Drawing]


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of time in which every image on a lane is drawn."""

    words: str
    start_ns: int
    chart: Chart


@dataclass(frozen=True, slots=True)
class Drops:
    """A camera's row in the table of dropped images."""

    camera: str
    received: int
    published: int
    dropped: int
    late: int
    reasons: str


def html(recording: Recording) -> str:
    """Return the page."""
    found = findings(recording)
    level, words = headline(found)
    first, _ = recording.span_ns
    script = (HERE / 'page.js').read_text(encoding='utf-8')
    return _environment().get_template('page.html').render(
        recording=recording,
        limits=recording.limits,
        when=time.strftime('%Y-%m-%d %H:%M', time.gmtime(first / 1e9)),
        version=__version__,
        level=level,
        words=words,
        findings=found,
        figures=figures(recording),
        windows=_windows(recording),
        drops=[_drops(recording, camera.name) for camera in recording.cameras],
        events=events(recording),
        most_events=MOST_EVENTS,
        placement_reason=recording.statuses[-1].placement_reason if recording.statuses else '',
        stages=STAGES,
        columns=_columns,
        draw=lambda chart, width, label: to_svg(chart(recording, width), label=label),
        since=lambda time_ns: f'{(time_ns - first) / 1e9:.1f}',
        light=_variables({**PALETTE, **{name: pair[0] for name, pair in PAGE.items()}}),
        dark=_variables({**DARK, **{name: pair[1] for name, pair in PAGE.items()}}),
        style=Markup((HERE / 'page.css').read_text(encoding='utf-8')),
        script=Markup(script),
        script_digest='sha256-' + _base64(hashlib.sha256(script.encode()).digest()),
    )  # fmt: skip


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_printable,
    )
    environment.globals |= {
        'charts': charts,
        'timeline': timeline,
        'wide': WIDE,
        'phone': PHONE,
        'camera_colour': camera_colour,
        'base64': _base64,
        'percent': lambda value: f'{value:.0%}',
        'share': lambda value: '–' if value is None else f'{value:.1%}',
        'triple': _triple,
    }
    return environment


def _printable(value: Any) -> Any:
    """Return what is put into the page without control characters, which HTML does not know."""
    return one_line(value) if type(value) is str else value


def _variables(colours: dict[str, str]) -> str:
    return ' '.join(f'--{name}: {value};' for name, value in colours.items())


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _columns(camera: CameraRecord) -> Sequence[np.ndarray]:
    return [*camera.results.stages_ns.T, camera.results.total_ns]


def _triple(ns: np.ndarray) -> str:
    return ' · '.join(f'{v:.1f}' for v in percentiles_ms(ns)) if len(ns) else '–'


def _windows(recording: Recording) -> list[Window]:
    """Return the stretches of time whose images on lanes are shown; none without results."""
    if not any(len(camera.results) for camera in recording.cameras):
        return []
    choices = (
        ('Around the slowest result', busiest_window),
        ('In the middle of the recording', middle_window),
    )
    return [
        Window(words, choose(recording, GANTT_NS[WIDE]), _gantt(choose))
        for words, choose in choices
    ]


def _gantt(choose: Callable[[Recording, int], int]) -> Chart:
    def chart(recording: Recording, width: float) -> Drawing:
        span = min(GANTT_NS[width], max(1, int(recording.duration_s * 1e9)))
        return timeline.gantt(recording, choose(recording, span), span, width)

    return chart


def _drops(recording: Recording, camera: str) -> Drops:
    received, published, dropped, late = counted(recording, camera)
    reasons = ', '.join(f'{reason} {n:,}' for reason, n in dropped.most_common()) or '–'
    return Drops(camera, received, published, dropped.total(), late, reasons)
