"""The report's charts of latency, age, drops and classes: recording and width → drawing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from yolox_trt_ros.core.trace import STAGES
from yolox_trt_ros.report.analysis import age_bins, drops_per_step, percentiles_ms
from yolox_trt_ros.report.axes import Row, Scale, bottom_axis, legend, rows
from yolox_trt_ros.report.drawing import Box, Drawing, Path, Text, camera_colour
from yolox_trt_ros.report.recording import CameraRecord, Recording

STAGE_COLOURS = dict(
    zip(
        STAGES,
        ('#c7b98f', '#a9b3c1', '#8ea3c8', '#58b5b0', '#3b6fd6', '#8a5cd6', '#d67ab1'),
        strict=True,
    )
)
DROP_COLOURS = {
    'replaced': '#9aa9bf',
    'thinned': '#c9c2d6',
    'overtaken': '#7fb7a4',
    'hopeless': '#e0a83c',
    'malformed': '#d6453d',
    'unsupported': '#a93a55',
    'undecodable': '#ea8062',
    'waiting_for_key_frame': '#f0b49e',
    'oversized': '#b5651d',
    'slowed': '#c98f2b',
    'lane_failed': '#8a3fd1',
    'failed': '#5b2a86',
    'stopped': '#6b7280',
    'unpublished': '#c2185b',
}
"""Grey and green: passed over for something newer. The rest was lost."""


def latency_by_camera(recording: Recording, width: float) -> Drawing:
    """Draw how long each camera's frames took from arrival to publication."""
    series = [(c.name, c.results.total_ns / 1e6, camera_colour(i), _limit_ms(recording, c))
              for i, c in enumerate(recording.cameras)]  # fmt: skip
    return _distributions(series, width)


def latency_by_stage(recording: Recording, width: float) -> Drawing:
    """Draw how long each stage took, all cameras together."""
    every = [c.results.stages_ns for c in recording.cameras]
    stages = np.concatenate(every) if every else np.empty((0, len(STAGES)), np.int64)
    shown = _stages_of(recording)
    return _distributions(
        [(name, stages[:, i] / 1e6, STAGE_COLOURS[name], 0.0) for i, name in shown],
        width,
        keyed=False,
    )


def _stages_of(recording: Recording) -> list[tuple[int, str]]:
    """Return the stages with their numbers, without that of videos where there are none."""
    video = any(c.results.stages_ns[:, 0].any() for c in recording.cameras)
    return list(enumerate(STAGES))[0 if video else 1 :]


def _limit_ms(recording: Recording, camera: CameraRecord) -> float:
    return camera.setting.deadline_ms or recording.limits.latency_warn_ms


def _distributions(
    series: Sequence[tuple[str, np.ndarray, str, float]], width: float, *, keyed: bool = True
) -> Drawing:
    """Draw histograms of (name, values in ms, colour, limit or 0), one below the other."""
    every = np.concatenate([values for _, values, _, _ in series] or [np.empty(0)])
    top = float(np.percentile(every, 99.5)) * 1.05 if len(every) else 1.0
    places = rows(width, len(series), 34, label=100, figures=200)
    bottom = places[-1].bottom if places else 0.0
    drawing = Drawing(width, bottom + 24)
    if not places:
        return drawing
    scale = Scale(0.0, max(top, 1e-3), places[0].left, places[0].right)
    bottom_axis(drawing, scale, places[0].top - 4, bottom + 4, 'ms')
    for row, (name, values, colour, limit) in zip(places, series, strict=True):
        p50, p95, p99 = percentiles_ms(values * 1e6)
        figures = f'{p50:.1f} · {p95:.1f} · {p99:.1f} ms' if len(values) else 'no result'
        row.title(drawing, name, figures)
        _histogram(drawing, row, scale, values, colour, name if keyed else '')
        if len(values):
            for value, strong in ((p50, True), (p95, False), (p99, False)):
                x = scale(value)
                drawing.add(Path([(x, row.top), (x, row.bottom)], 'ink', 1.6 if strong else 0.8))
        if limit and limit < top:
            x = scale(limit)
            drawing.add(Path([(x, row.top - 2), (x, row.bottom)], 'error', 1.4, dashed=True))
    return drawing


