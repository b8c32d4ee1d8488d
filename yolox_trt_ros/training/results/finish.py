"""The end of a run: ONNX whole and cut, figures, INT8, a model card, and how to launch it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from yolox_trt_ros.core import children
from yolox_trt_ros.core.output_files import write_whole
from yolox_trt_ros.core.printing import one_line
from yolox_trt_ros.datasets.labelled import LabelledData
from yolox_trt_ros.training.networks.build import NetworkSpec
from yolox_trt_ros.training.results.export import export
from yolox_trt_ros.training.results.samples import write_samples

CALIBRATION = 128
"""Pictures that ranges are measured with."""
NO = 3
"""Exit code of a tool whose answer is no."""
MOST_LOST = 1.5
"""Points of mAP50 that INT8 may lose."""
Say = Callable[[str], None]


@dataclass(frozen=True)
class Finished:
    """What a run gave out.

    Attributes:
        model: ONNX with one output.
        cut: the same fit for a DLA: the head ends in nine maps.
        answers: exit code of each tool that judged it: 0, 3 for no, else an error.
    """

    model: Path
    cut: Path
    answers: dict[str, int]


def finish(
    network: nn.Module,
    spec: NetworkSpec,
    folder: Path,
    train: LabelledData,
    val: LabelledData,
    labels: Path,
    quantize: bool,
    say: Say,
) -> Finished:
    """Write the models and have them judged by the package's own tools.

    Args:
        network: trained.
        spec: of it.
        folder: of the run; the files are called as it is.
        train: from which pictures are taken to calibrate with.
        val: from which samples are drawn.
        labels: COCO file of the validation pictures.
        quantize: make INT8 models as well.
        say: prints a line.
    """
    name = folder.resolve().name or 'model'
    model, cut = folder / f'{name}.onnx', folder / f'{name}.cut.onnx'
    export(network, spec, model)
    say(f'written: {model}')
    write_samples(model, val, folder / 'samples.jpg')
    data = [str(labels), str(labels.parent / 'images')]
    answers = {
        'optimize': _tool(
            ['optimize', str(model), '--output', str(cut), '--check-dla',
             '--json', str(folder / 'dla.json')], say, 1),
        'evaluate': _tool(
            ['evaluate', '--model', str(model), '--data', *data,
             '--json', str(folder / 'evaluate.json'), '--output', str(folder / 'evaluate')], say),
    }  # fmt: skip
    if quantize:
        pictures = _calibration(train, folder / 'data' / 'calibration')
        methods = ['minmax', 'percentile:99.99', 'entropy', 'mse']
        if _bounded(spec):
            methods.insert(0, 'fixed:6')
        answers['quantize'] = _tool(
            ['quantize', str(model), '--output', str(folder / 'int8'), '--images', str(pictures),
             '--method', *methods, '--data', *data, '--max-drop', str(MOST_LOST)], say)  # fmt: skip
    return Finished(model, cut, answers)


def _bounded(spec: NetworkSpec) -> bool:
    """Return whether every activation ends at 6, so that ranges need no pictures."""
    return getattr(spec.build().design, 'act', '') == 'relu6'


def _calibration(data: LabelledData, folder: Path) -> Path:
    """Link pictures of a data set, spread over all of it, into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    count = len(data.images)
    for k in np.linspace(0, count - 1, min(count, CALIBRATION)).round().astype(int):
        file = data.images[k].file.resolve()
        os.symlink(file, folder / f'{k:06d}{file.suffix}')
    return folder


def _tool(arguments: Sequence[str], say: Say, lines: int = 8) -> int:
    """Run a tool of this package, pass on what it says at its end, and return its exit code."""
    say(f'$ python -m yolox_trt_ros {" ".join(arguments)}')
    done = children.run([sys.executable, '-m', 'yolox_trt_ros', *arguments])
    for line in done.stdout.splitlines()[-lines:]:
        say(f'  {line}')
    if done.returncode not in (0, NO):
        say(f'  failed ({done.returncode}): {one_line(done.stderr)[-600:]}')
    return done.returncode


def launch_line(finished: Finished) -> str:
    """Return the command that runs the model on a vehicle."""
    best = finished.cut if finished.answers['optimize'] == 0 else finished.model
    return f'ros2 launch yolox_trt_ros orin_8cam.launch.py model:={best.resolve()}'


def write_card(folder: Path, facts: dict[str, Any], finished: Finished) -> Path:
    """Write what is known of a model, for whoever gets it: ``MODEL_CARD.md``.

    Args:
        folder: of the run.
        facts: of it; see :func:`training.job.facts_of`.
        finished: the models.
    """
    spec = facts['settings']['spec']
    figures = _read(folder / 'evaluate.json')
    int8 = _read(folder / 'int8' / 'accuracy.json')
    height, width = spec['size']
    lines = [
        f'# {folder.resolve().name}',
        '',
        f'`{spec["design"]}`, input {width}x{height}, {facts["parameters"] / 1e6:.2f} M parameters,'
        f' {facts["gflops"]:.1f} GFLOPs; classes: {", ".join(map(one_line, spec["classes"]))}.',
        '',
        '| | |',
        '|---|---|',
        f'| began from | {one_line(facts["settings"]["source"]) or "new weights"} |',
        f'| data | {facts["train"]} pictures to learn from, {facts["val"]} to validate with: '
        f'{one_line(facts["data"])} |',
        f'| training | {facts["steps"]} steps of {facts["settings"]["batch"]} pictures, '
        f'{facts["minutes"]:.1f} minutes, {facts["settings"]["precision"]}, seed '
        f'{facts["settings"]["seed"]}, {facts["ranks"]} × {facts["device"]} |',
        f'| best at step | {facts["best_step"]} |',
        f'| loss in training mode, in use | {facts["agreement"][0]:.3f}, '
        f'{facts["agreement"][1]:.3f} |',
        f'| fit for a DLA | {"yes" if finished.answers["optimize"] == 0 else "no: see dla.json"} |',
        '',
    ]
    if figures:
        lines += _accuracy(figures)
    if int8:
        lines += ['INT8 (`int8/accuracy.json`):', '', *_int8(int8), '']
    lines += ['```bash', launch_line(finished), '```', '']
    path = folder / 'MODEL_CARD.md'
    write_whole(path, '\n'.join(lines))
    return path


def _read(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(file.read_text('utf-8')) if file.is_file() else {}
    return content


def _accuracy(figures: dict[str, Any]) -> list[str]:
    """Return the table of what the exported model reaches on the validation pictures."""
    lines = ['| class | AP50 | AP50-95 | labels |', '|---|---|---|---|']

    def points(value: float | None) -> str:
        return '–' if value is None else f'{100 * value:.1f}'

    for name, row in figures['per_class'].items():
        lines.append(
            f'| {one_line(name)} | {points(row["ap50"])} | {points(row["ap50_95"])} | '
            f'{row["labels"]} |'
        )
    lines.append(f'| all | {points(figures["map50"])} | {points(figures["map50_95"])} | |')
    return [*lines, '']


def _int8(report: dict[str, Any]) -> list[str]:
    rows = report.get('models', {})
    return [
        f'* {one_line(name)}: mAP50 {100 * row["map50"]:.1f}'
        for name, row in rows.items()
        if isinstance(row, dict) and row.get('map50') is not None
    ]
