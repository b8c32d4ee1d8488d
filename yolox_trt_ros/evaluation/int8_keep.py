"""``quantize --keep``: what stays out of INT8, chosen by names or by a search, and its report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.model import ModelSpec
from yolox_trt_ros.core.output_files import write_whole
from yolox_trt_ros.core.printing import one_line, shown
from yolox_trt_ros.engine.qdq import PARTS
from yolox_trt_ros.engine.simulated_int8 import Int8Simulation, multiply_adds
from yolox_trt_ros.evaluation.agreement import Agreement
from yolox_trt_ros.evaluation.int8_search import CHOSEN, Progress, Search, Sensitivity, Trials
from yolox_trt_ros.report.drawing import Box, Drawing, Text
from yolox_trt_ros.report.drawing import Path as Line
from yolox_trt_ros.report.picture import to_png

if TYPE_CHECKING:
    from onnx import ModelProto

AUTO = 'auto'
ROWS = 10
"""Convolutions that the terminal shows; the file has all."""


@dataclass(frozen=True, slots=True)
class Keep:
    """What the command line asks to keep in higher precision.

    Attributes:
        parts: of :data:`engine.qdq.PARTS`.
        names: of convolutions.
        auto: whether a search chooses.
        most: convolutions that it may keep; None: as many as help.
    """

    parts: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    auto: bool = False
    most: int | None = None


def parse_keep(values: Sequence[str]) -> Keep:
    """Return what ``first``, ``last``, ``box``, ``auto``, ``auto:N`` and names ask for.

    Raises:
        ConfigError: the N of ``auto`` is no number from 1 on.
    """
    automatic = [v for v in values if v.partition(':')[0] == AUTO]
    names = [v for v in values if v not in PARTS and v not in automatic]
    most = None
    for value in automatic:
        _, colon, number = value.partition(':')
        if colon and not (number.isascii() and number.isdecimal() and int(number[:9]) > 0):
            raise ConfigError(f'--keep {shown(value)}: expected auto, or auto:N with N from 1 on')
        most = int(number[:9]) if colon else most
    parts = tuple(v for v in values if v in PARTS)
    return Keep(parts, tuple(names), bool(automatic), most)


def held_out(count: int) -> set[int]:
    """Return which of so many calibration pictures are held out for the choice: a third at most.

    Raises:
        ConfigError: there are fewer than six.
    """
    if count < 6:
        raise ConfigError(f'--keep auto: expected at least 6 calibration pictures, got {count}')
    chosen = min(CHOSEN, count // 3)
    return {i * count // chosen for i in range(chosen)}


def choose(
    spec: ModelSpec,
    model: ModelProto,
    versions: Mapping[str, Mapping[str, float]],
    biases: Mapping[str, np.ndarray],
    pictures: Sequence[np.ndarray],
    keep: Keep,
    always: Sequence[str],
    folder: Path,
    digest: str,
    progress: Progress,
) -> Sensitivity:
    """Search what to keep, and write ``sensitivity.json`` and ``sensitivity.png``.

    Losses that were measured before are taken from ``sensitivity.trials.json``, so that work that
    was interrupted goes on.

    Args:
        spec, model: of the FP32 network, prepared.
        versions: ranges by method.
        biases: see :func:`engine.bias_correction.bias_corrections`.
        pictures: float32 (3, height, width), held out.
        keep: what the command line asks for.
        always: convolutions that are kept in any case.
        folder: where to write.
        digest: of the model's file.
        progress: shows how far it is.
    """
    outputs = spec.head.outputs
    simulations = {m: Int8Simulation(model, r, biases, outputs) for m, r in versions.items()}
    exact = next(iter(simulations.values()))
    agreement = Agreement(spec, pictures, exact.version(exact.layers))
    about = _about(digest, versions, pictures)
    trials = Trials(simulations, agreement, about, folder / 'sensitivity.trials.json')
    work = multiply_adds(model)
    found = Search(trials, work, progress).run(keep.most, always)
    names = {n.output[0]: n.name for n in model.graph.node if n.op_type == 'Conv'}
    _print(found, work, names)
    content = {
        'pictures': found.pictures,
        'steps': [asdict(step) for step in found.steps],
        'best': asdict(found.best()),
        'alone': [
            {'output': layer, 'name': names[layer], 'loss': loss, 'multiply_adds': work[layer]}
            for layer, loss in found.alone.items()
        ],
    }
    write_whole(folder / 'sensitivity.json', json.dumps(content, indent=1) + '\n')
    write_whole(folder / 'sensitivity.png', to_png(_draw(found)))
    return found


def _about(digest: str, versions: Mapping[str, Any], pictures: Sequence[np.ndarray]) -> str:
    import hashlib

    sums = [float(picture.sum()) for picture in pictures]
    ranges = {method: dict(sorted(ranges.items())) for method, ranges in versions.items()}
    text = json.dumps([digest, ranges, sums])
    return hashlib.sha256(text.encode()).hexdigest()


def relative_time(share: float) -> float:
    """Return the time of the convolutions, 1 where all are INT8; FP16 takes twice as long."""
    return share + 2 * (1 - share)


def _print(found: Sensitivity, work: Mapping[str, int], names: Mapping[str, str]) -> None:
    whole = sum(work.values())
    print(f'effect on detections, {found.pictures} pictures held out (0: none, 1: all is lost)')
    print(f'{"convolution alone in INT8":<44}{"loss":>7}{"of the work":>13}')
    for layer, loss in list(found.alone.items())[:ROWS]:
        title = one_line(names[layer] or layer)[:43]
        print(f'{title:<44}{loss:7.3f}{100 * work[layer] / whole:12.2f}%')
    print(f'{"kept":>5}{"loss":>8}{"INT8 work":>11}{"time":>7}  ranges')
    best = found.best()
    for step in found.steps:
        mark = '  <- chosen' if step is best else ''
        time = relative_time(step.share)
        print(
            f'{len(step.kept):>5}{step.loss:8.3f}{100 * step.share:10.2f}%{time:7.3f}  '
            f'{step.method}{mark}'
        )
    kept = ', '.join(one_line(names[layer] or layer) for layer in best.kept)
    print(f'kept: {kept or "nothing"}; time: 1 if all were INT8, where FP16 takes twice as long')


def _draw(found: Sensitivity) -> Drawing:
    """Return loss and share of INT8 work, step by step."""
    width, height, left, top = 640.0, 320.0, 60.0, 56.0
    right, bottom = width - 20, height - 48
    drawing = Drawing(width, height, [Box(0, 0, width, height, 'paper')])
    title = 'Detections that agree with FP32, by the share of multiply-adds in INT8'
    drawing.add(Text(20, 28, title, 15, 'ink', bold=True))
    low = min(step.share for step in found.steps)
    span = max(1 - low, 0.001)
    for percent in (0, 25, 50, 75, 100):
        y = bottom - (bottom - top) * percent / 100
        drawing.add(Line([(left, y), (right, y)], 'grid', 1))
        drawing.add(Text(left - 8, y + 4, f'{percent}', 11, 'soft', 'end'))
    points = [
        (
            left + 20 + (right - left - 40) * (1 - step.share) / span,
            bottom - (bottom - top) * (1 - step.loss),
        )
        for step in found.steps
    ]
    drawing.add(Line(points, 'accent', 2))
    best = found.best()
    for (x, y), step in zip(points, found.steps, strict=True):
        drawing.add(Box(x - 4, y - 4, 8, 8, 'ok' if step is best else 'accent', radius=4))
        drawing.add(Text(x, y - 10, f'{len(step.kept)}', 11, 'ink', 'middle'))
    for share, x in ((1.0, left + 20), (low, right - 20)):
        text = f'{100 * share:.2f} %, time {relative_time(share):.3f}'
        drawing.add(Text(x, bottom + 18, text, 11, 'soft', 'start' if share == 1 else 'end'))
    drawing.add(Text(left, bottom + 38, 'numbers: convolutions kept in FP16', 11, 'soft'))
    return drawing
