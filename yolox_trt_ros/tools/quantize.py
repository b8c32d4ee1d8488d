"""Make INT8 models of a YOLOX, and measure what they cost in accuracy.

Calibration runs pictures of --images, --bag or --world through the deployed preprocessing. For each
method the output folder gets
  <model>.<method>.onnx         Q/DQ pairs: TensorRT 10 and 11 on GPUs, ONNX Runtime
  <model>.<method>.ranges.json  one range for each tensor: TensorRT 8.5 to 10, and DLA
  <model>.<method>.cache        the same as TensorRT's calibration cache
once <model>.fp16.onnx, accuracy.json, and scales.csv with the ranges of all methods. In the end all
of them are measured on labelled pictures; the exit code is 3 if even the best INT8 model loses more
than --max-drop.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yolox_trt_ros.cli import labelled, one_lane
from yolox_trt_ros.cli.numbers import number
from yolox_trt_ros.cli.options import refuse_unused
from yolox_trt_ros.cli.pictures import add_picture_arguments, chosen_pictures
from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.model import FEEDING, ModelSpec
from yolox_trt_ros.core.output_files import write_whole
from yolox_trt_ros.detect.description import describe
from yolox_trt_ros.detector import Detector
from yolox_trt_ros.engine.half import to_half
from yolox_trt_ros.engine.model_facts import model_facts
from yolox_trt_ros.engine.onnx_file import read_onnx, write_onnx
from yolox_trt_ros.engine.qdq import PARTS, insert_qdq, kept_layers, prepared
from yolox_trt_ros.engine.ranges import RangeTable, file_digest
from yolox_trt_ros.engine.scales import difference_of, scale_table
from yolox_trt_ros.engine.statistics import Method, Statistics, fixed_ranges, shared_ranges
from yolox_trt_ros.engine.tensorrt_calibration import tensorrt_ranges
from yolox_trt_ros.engine.tensorrt_versions import load_tensorrt
from yolox_trt_ros.evaluation.coco_metrics import average_precision
from yolox_trt_ros.evaluation.measure import (
    MAX_DETECTIONS,
    LabelledPictures,
    measure,
    pictures_of,
    shared_classes,
    world_pictures,
)

if TYPE_CHECKING:
    from onnx import ModelProto

    from yolox_trt_ros.compose import Model

TOO_LOSSY = 3
"""Exit code where the answer is no."""
FP32, FP16 = 'fp32', 'fp16'
DEFAULT_METHODS = ('minmax', 'percentile:99.99')


@dataclass(frozen=True, slots=True)
class Accuracy:
    """One line of the table.

    Attributes:
        variant: ``fp32``, ``fp16`` or the INT8 method.
        map50, map50_95: as parts of 1.
        drop: points of mAP50 below FP32.
    """

    variant: str
    map50: float
    map50_95: float
    drop: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument('model', help='ONNX file or packaged model')
    parser.add_argument(
        '--output', required=True, type=Path, metavar='DIR', help='folder to write the files into'
    )
    parser.add_argument('--labels', default='', help='text file, one class name a line')
    parser.add_argument(
        '--method',
        nargs='+',
        type=str,
        default=list(DEFAULT_METHODS),
        help='minmax, entropy, percentile:P, fixed:R (ReLU6: fixed:6, without pictures); '
        'tensorrt-minmax, tensorrt-entropy, tensorrt-percentile:P: TensorRT’s calibrators, on a '
        f'GPU; default: {" ".join(DEFAULT_METHODS)}',
    )
    parser.add_argument(
        '--keep', nargs='+', choices=PARTS, default=[], help='keep these layers in higher precision'
    )
    add_picture_arguments(parser, required=False, count=128)
    parser.add_argument(
        '--trt-version',
        default='10.3.0',
        help='TensorRT version that the calibration cache is written for (default: 10.3.0)',
    )
    gate = parser.add_argument_group('accuracy gate')
    how = gate.add_mutually_exclusive_group()
    how.add_argument(
        '--data', nargs='+', type=Path, metavar='LABELS [DIR]', help=labelled.DATA_HELP
    )
    how.add_argument(
        '--coco',
        nargs=2,
        type=Path,
        metavar=('DIR', 'ANN.json'),
        help='the same as --data ANN.json DIR',
    )
    how.add_argument(
        '--worlds',
        type=number(1, 1e6, int),
        default=24,
        help='measure on so many rendered test worlds (default: 24)',
    )
    how.add_argument(
        '--no-gate', action='store_true', help='measure nothing, for there are no labels'
    )
    labelled.add_reading_arguments(gate)
    gate.add_argument(
        '--max-drop',
        type=number(0, 100),
        default=1.5,
        help='most points of mAP50 that may be lost (default: 1.5 of 100)',
    )


def run(args: argparse.Namespace) -> int:
    """Run the tool and return its exit code."""
    if args.no_gate:
        refuse_unused(args, add_arguments, 'max_drop', 'runs without --no-gate')
    if not (args.data or args.coco):
        refuse_unused(args, add_arguments, labelled.OF_DATA, '--data')
    methods = list(dict.fromkeys(map(Method.parse, args.method)))
    with ExitStack() as opened:

        def detector(path: str | Path, labels: str = '') -> Detector:
            made = Detector(
                path,
                labels=labels,
                score_threshold=0.01,
                nms_iou=0.65,
                max_detections=MAX_DETECTIONS,
            )
            return opened.enter_context(made)

        fp32 = detector(args.model, args.labels)
        pictures = _pictures(args)
        shared = [] if args.no_gate else shared_classes(fp32.labels, pictures)
        files = _write_variants(args, fp32.model, methods)
        if args.no_gate:
            print('accuracy was not measured')
            return 0
        detectors = [fp32, *map(detector, files.values())]
        labels, found = measure(detectors, shared, pictures)
    figures = [average_precision(labels, one, shared) for one in found]
    rows = [
        Accuracy(name, f['map50'], f['map50_95'], 100 * (figures[0]['map50'] - f['map50']))
        for name, f in zip((FP32, *files), figures, strict=True)
    ]
    _print_table(rows, len(labels), args.max_drop)
    labelled.print_faults(pictures.faults)
    report = {
        'model': fp32.model.path.name,
        'pictures': len(labels),
        'data': pictures.name,
        'keep': args.keep,
        'max_drop': args.max_drop,
        'variants': [asdict(row) for row in rows],
    }
    text = json.dumps(report, indent=1) + '\n'
    write_whole(args.output / 'accuracy.json', text)
    best = min(row.drop for row in rows if row.variant not in (FP32, FP16))
    return TOO_LOSSY if best > args.max_drop else 0


def _pictures(args: argparse.Namespace) -> LabelledPictures:
    given = args.data or (args.coco and [args.coco[1], args.coco[0]])
    if given:
        return pictures_of(labelled.data_of(args, given))
    return world_pictures('test', args.worlds)


def _write_variants(
    args: argparse.Namespace, fp32: Model, methods: list[Method]
) -> dict[str, Path]:
    """Write FP16 and INT8 models; return their files by name."""
    original = read_onnx(fp32.path)
    model, about = prepared(original), _about(fp32.spec)
    kept = kept_layers(model, args.keep, fp32.spec.head.branches())
    half = args.output / f'{fp32.path.stem}.fp16.onnx'
    _write_model(to_half(prepared(original), float32_borders=True), half, about)
    written = {FP16: half}
    pictures, found = _ranges(args, fp32, model, methods)
    digest = file_digest(fp32.path)
    for method, ranges in found.items():
        stem = f'{fp32.path.stem}.{str(method).replace(":", "-")}'
        count = 0 if method.kind == 'fixed' else pictures
        table = RangeTable(fp32.path.name, digest, str(method), count, tuple(kept), ranges)
        write_whole(args.output / f'{stem}.ranges.json', table.to_json())
        write_whole(args.output / f'{stem}.cache', table.calibration_cache(args.trt_version))
        path = args.output / f'{stem}.onnx'
        _write_model(insert_qdq(prepared(original), ranges, kept), path, about)
        written[str(method)] = path
    print(f'{pictures} calibration pictures; written to {args.output}')
    return written


def _ranges(
    args: argparse.Namespace, fp32: Model, model: ModelProto, methods: list[Method]
) -> tuple[int, dict[Method, dict[str, float]]]:
    """Return how many pictures were looked at, and the ranges by each method."""
    spec, facts = fp32.spec, model_facts(fp32.path)
    found = {
        m: fixed_ranges(model, m.number, spec.input.largest) for m in methods if m.kind == 'fixed'
    }
    pictures = chosen_pictures(args)
    learning = [m for m in methods if m.kind != 'fixed']
    if not learning:
        return 0, found
    if pictures is None:
        raise ConfigError(
            f'method {learning[0]} needs pictures: give --images DIR, --bag BAG or --world train'
        )
    progress, count = _Progress(pictures.count), 0
    single: dict[Method, dict[str, float]] = {}
    if ours := [m for m in learning if not m.tensorrt]:
        histograms = any(m.kind != 'minmax' for m in ours)
        statistics = Statistics(model, lambda: pictures.inputs(spec.input), histograms, progress)
        single, count = {m: statistics.ranges(m, progress) for m in ours}, statistics.pictures
    for method in [m for m in learning if m.tensorrt]:
        inputs = list(progress(pictures.inputs(spec.input), 'pictures'))
        count = len(inputs)
        with one_lane.engine_progress() as report:
            single[method] = tensorrt_ranges(
                load_tensorrt(), facts, inputs, method, lambda fraction, _: report(fraction)
            )
    _show_scales(args.output, single)
    found |= {method: shared_ranges(model, ranges) for method, ranges in single.items()}
    return count, {m: found[m] for m in methods}


def _show_scales(folder: Path, single: dict[Method, dict[str, float]]) -> None:
    """Write the ranges of every method side by side, and compare ours with TensorRT's."""
    if len(single) < 2:
        return
    named = {str(method): ranges for method, ranges in single.items()}
    write_whole(folder / 'scales.csv', scale_table(named))
    for method, ranges in single.items():
        mine = single.get(replace(method, tensorrt=False))
        if method.tensorrt and mine:
            print(f'{method}: {difference_of(mine, ranges)}')


