"""Make a model 2:4 sparse: of each four neighbouring input channels two weights are zero.

Sparse tensor cores skip them: GPUs of NVIDIA from Ampere on, Orin's too, in FP16 and INT8, with
`build --sparsity`. Without pictures the smaller weights go. With --images, --bag or --world those
go that the others can best make good for, and these are changed to do so, which loses far less;
training brings back the rest (docs/sparsity.md). Accuracy is measured before and after, class by
class; the exit code is 3 if more than --max-drop points of mAP50 are lost.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yolox_trt_ros.cli import labelled
from yolox_trt_ros.cli.pictures import add_picture_arguments, chosen_pictures
from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.output_files import write_whole
from yolox_trt_ros.detect.description import about_of, describe
from yolox_trt_ros.detector import Detector
from yolox_trt_ros.engine.half import narrow_weights, widen_weights
from yolox_trt_ros.engine.onnx_file import read_onnx, write_onnx
from yolox_trt_ros.engine.simulated_int8 import multiply_adds
from yolox_trt_ros.engine.sparsity import SparseLayer, chosen_layers, sparse_layers, sparsify
from yolox_trt_ros.evaluation import gate
from yolox_trt_ros.evaluation.coco_metrics import average_precision
from yolox_trt_ros.evaluation.measure import MAX_DETECTIONS, measure, shared_classes
from yolox_trt_ros.onnx_files import with_constants

if TYPE_CHECKING:
    from yolox_trt_ros.compose import Model

DENSE, SPARSE = 'dense', 'sparse'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument('model', help='ONNX file or packaged model')
    parser.add_argument(
        '--output', required=True, type=Path, metavar='OUT.onnx', help='file to write'
    )
    parser.add_argument('--labels', default='', help='text file, one class name a line')
    parser.add_argument(
        '--dense', nargs='+', default=[], metavar='NAME', help='convolutions to leave as they are'
    )
    add_picture_arguments(parser, required=False, count=32)
    parser.add_argument('--json', type=Path, help='write the report to this file as well')
    gate.add_arguments(parser, max_drop=1.0)


def run(args: argparse.Namespace) -> int:
    """Run the tool and return its exit code."""
    gate.check(args, add_arguments)
    if args.output.suffix != '.onnx':
        raise ConfigError(f'--output: expected a file OUT.onnx, got {args.output}')
    with ExitStack() as opened:

        def detector(path: str | Path, labels: str = '') -> Detector:
            return opened.enter_context(
                Detector(
                    path,
                    labels=labels,
                    score_threshold=0.01,
                    nms_iou=0.65,
                    max_detections=MAX_DETECTIONS,
                )
            )

        dense = detector(args.model, args.labels)
        pictures = None if args.no_gate else gate.pictures(args)
        shared = shared_classes(dense.labels, pictures) if pictures else []
        report = _write_sparse(args, dense.model)
        drop = 0.0
        if pictures:
            truth, found = measure([dense, detector(args.output)], shared, pictures)
            figures = [average_precision(truth, one, shared) for one in found]
            report['accuracy'] = dict(zip((DENSE, SPARSE), figures, strict=True))
            drop = 100 * (figures[0]['map50'] - figures[1]['map50'])
            _print_accuracy(figures, len(truth), drop)
            labelled.print_faults(pictures.faults)
    if args.json:
        write_whole(args.json, json.dumps(report, indent=1) + '\n')
    return gate.TOO_LOSSY if drop > args.max_drop else 0


def _write_sparse(args: argparse.Namespace, dense: Model) -> dict[str, Any]:
    """Write the sparse model; return the report so far."""
    model = with_constants(read_onnx(dense.path), dense.spec.input.constants())
    narrow = widen_weights(model)
    chosen = chosen_layers(sparse_layers(model), args.dense)
    calibration = chosen_pictures(args)
    pictures = partial(calibration.inputs, dense.spec.input) if calibration else None
    lost = sparsify(model, chosen, pictures, labelled.tracked)
    layers = sparse_layers(model)
    work = multiply_adds(model)
    narrow_weights(model, narrow)
    describe(model, about_of(dense.spec))
    write_onnx(model, args.output)
    _print_layers(layers, lost, work)
    how = f'errors made good on {calibration.name}' if calibration else 'by magnitude'
    print(f'{how}; written to {args.output}')
    return {
        'model': dense.path.name,
        'pictures': calibration.name if calibration else None,
        'layers': [
            {**asdict(x), 'quicker': x.quicker, 'multiply_adds': work[x.output]}
            | {'lost': lost.get(x.output)}
            for x in layers
        ],
    }


def _print_layers(
    layers: Sequence[SparseLayer], lost: Mapping[str, float], work: Mapping[str, int]
) -> None:
    from rich.table import Table

    from yolox_trt_ros.cli.console import Console

    table = Table(box=None, pad_edge=False)
    for title in ('convolution', 'in × out, kernel', 'work', '2:4', 'lost', 'quicker'):
        table.add_column(title, overflow='fold')
    whole = sum(work.values())
    for x in layers:
        kernel = 'x'.join(map(str, x.kernel))
        table.add_row(
            x.name, f'{x.inputs} × {x.outputs}, {kernel}', f'{work[x.output] / whole:.1%}',
            'yes' if x.sparse else x.refusal or 'left dense',
            f'{lost[x.output]:.1%}' if x.output in lost else '',
            ('likely' if x.quicker else 'hardly') if x.sparse else '',
        )  # fmt: skip
    Console().print(table)
    sparse = [x for x in layers if x.sparse]
    quicker = [x for x in sparse if x.quicker]
    print(
        f'{len(sparse)} of {len(layers)} convolutions are 2:4 sparse, {_share(sparse, work):.0%} '
        f'of the multiply-adds; {len(quicker)} of them, {_share(quicker, work):.0%}, are wide '
        'enough to run quicker: `build --sparsity` says which do'
    )


def _share(layers: Sequence[SparseLayer], work: Mapping[str, int]) -> float:
    return sum(work[x.output] for x in layers) / sum(work.values())


def _print_accuracy(figures: Sequence[dict[str, Any]], pictures: int, drop: float) -> None:
    print(f'AP50 on {pictures} pictures')
    print(f'{"class":<22}{DENSE:>8}{SPARSE:>8}{"change":>8}')
    before, after = (one['per_class'] for one in figures)
    rows = [(name, before[name]['ap50'], after[name]['ap50']) for name in before]
    for name, a, b in [*rows, ('all', *(one['map50'] for one in figures))]:
        if a is None or b is None:
            print(f'{name:<22}{"–":>8}{"–":>8}')
        else:
            print(f'{name:<22}{100 * a:8.1f}{100 * b:8.1f}{100 * (b - a):+8.1f}')
    print(f'{drop:.2f} points of mAP50 are lost')
