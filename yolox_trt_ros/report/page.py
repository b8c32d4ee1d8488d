"""The report as one HTML file with everything inside: styles, script, drawings, pictures."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator
from html import escape
from pathlib import Path

import numpy as np

from yolox_trt_ros import __version__
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
from yolox_trt_ros.report.recording import Recording

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


def html(recording: Recording) -> str:
    """Return the page."""
    here = Path(__file__).parent
    light = {**PALETTE, **{name: pair[0] for name, pair in PAGE.items()}}
    dark = {**DARK, **{name: pair[1] for name, pair in PAGE.items()}}
    title = f'Detection report: {escape(recording.source)}'
    body = '\n'.join(part for section in _SECTIONS for part in section(recording))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
:root {{ {_variables(light)} }}
@media (prefers-color-scheme: dark) {{ :root {{ {_variables(dark)} }} }}
{(here / 'page.css').read_text(encoding='utf-8')}</style>
</head>
<body>
<main>
<header><h1>Detection report</h1><p>{_subtitle(recording)}</p></header>
{body}
<footer>Made by yolox_trt_ros {__version__}. Times are in the node’s clock and start at the first
message. Latency: arrival of an image at the node to publication of its detections. Age: header
stamp of the newest published detections to now, exposure and transport included.</footer>
</main>
<div id="tip"></div>
<script>
{(here / 'page.js').read_text(encoding='utf-8')}</script>
</body>
</html>
"""


def _variables(colours: dict[str, str]) -> str:
    return ' '.join(f'--{name}: {value};' for name, value in colours.items())


def _subtitle(recording: Recording) -> str:
    first, _ = recording.span_ns
    when = time.strftime('%Y-%m-%d %H:%M', time.gmtime(first / 1e9)) + ' UTC'
    return f'{escape(recording.source)} · {when} · {recording.duration_s:.0f} s'


def _both(chart: Chart, recording: Recording, label: str) -> str:
    """Return a drawing for wide windows and for phones, one of which the style sheet shows."""
    versions = zip(('wide', 'narrow'), (WIDE, PHONE), strict=True)
    return '\n'.join(
        f'<div class="{kind}">{to_svg(chart(recording, width), label=label)}</div>'
        for kind, width in versions
    )


def _summary(recording: Recording) -> Iterator[str]:
    found = findings(recording)
    level, words = headline(found)
    yield f'<section><div class="pill {level}">{words}</div>'
    yield '<div class="figures">'
    for figure in figures(recording):
        note = escape(figure.note)
        yield f'<div><span>{figure.name}</span><b>{figure.value}</b><span>{note}</span></div>'
    yield '</div><ul class="findings">'
    yield from (f'<li class="{f.level}">{escape(f.text)}</li>' for f in found)
    yield '</ul>'
    limits = recording.limits
    yield (
        f'<p class="limits">Limits of {recording.limits_from}: latency warns at '
        f'{limits.latency_warn_ms:g} ms and is an error at {limits.latency_error_ms:g} ms '
        f'(95% of the results; a camera’s own deadline goes first), dropped images '
        f'{limits.drop_ratio_warn:.0%} and {limits.drop_ratio_error:.0%}, arriving images '
        f'{limits.rate_ratio_warn:.0%} of the announced rate.</p></section>'
    )


def _cameras(recording: Recording) -> Iterator[str]:
    yield '<nav aria-label="Single out a camera">'
    for i, camera in enumerate(recording.cameras):
        colour, name = camera_colour(i), escape(camera.name)
        yield (
            f'<button aria-pressed="false" data-camera="{name}">'
            f'<i style="background:var(--{colour})"></i>{name}</button>'
        )
    yield '</nav>'


def _latency(recording: Recording) -> Iterator[str]:
    yield '<section><h2>Latency</h2><p>Arrival to publication. Lines and figures: half, 95% and '
    yield '99% of the results took at most so long. Dashed: the limit. Heights are square roots, '
    yield 'so that single slow images show.</p>'
    yield _both(charts.latency_by_camera, recording, 'Latency of each camera')
    yield '<h3>By stage, all cameras</h3>'
    yield _both(charts.latency_by_stage, recording, 'Duration of each stage')
    yield '<h3>Where the time goes, on average</h3>'
    yield _both(charts.stages_by_camera, recording, 'Mean duration of each stage by camera')
    yield '<details><summary>All figures</summary><div class="scroll"><table><tr><th>camera</th>'
    yield ''.join(f'<th>{name}</th>' for name in (*STAGES, 'total')) + '<th>results</th></tr>'
    for camera in recording.cameras:
        r = camera.results
        columns = [*r.stages_ns.T, r.total_ns]
        cells = ''.join(f'<td>{_triple(column)}</td>' for column in columns)
        yield f'<tr><td>{escape(camera.name)}</td>{cells}<td>{len(r):,}</td></tr>'
    yield '</table></div><p>Milliseconds: half · 95% · 99%.</p></details></section>'


def _triple(ns: np.ndarray) -> str:
    return ' · '.join(f'{v:.1f}' for v in percentiles_ms(ns)) if len(ns) else '–'


def _age(recording: Recording) -> Iterator[str]:
    yield '<section><h2>Age of information</h2><p>How old the newest published detections of each '
    yield 'camera were, at every moment. The band is the sawtooth between one result and the '
    yield 'next; all rows have the same scale.</p>'
    yield _both(charts.age_over_time, recording, 'Age of information over time')
    yield '</section>'


