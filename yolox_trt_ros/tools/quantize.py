"""Make INT8 models of a YOLOX, and measure what they cost in accuracy.

Calibration runs pictures of --images, --bag or --world through the deployed preprocessing. For each
method the output folder gets
  <model>.<method>.onnx         Q/DQ pairs: TensorRT 10 and 11 on GPUs, ONNX Runtime
  <model>.<method>.ranges.json  one range for each tensor: TensorRT 8.5 to 10, and DLA
  <model>.<method>.cache        the same as TensorRT's calibration cache
once <model>.fp16.onnx, accuracy.json, layer_precisions.txt (what --keep keeps, for trtexec), and
scales.csv with the ranges of all methods. --keep auto searches the layers whose INT8 costs most
detections, and writes sensitivity.json and sensitivity.png. In the end all models are measured on
labelled pictures; the exit code is 3 if even the best INT8 model loses more than --max-drop.
"""

from __future__ import annotations

import argparse
import json
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from yolox_trt_ros.cli import labelled
from yolox_trt_ros.cli.calibration import Calibrated, Tracked, calibrate
from yolox_trt_ros.cli.pictures import add_picture_arguments
from yolox_trt_ros.core.output_files import write_whole
from yolox_trt_ros.detect.description import about_of, describe
from yolox_trt_ros.detector import Detector
from yolox_trt_ros.engine.bias_correction import bias_corrections, correct_biases
from yolox_trt_ros.engine.half import to_half
from yolox_trt_ros.engine.onnx_file import read_onnx, write_onnx
from yolox_trt_ros.engine.qdq import insert_qdq, kept_layers, prepared
from yolox_trt_ros.engine.ranges import RangeTable, file_digest
from yolox_trt_ros.engine.simulated_int8 import multiply_adds
from yolox_trt_ros.engine.statistics import Method
from yolox_trt_ros.evaluation import gate
from yolox_trt_ros.evaluation.coco_metrics import average_precision
from yolox_trt_ros.evaluation.int8_keep import Keep, choose, held_out, parse_keep
from yolox_trt_ros.evaluation.measure import MAX_DETECTIONS, measure, shared_classes
from yolox_trt_ros.onnx_files import with_constants

if TYPE_CHECKING:
    from onnx import ModelProto

    from yolox_trt_ros.compose import Model

FP32, FP16 = 'fp32', 'fp16'
DEFAULT_METHODS = ('minmax', 'percentile:99.99', 'entropy', 'mse')
"""None is the best of all models, and the table says which is of this one."""


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
        help='minmax, entropy, mse, percentile:P, fixed:R (ReLU6: fixed:6, without pictures); '
        'tensorrt-minmax, tensorrt-entropy, tensorrt-percentile:P: TensorRT’s calibrators, on a '
        f'GPU; default: {" ".join(DEFAULT_METHODS)}',
    )
    parser.add_argument(
        '--keep',
        nargs='+',
        default=[],
        metavar='WHAT',
        help='keep layers in higher precision: first, last, box, names of convolutions, or auto: '
        'those that cost most detections, as many as help (auto:N: N at most)',
    )
    add_picture_arguments(parser, required=False, count=128)
    parser.add_argument(
        '--trt-version',
        default='10.3.0',
        help='TensorRT version that the calibration cache is written for (default: 10.3.0)',
    )
    gate.add_arguments(parser, max_drop=1.5)


def run(args: argparse.Namespace) -> int:
    """Run the tool and return its exit code."""
    gate.check(args, add_arguments)
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
        if args.no_gate:
            _write_variants(args, fp32.model, methods)
            print('accuracy was not measured')
            return 0
        pictures = gate.pictures(args)
        shared = shared_classes(fp32.labels, pictures)  # what is missing is said before the work
        files = _write_variants(args, fp32.model, methods)
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
    best = min((row for row in rows if row.variant not in (FP32, FP16)), key=lambda row: row.drop)
    print(f'best: {best.variant}, {files[best.variant]}')
    return gate.TOO_LOSSY if best.drop > args.max_drop else 0


def _write_variants(
    args: argparse.Namespace, fp32: Model, methods: list[Method]
) -> dict[str, Path]:
    """Write FP16 and INT8 models; return their files by name."""
    original = with_constants(read_onnx(fp32.path), fp32.spec.input.constants())
    model, about = prepared(original), about_of(fp32.spec)
    keep = parse_keep(args.keep)
    kept = kept_layers(model, keep.parts, fp32.spec.head.branches(), keep.names)
    half = args.output / f'{fp32.path.stem}.fp16.onnx'
    _write_model(to_half(prepared(original), float32_borders=True), half, about)
    written = {FP16: half}
    calibrated = calibrate(args, fp32, model, methods, held_out if keep.auto else None)
    pictures, found = calibrated.pictures, calibrated.ranges
    digest = file_digest(fp32.path)
    biases = bias_corrections(model, calibrated.means)
    if keep.auto:
        ranges_of = {str(method): ranges for method, ranges in found.items()}
        kept = _chosen(args, fp32, model, calibrated, biases, ranges_of, keep, kept, digest)
    write_whole(args.output / 'layer_precisions.txt', _layer_precisions(model, kept))
    for method, ranges in found.items():
        stem = f'{fp32.path.stem}.{str(method).replace(":", "-")}'
        count = 0 if method.kind == 'fixed' else pictures
        table = RangeTable(fp32.path.name, digest, str(method), count, tuple(kept), ranges)
        write_whole(args.output / f'{stem}.ranges.json', table.to_json())
        write_whole(args.output / f'{stem}.cache', table.calibration_cache(args.trt_version))
        path = args.output / f'{stem}.onnx'
        int8 = prepared(original)
        if method.kind != 'fixed':
            correct_biases(int8, biases, kept)
        _write_model(insert_qdq(int8, ranges, kept), path, about)
        written[str(method)] = path
    print(f'{pictures} calibration pictures; written to {args.output}')
    return written


def _chosen(
    args: argparse.Namespace,
    fp32: Model,
    model: ModelProto,
    calibrated: Calibrated,
    biases: dict[str, np.ndarray],
    ranges: dict[str, dict[str, float]],
    keep: Keep,
    always: list[str],
    digest: str,
) -> list[str]:
    """Return what the search keeps, in the order of the graph."""
    found = choose(
        fp32.spec, model, ranges, biases, calibrated.held, keep, always, args.output, digest,
        Tracked(0),
    )  # fmt: skip
    best = found.best()
    return [layer for layer in multiply_adds(model) if layer in best.kept]


def _layer_precisions(model: ModelProto, kept: list[str]) -> str:
    """Return the layers that stay in FP16 as trtexec's options name them."""
    names = [n.name for n in model.graph.node if n.output[0] in kept]
    listed = ','.join(f'{name}:fp16' for name in names)
    return f'--precisionConstraints=obey --layerPrecisions={listed}\n' if names else ''


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
