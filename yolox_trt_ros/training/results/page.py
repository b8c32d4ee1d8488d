"""One HTML page about a run: losses, AP by class and its peaks, loss scale, confusion, samples.

The drawings, their colours and the style are those of the detection report (:mod:`report`).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from yolox_trt_ros import __version__
from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.output_files import write_whole
from yolox_trt_ros.core.printing import one_line
from yolox_trt_ros.core.text_files import parse_json, read_text
from yolox_trt_ros.report.axes import Scale, bottom_axis, legend, rows, tick_text, ticks
from yolox_trt_ros.report.drawing import PALETTE, Drawing, Text, camera_colour, to_svg
from yolox_trt_ros.report.drawing import Path as Line
from yolox_trt_ros.report.page import DARK, PAGE
from yolox_trt_ros.training.runs.history import Entry, peaks, read_history

HERE = Path(__file__).parent
STYLE = Path(__file__).parents[2] / 'report' / 'page.css'
WIDTH, HEIGHT = 1018.0, 210.0
PICTURES = (
    ('evaluate/confusion.png', 'png', 'Confusion matrix'),
    ('samples.jpg', 'jpeg', 'Samples of the validation pictures'),
    ('evaluate/misses.jpg', 'jpeg', 'Worst mistakes'),
)
Curve = tuple[str, Sequence[tuple[float, float]]]


def write_page(folder: Path, output: Path) -> None:
    """Write the page of a run, one that is not done yet too.

    Args:
        folder: of the run.
        output: the page.

    Raises:
        ConfigError: the folder has no history, or its files are damaged.
    """
    history = read_history(folder)
    if not history:
        raise ConfigError(f'{one_line(folder)}: the run has not logged a step yet')
    facts = folder / 'run.json'
    known = parse_json(read_text(facts, what='a run'), str(facts)) if facts.is_file() else {}
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: one_line(value) if type(value) is str else value,
    )
    page = environment.get_template('page.html').render(
        name=folder.resolve().name,
        version=__version__,
        figures=_figures(history, known),
        charts=[(t, words, _draw(curves, unit)) for t, words, curves, unit in _all(history)],
        peaks=[(name, f'{100 * ap:.1f}', step) for name, (ap, step) in peaks(history).items()],
        last=_last(history),
        gradients=_gradients(history),
        pictures=list(_pictures(folder)),
        settings=json.dumps(known.get('settings', {}), indent=1),
        light=_variables({**PALETTE, **{name: pair[0] for name, pair in PAGE.items()}}),
        dark=_variables({**DARK, **{name: pair[1] for name, pair in PAGE.items()}}),
        style=Markup(STYLE.read_text(encoding='utf-8')),
    )
    write_whole(output, page)


def _variables(colours: dict[str, str]) -> Markup:
    return Markup(' '.join(f'--{name}: {value};' for name, value in colours.items()))


def _of(history: list[Entry], kind: str, name: str) -> list[tuple[float, float]]:
    entries = [entry for entry in history if entry['kind'] == kind and entry.get(name) is not None]
    return [(float(entry['step']), float(entry[name])) for entry in entries]


def _all(history: list[Entry]) -> list[tuple[str, str, list[Curve], str]]:
    """Return title, words, curves and unit of each chart."""
    losses: list[Curve] = [
        (name, _of(history, 'train', name)) for name in ('total', 'iou', 'obj', 'cls', 'l1')
    ]
    overall = [('mAP50', 'map50'), ('mAP50-95', 'map50_95')]
    whole: list[Curve] = [(title, _scaled(_of(history, 'val', name))) for title, name in overall]
    vals = [entry for entry in history if entry['kind'] == 'val']
    classes = vals[-1]['ap50'] if vals else {}
    each: list[Curve] = [
        (name, [(float(v['step']), 100 * v['ap50'][name]) for v in vals
                if v['ap50'].get(name) is not None])
        for name in classes
    ]  # fmt: skip
    out: list[tuple[str, str, list[Curve], str]] = [
        ('Losses', 'Of single steps.', losses, ''),
        ('Average precision', 'Of the averaged weights on the validation pictures.', whole, '%'),
        ('AP50 of each class', 'Classes peak at different times.', each, '%'),
        ('Learning rate', '', [('rate', _of(history, 'train', 'rate'))], ''),
        ('Speed', '', [('images/s', _of(history, 'train', 'images_s'))], ''),
    ]
    if scale := _of(history, 'train', 'scale'):
        skipped = _of(history, 'train', 'skipped')
        out.append(('Loss scale', 'Of float16.', [('scale', scale)], ''))
        out.append(('Skipped steps', 'So far.', [('skipped', skipped)], ''))
    return out


def _scaled(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    return [(step, 100 * value) for step, value in points]


def _draw(curves: Sequence[Curve], unit: str) -> Markup:
    """Return curves over the steps as SVG."""
    drawing = Drawing(WIDTH, HEIGHT + 60)
    shown = [(name, points) for name, points in curves if points]
    if not shown:
        drawing.height = 34
        drawing.add(Text(2, 20, 'nothing yet', 13))
        return to_svg(drawing)
    entries = [(name, camera_colour(k)) for k, (name, _) in enumerate(shown)]
    top = legend(drawing, entries, 2, 12, WIDTH)
    (row,) = rows(WIDTH, 1, HEIGHT, top=top, label=70)
    steps = [x for _, points in shown for x, _ in points]
    values = [y for _, points in shown for _, y in points]
    high = max([*values, 1e-12])
    across = Scale(0, max(steps), row.left, row.right)
    up = Scale(0, high * 1.05, row.bottom, row.top)
    bottom_axis(drawing, across, row.top, row.bottom + 4, 'steps')
    marks = ticks(0, high, 5)
    for mark in marks:
        drawing.add(Line([(row.left, up(mark)), (row.right, up(mark))], 'grid', 1.0))
        text = f'{mark:.1e}' if 0 < high < 1e-2 else tick_text(mark, marks[1] if marks[1:] else 1)
        drawing.add(Text(row.left - 8, up(mark) + 4, f'{text}{unit}', 11, 'soft', 'end'))
    for k, (name, points) in enumerate(shown):
        line = [(across(x), up(y)) for x, y in points]
        if len(line) == 1:
            line = [line[0], (line[0][0] + 2, line[0][1])]
        drawing.add(Line(line, camera_colour(k), 1.8, key=name))
    drawing.height = row.bottom + 26
    return to_svg(drawing, label=', '.join(name for name, _ in shown))


def _figures(history: list[Entry], known: dict[str, Any]) -> list[tuple[str, str, str]]:
    best, last = peaks(history), history[-1]
    out: list[tuple[str, str, str]] = []
    for name in ('mAP50-95', 'mAP50'):
        if name in best:
            out.append((name, f'{100 * best[name][0]:.1f}', f'best, at step {best[name][1]}'))
    out.append(('steps', f'{last["step"]:,}', f'{last["seconds"] / 60:.1f} minutes'))
    if known:
        spec = known['settings']['spec']
        out.append((spec['design'], f'{known["parameters"] / 1e6:.2f} M', 'parameters'))
        out.append(('loss in use', f'{known["agreement"][1]:.2f}',
                    f'in training mode {known["agreement"][0]:.2f}'))  # fmt: skip
    return out


def _last(history: list[Entry]) -> dict[str, str]:
    """Return the last AP50 of each class, to stand beside its peak."""
    vals = [entry for entry in history if entry['kind'] == 'val']
    if not vals:
        return {}
    last = vals[-1]
    values = {'mAP50': last['map50'], 'mAP50-95': last['map50_95'], **last['ap50']}
    return {name: '–' if v is None else f'{100 * v:.1f}' for name, v in values.items()}


def _gradients(history: list[Entry]) -> list[tuple[str, str, int]]:
    """Return the layers that had the largest gradients, with the largest of all logged steps."""
    most: dict[str, tuple[float, int]] = {}
    for entry in history:
        for name, size in entry.get('largest_gradients', {}).items():
            if size > most.get(name, (-1.0, 0))[0]:
                most[name] = (size, entry['step'])
    order = sorted(most.items(), key=lambda row: -row[1][0])[:8]
    return [(name, f'{size:.3g}', step) for name, (size, step) in order]


def _pictures(folder: Path) -> list[tuple[str, str]]:
    out = []
    for name, kind, words in PICTURES:
        file = folder / name
        if file.is_file():
            content = base64.b64encode(file.read_bytes()).decode()
            out.append((words, f'data:image/{kind};base64,{content}'))
    return out