def _lanes(recording: Recording) -> Iterator[str]:
    if not any(len(camera.results) for camera in recording.cameras):
        return
    yield '<section><h2>What the lanes did</h2><p>Each bar is an image on its lane, the dark part '
    yield 'inference; from the nodes’ own traces. Ticks are arrivals.</p>'
    first, _ = recording.span_ns
    for words, window in (
        ('Around the slowest result', busiest_window),
        ('In the middle of the recording', middle_window),
    ):

        def chart(
            recording: Recording, width: float, window: Callable[..., int] = window
        ) -> Drawing:
            span = min(GANTT_NS[width], max(1, int(recording.duration_s * 1e9)))
            return timeline.gantt(recording, window(recording, span), span, width)

        at = (window(recording, GANTT_NS[WIDE]) - first) / 1e9
        yield f'<h3>{words}, from {at:.1f} s on</h3>'
        yield _both(chart, recording, words)
    yield '</section>'


def _drops(recording: Recording) -> Iterator[str]:
    yield '<section><h2>Dropped images</h2><p>Per second, by reason. “replaced” is meant: a newer '
    yield 'image of the same camera arrived before a lane was free.</p>'
    yield _both(charts.drops_over_time, recording, 'Dropped images per second by reason')
    yield '<details><summary>By camera</summary><div class="scroll"><table><tr><th>camera</th>'
    yield '<th>received</th><th>published</th><th>dropped</th><th>late</th><th>reasons</th></tr>'
    for camera in recording.cameras:
        received, published, dropped, late = counted(recording, camera.name)
        reasons = ', '.join(f'{reason} {n:,}' for reason, n in dropped.most_common()) or '–'
        yield (
            f'<tr><td>{escape(camera.name)}</td><td>{received:,}</td><td>{published:,}</td>'
            f'<td>{dropped.total():,}</td><td>{late:,}</td><td class="text">{reasons}</td></tr>'
        )
    yield '</table></div></details></section>'


def _health(recording: Recording) -> Iterator[str]:
    yield '<section><h2>Placement, load and faults</h2><p>Lanes: height is load, colour is state. '
    yield 'Cameras: above their health, below the lane they are placed on.</p>'
    yield _both(timeline.timeline, recording, 'State of lanes and cameras over time')
    happened = events(recording)
    first, _ = recording.span_ns
    if happened:
        yield f'<details open><summary>What changed ({len(happened)})</summary>'
        yield '<div class="scroll"><table><tr><th>s</th>'
        yield '<th class="text">who</th><th class="text">what</th></tr>'
        for event in happened[:MOST_EVENTS]:
            dot = f'<span class="dot" style="background:var(--{event.level})"></span>'
            yield (
                f'<tr><td>{(event.time_ns - first) / 1e9:.1f}</td>'
                f'<td class="text">{escape(event.who)}</td>'
                f'<td class="text">{dot}{escape(event.text)}</td></tr>'
            )
        yield '</table></div>'
        if len(happened) > MOST_EVENTS:
            yield f'<p>and {len(happened) - MOST_EVENTS} more.</p>'
        yield '</details>'
    if recording.statuses and recording.statuses[-1].placement_reason:
        reason = escape(recording.statuses[-1].placement_reason)
        yield f'<p>The placement, in the node’s words: {reason}</p>'
    yield '</section>'


def _classes(recording: Recording) -> Iterator[str]:
    yield '<section><h2>What was detected</h2><p>Detections by class and camera.</p>'
    yield _both(charts.classes, recording, 'Detections by class and camera')
    yield '</section>'


def _quality(recording: Recording) -> Iterator[str]:
    if not recording.quality:
        return
    yield '<section><h2>Against ground truth</h2><p>An object counts as found if a detection of '
    yield 'its class overlaps it by a half or more (IoU).</p><div class="scroll"><table><tr>'
    yield '<th>camera</th><th>images</th><th>objects</th><th>found</th><th>right</th></tr>'
    for row in recording.quality:
        shares = [('–' if v is None else f'{v:.1%}') for v in (row.recall, row.precision)]
        yield (
            f'<tr><td>{escape(row.camera)}</td><td>{row.images:,}</td><td>{row.labelled:,}</td>'
            f'<td>{shares[0]}</td><td>{shares[1]}</td></tr>'
        )
    yield '</table></div><p>found: recall, share of the labelled objects. right: precision, share '
    yield 'of the detections.</p></section>'


def _samples(recording: Recording) -> Iterator[str]:
    if not recording.samples:
        return
    first, _ = recording.span_ns
    yield '<section><h2>Samples</h2><p>One image of each camera with its detections.</p>'
    yield '<div class="samples">'
    for sample in recording.samples:
        data = base64.b64encode(sample.jpeg).decode()
        name, at = escape(sample.camera), (sample.time_ns - first) / 1e9
        yield (
            f'<figure><img src="data:image/jpeg;base64,{data}" alt="{name} with its detections">'
            f'<figcaption>{name}, {sample.objects} objects, at {at:.1f} s</figcaption></figure>'
        )
    yield '</div></section>'


_SECTIONS = (
    _summary, _samples, _cameras, _latency, _age, _lanes, _drops, _health, _classes, _quality,
)  # fmt: skip
