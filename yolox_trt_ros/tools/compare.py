"""Compare two versions of a model layer by layer, to see where accuracy goes.

The reference runs in FP32; the other is its FP16, INT8 (Q/DQ) or optimised version. Each layer of
it is put into the reference alone, on the same pictures (--images, --bag, --world, or random ones),
and those that change the detections most come first; where the head is not known, the outputs.
Every tensor that both have is compared too: signal to quantisation noise in dB, cosine, largest
difference; --rank sqnr sorts by that and saves the time. With --device the other is what a lane
there would run of the second model, or of the reference itself: a TensorRT engine, or with
--backend onnxruntime the prepared model. What its layers give out is marked as its output, and
their effect is what each adds to that of the layers before; --inner none takes exactly what a lane
would run.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from yolox_trt_ros.cli import one_lane
from yolox_trt_ros.cli.labelled import tracked
from yolox_trt_ros.cli.options import refuse_unused
from yolox_trt_ros.cli.pictures import add_picture_arguments, chosen_pictures, random_inputs
from yolox_trt_ros.compose import load_model, prepared_of_lane, tensorrt_engine
from yolox_trt_ros.core.backends import BACKENDS
from yolox_trt_ros.core.config import EnginesConfig, LaneConfig, ModelConfig
from yolox_trt_ros.core.errors import ConfigError, MissingDependencyError, ModelError
from yolox_trt_ros.core.output_files import write_whole
from yolox_trt_ros.detect.description import description_of
from yolox_trt_ros.detect.graph.tensors import input_spec
from yolox_trt_ros.detect.model import load_model_spec
from yolox_trt_ros.detector import lane_of
from yolox_trt_ros.engine.compare import (
    INNER,
    Run,
    TensorDifference,
    compare_engine,
    compare_models,
    inner_tensors,
    layer_pairs,
)
from yolox_trt_ros.engine.cuda_devices import cuda_driver
from yolox_trt_ros.engine.onnx_file import read_onnx
from yolox_trt_ros.engine.substitution import Substitution
from yolox_trt_ros.evaluation.layer_effects import LayerEffect, layer_effects
from yolox_trt_ros.onnx_files import with_constants
from yolox_trt_ros.packaged_models import find_model

if TYPE_CHECKING:
    from onnx import ModelProto

RANKS = ('effect', 'sqnr')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument('reference', type=Path, help='ONNX file or packaged model, usually FP32')
    parser.add_argument(
        'other', type=Path, nargs='?', help='another version of it: ONNX file or packaged model'
    )
    add_picture_arguments(parser, required=False, count=4)
    one_lane.add_arguments(parser)
    parser.set_defaults(backend='tensorrt')
    parser.add_argument(
        '--inner', choices=INNER, default='layers',
        help='tensors inside an engine to compare: outputs of layers, all, none (default: layers)',
    )  # fmt: skip
    parser.add_argument(
        '--rank',
        choices=RANKS,
        default='effect',
        help='worst first by effect on the detections, or by signal to noise (default: effect)',
    )
    parser.add_argument('--rows', type=int, default=25, help='most lines of the table; 0: all')
    parser.add_argument('--json', type=Path, help='write all differences to this file as well')


def run(args: argparse.Namespace) -> int:
    """Run the tool and return its exit code."""
    if args.rows < 0:
        raise ConfigError(f'--rows: expected 0 or more, got {args.rows}')
    if not args.other and args.device == 'cpu':
        raise ConfigError('expected a second ONNX file, or --device cuda:0 for an engine')
    if args.device == 'cpu':
        unused = 'backend precision ranges inner'
        refuse_unused(args, add_arguments, unused, '--device cuda:N or dla:N')
    args.reference = find_model(str(args.reference))
    args.other = args.other and find_model(str(args.other))
    reference = read_onnx(args.reference)
    spec = input_spec(args.reference, reference, description_of(args.reference, reference))
    reference = with_constants(reference, spec.constants())
    chosen = chosen_pictures(args)
    pictures = list(chosen.inputs(spec) if chosen else random_inputs(spec, args.pictures))
    compared = _compared(args, reference, pictures)
    effects = {}
    if args.rank == 'effect':
        effects = _effects(args, reference, compared, pictures)
    least = LayerEffect(0.0, 0.0)
    found = sorted(
        compared.found, key=lambda d: (*effects.get(d.name, least).worse_first(), d.sqnr_db)
    )
    _print_table(found, effects, args.rows)
    where = chosen.name if chosen else 'random numbers'
    print(
        f'{len(found)} tensors compared on {len(pictures)} pictures of {where}; '
        f'{compared.unmatched} have no counterpart'
    )
    if args.json:
        rows = [_row(d, effects.get(d.name)) for d in found]
        args.json.parent.mkdir(parents=True, exist_ok=True)
        write_whole(args.json, json.dumps(rows, indent=1) + '\n')
    return 0


def _row(difference: TensorDifference, effect: LayerEffect | None) -> dict[str, Any]:
    # JSON knows no infinity: null where nothing differs.
    finite = math.isfinite(difference.sqnr_db)
    return {
        **asdict(difference),
        'sqnr_db': difference.sqnr_db if finite else None,
        'effect': asdict(effect) if effect else None,
    }


@dataclass(frozen=True, slots=True, eq=False)
class _Compared:
    """What two models' tensors are like.

    Attributes:
        found: differences.
        unmatched: tensors without a counterpart.
        other: the second model's graph.
        seen: what an engine gave out, picture by picture; empty: ONNX Runtime ran the graph.
    """

    found: Sequence[TensorDifference]
    unmatched: int
    other: ModelProto
    seen: Sequence[Mapping[str, np.ndarray]] = ()


def _effects(
    args: argparse.Namespace,
    reference: ModelProto,
    compared: _Compared,
    pictures: Sequence[np.ndarray],
) -> dict[str, LayerEffect]:
    try:
        spec = load_model_spec(args.reference)
    except ModelError as error:
        print(f'effects are those on the outputs: {error}', file=sys.stderr)
        spec = None
    outputs = spec.head.outputs if spec else [o.name for o in reference.graph.output]
    substitution = Substitution(reference, compared.other, outputs)
    given = None
    if compared.seen:
        pairs = layer_pairs(reference, compared.other)
        given = {
            name: [np.asarray(one[counterpart]) for one in compared.seen]
            for name, counterpart in pairs.items()
            if counterpart in compared.seen[0]
        }
    return layer_effects(substitution, spec, pictures, tracked, given)


def _compared(
    args: argparse.Namespace, reference: ModelProto, pictures: Sequence[np.ndarray]
) -> _Compared:
    other = read_onnx(args.other) if args.other else reference
    if args.device == 'cpu':
        return _Compared(*compare_models(reference, other, pictures), other)
    one_lane.refuse_unused_options(args)
    lane = lane_of(device=args.device, backend=args.backend, precision=args.precision)
    if BACKENDS[lane.backend].prepares:
        return _compared_with_prepared(args, lane, reference, pictures)
    from yolox_trt_ros.detect.backends.tensorrt_run import EngineRun
    from yolox_trt_ros.engine.lanes import lane_engine

    marked = inner_tensors(reference, other, args.inner)
    with one_lane.engine_progress() as progress:
        engine = lane_engine(
            lane,
            args.other or args.reference,
            EnginesConfig(ranges=args.ranges),
            lambda fraction, _: progress(fraction),
            marked=marked,
        )
    content, device, core = tensorrt_engine(lane, engine)
    import cupy

    run = EngineRun(content, device, device.stream(), core, cupy)
    try:
        missing = len(set(marked) - set(run.names))
        if marked:
            print(f'{content.name}: {len(set(marked)) - missing} tensors inside it are marked')
        return _watched(reference, other, run, run.names, pictures, missing)
    finally:
        run.close()


def _watched(
    reference: ModelProto,
    other: ModelProto,
    run: Run,
    names: Sequence[str],
    pictures: Sequence[np.ndarray],
    missing: int,
) -> _Compared:
    """Compare what an engine gives out, and keep it."""
    seen: list[Mapping[str, np.ndarray]] = []

    def watched(picture: np.ndarray) -> Mapping[str, np.ndarray]:
        seen.append(run(picture))
        return seen[-1]

    found = compare_engine(reference, other, watched, names, pictures)
    return _Compared(found, missing, other, seen)


def _compared_with_prepared(
    args: argparse.Namespace,
    lane: LaneConfig,
    reference: ModelProto,
    pictures: Sequence[np.ndarray],
) -> _Compared:
    import onnx

    from yolox_trt_ros.detect.backends.onnxruntime_run import PreparedRun, on_gpu

    path = args.other or args.reference
    prepared = prepared_of_lane(
        lane, load_model(ModelConfig(path=str(path))), EnginesConfig(), print
    )
    if prepared is None:
        raise MissingDependencyError(f'{lane.device} needs an NVIDIA GPU: {cuda_driver().problem}')
    model = onnx.load_model_from_string(prepared.content)
    marked = inner_tensors(reference, model, args.inner)
    run = PreparedRun(prepared, marked, *on_gpu(prepared, int(lane.device[5:])))
    missing = len(set(marked) - set(run.names))
    return _watched(reference, model, run, run.names, pictures, missing)


def _print_table(
    found: Sequence[TensorDifference], effects: Mapping[str, LayerEffect], rows: int
) -> None:
    from rich.table import Table

    from yolox_trt_ros.cli.console import Console

    table = Table(box=None, pad_edge=False)
    for title in ('tensor', 'layer'):
        table.add_column(title)
    for title in ('detections', 'outputs')[: 2 * bool(effects)]:
        table.add_column(title, justify='right')
    for title in ('SQNR dB', 'cosine', 'largest error'):
        table.add_column(title, justify='right')
    for d in found[: rows or None]:
        noise = f'{d.sqnr_db:.1f}' if math.isfinite(d.sqnr_db) else 'equal'
        table.add_row(
            d.name, d.op, *_effect_cells(effects, d.name),
            noise, f'{d.cosine:.6f}', f'{d.largest:.4g}',
        )  # fmt: skip
    Console(highlight=False, width=None if sys.stdout.isatty() else 160).print(table)


def _effect_cells(effects: Mapping[str, LayerEffect], name: str) -> list[str]:
    if not effects:
        return []
    effect = effects.get(name)
    if effect is None:
        return ['', '']
    lost = '–' if effect.detections is None else f'{effect.detections:.2%}'
    return [lost, f'{effect.outputs:.3%}']