def _histogram(
    drawing: Drawing, row: Row, scale: Scale, values: np.ndarray, colour: str, key: str
) -> None:
    drawing.add(Box(row.left, row.bottom - 1, row.right - row.left, 1, 'grid'))
    bins = int((row.right - row.left) // 5)
    edges = np.linspace(0.0, scale.high, bins + 1)
    # What lies beyond the chart is in its last bar.
    counts, _ = np.histogram(np.minimum(values, scale.high), edges)
    tallest = max(1, counts.max())
    for i in np.flatnonzero(counts):
        x, right = scale(edges[i]), scale(edges[i + 1])
        # The root keeps a single slow frame visible beside hundreds of fast ones.
        height = max(1.5, (row.bottom - row.top) * float(counts[i] / tallest) ** 0.5)
        span = f'{edges[i]:.1f}–{edges[i + 1]:.1f} ms'
        tip = f'{key or "frames"}: {counts[i]} of {len(values)} at {span}'
        drawing.add(
            Box(x, row.bottom - height, right - x - 0.6, height, colour, 0.85, tip=tip, key=key)
        )


def stages_by_camera(recording: Recording, width: float) -> Drawing:
    """Draw the mean time of each stage, stacked, per camera."""
    means = {
        c.name: c.results.stages_ns.mean(axis=0) / 1e6 for c in recording.cameras if len(c.results)
    }
    drawing = Drawing(width, 0)
    shown = _stages_of(recording)
    start = legend(drawing, [(stage, STAGE_COLOURS[stage]) for _, stage in shown], 2, 12, width)
    places = rows(width, len(means), 18, top=start, label=100, figures=80)
    if not places:
        return Drawing(width, start)
    scale = Scale(0, max(float(m.sum()) for m in means.values()), places[0].left, places[0].right)
    bottom_axis(drawing, scale, places[0].top - 4, places[-1].bottom + 4, 'ms')
    for row, (name, mean) in zip(places, means.items(), strict=True):
        row.title(drawing, name, f'{mean.sum():.1f} ms')
        ends = np.concatenate([[0.0], np.cumsum(mean)])
        for i, stage in shown:
            x, right = scale(ends[i]), scale(ends[i + 1])
            tip = f'{name}, {stage}: {mean[i]:.2f} ms on average'
            wide = max(0.0, right - x)
            drawing.add(
                Box(x, row.top, wide, row.bottom - row.top, STAGE_COLOURS[stage], tip=tip, key=name)
            )
    drawing.height = places[-1].bottom + 24
    return drawing


def age_over_time(recording: Recording, width: float) -> Drawing:
    """Draw how old each camera's newest result was at every moment: the band its sawtooth fills."""
    first, last = recording.span_ns
    places = rows(width, len(recording.cameras), 40, label=100, figures=150)
    if not places or last <= first:
        return Drawing(width, 24)
    bins = int((places[0].right - places[0].left) // 3)
    edges = np.linspace(first, last, bins + 1).astype(np.int64)
    bands = [age_bins(c.results, edges) for c in recording.cameras]
    tops = np.concatenate([high for _, high in bands])
    known = tops[np.isfinite(tops)]
    most = float(np.percentile(known, 99.8)) * 1.08 if len(known) else 1.0
    drawing = Drawing(width, places[-1].bottom + 24)
    across = Scale(0, (last - first) / 1e9, places[0].left, places[0].right)
    bottom_axis(drawing, across, places[0].top - 4, places[-1].bottom + 4, 's')
    for i, (row, camera, (low, high)) in enumerate(
        zip(places, recording.cameras, bands, strict=True)
    ):
        _age_row(drawing, row, camera, low, high, most, camera_colour(i))
    return drawing


def _age_row(
    drawing: Drawing,
    row: Row,
    camera: CameraRecord,
    low: np.ndarray,
    high: np.ndarray,
    most: float,
    colour: str,
) -> None:
    drawing.add(Box(row.left, row.top, row.right - row.left, row.bottom - row.top, 'track'))
    seen = np.flatnonzero(np.isfinite(high))
    if not len(seen):
        row.title(drawing, camera.name, 'no result')
        return
    row.title(drawing, camera.name, f'oldest {np.nanmax(high) / 1e6:,.0f} ms')
    up = Scale(0, most, row.bottom, row.top)
    step = (row.right - row.left) / len(high)
    upper = [(row.left + (k + 0.5) * step, up(high[k])) for k in seen]
    lower = [(row.left + (k + 0.5) * step, up(low[k])) for k in seen]
    drawing.add(
        Path([*upper, *reversed(lower)], colour, filled=True, opacity=0.45, key=camera.name)
    )
    drawing.add(Path(upper, colour, 1.3, key=camera.name))
    for k in seen:
        tip = f'{camera.name}: {low[k] / 1e6:.0f} to {high[k] / 1e6:.0f} ms old'
        x, tall = row.left + k * step, row.bottom - row.top
        drawing.add(Box(x, row.top, step, tall, 'ink', 0.0, tip=tip))


def drops_over_time(recording: Recording, width: float) -> Drawing:
    """Draw how many frames were dropped in each second, stacked by reason."""
    edges, reasons = drops_per_step(recording)
    drawing = Drawing(width, 0)
    if not reasons:
        said = 'nothing was dropped' if len(edges) > 1 else 'no status messages: reasons unknown'
        return Drawing(width, 34, [Text(2, 20, said, 13)])
    order = [r for r in DROP_COLOURS if r in reasons] + [
        r for r in reasons if r not in DROP_COLOURS
    ]
    totals = [(f'{r} {reasons[r].sum():,.0f}', DROP_COLOURS.get(r, 'stale')) for r in order]
    start = legend(drawing, totals, 2, 12, width)
    (row,) = rows(width, 1, 130, top=start - (18 if width < 600 else 0), label=44)
    edges, reasons = coarser(edges, reasons, most=int((row.right - row.left) / 4))
    seconds = np.diff(edges) / 1e9
    rates = {r: reasons[r] / np.maximum(seconds, 1e-3) for r in order}
    most = float(sum(rates.values(), np.zeros(len(seconds))).max())
    first, last = recording.span_ns
    across, up = Scale(first, last, row.left, row.right), Scale(0, most, row.bottom, row.top)
    bottom_axis(
        drawing, Scale(0, (last - first) / 1e9, row.left, row.right), row.top, row.bottom + 4, 's'
    )
    for i in range(len(seconds)):
        x, right, base = across(edges[i]), across(edges[i + 1]), 0.0
        for reason in order:
            if rates[reason][i]:
                y = up(base + rates[reason][i])
                tip = f'{reason}: {reasons[reason][i]:.0f} in {seconds[i]:.1f} s'
                colour = DROP_COLOURS.get(reason, 'stale')
                drawing.add(Box(x, y, max(0.6, right - x - 0.6), up(base) - y, colour, tip=tip))
                base += rates[reason][i]
    drawing.add(Text(row.left - 8 if not row.narrow else 2, row.top + 10, f'{most:.0f}/s', 11,
                     'soft', 'start' if row.narrow else 'end'))  # fmt: skip
    drawing.height = row.bottom + 24
    return drawing


def coarser(
    edges: np.ndarray, steps: Mapping[str, np.ndarray], most: int
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return the same counts in at most ``most`` steps.

    Args:
        edges: int64 (n + 1,), borders of the steps.
        steps: float64 (n,) counts by name.
        most: steps.
    """
    together = -(-(len(edges) - 1) // most)
    starts = np.arange(0, len(edges) - 1, together)
    merged = {name: np.add.reduceat(counts, starts) for name, counts in steps.items()}
    return np.append(edges[starts], edges[-1]), merged


def classes(recording: Recording, width: float) -> Drawing:
    """Draw how often each class was detected, stacked by camera."""
    names = {n for c in recording.cameras for n in c.classes}
    total = {n: sum(c.classes.get(n, 0) for c in recording.cameras) for n in names}
    order = sorted(total, key=lambda n: (-total[n], n))[:20]
    if not order:
        return Drawing(width, 34, [Text(2, 20, 'no detections were recorded', 13)])
    drawing = Drawing(width, 0)
    entries = [(c.name, camera_colour(i)) for i, c in enumerate(recording.cameras)]
    start = legend(drawing, entries, 2, 12, width)
    places = rows(width, len(order), 18, top=start, label=100, figures=80)
    scale = Scale(0, total[order[0]], places[0].left, places[0].right)
    for row, name in zip(places, order, strict=True):
        row.title(drawing, name, f'{total[name]:,}')
        base = 0
        for i, camera in enumerate(recording.cameras):
            count = camera.classes.get(name, 0)
            x, right = scale(base), scale(base + count)
            if count:
                tip = f'{name}, {camera.name}: {count:,}'
                tall = row.bottom - row.top
                box = Box(x, row.top, right - x, tall, camera_colour(i), tip=tip, key=camera.name)
                drawing.add(box)
            base += count
    drawing.height = places[-1].bottom + 8
    return drawing