class _Progress:
    """Shows how far the calibration is."""

    def __init__(self, pictures: int) -> None:
        self._pictures = pictures

    def __call__(self, items: Iterable[Any], title: str) -> Iterable[Any]:
        from rich.progress import track

        from yolox_trt_ros.cli.console import Console

        count = len(items) if isinstance(items, list) else self._pictures
        return track(items, title, count, console=Console(stderr=True), transient=True)


def _about(spec: ModelSpec) -> dict[str, Any]:
    fed = {key: getattr(spec.input, key) for key in FEEDING}
    return {'labels': list(spec.labels), **spec.head.about(), **fed}


def _write_model(model: ModelProto, path: Path, about: dict[str, Any]) -> None:
    describe(model, about)
    write_onnx(model, path)


def _print_table(rows: list[Accuracy], pictures: int, max_drop: float) -> None:
    print(f'accuracy on {pictures} pictures')
    print(f'{"variant":<22}{"mAP50":>7}{"mAP50-95":>10}{"drop of mAP50":>15}')
    for row in rows:
        drop = '' if row.variant == FP32 else f'{row.drop:15.2f}'
        beyond = row.variant not in (FP32, FP16) and row.drop > max_drop
        print(
            f'{row.variant:<22}{100 * row.map50:7.2f}{100 * row.map50_95:10.2f}{drop}'
            f'{f"  beyond {max_drop:g}" if beyond else ""}'
        )
