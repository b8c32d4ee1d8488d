"""Make a YOLOX fit for DLA without changing what it computes, or judge any ONNX.

Focus and convolution become one 6x6 convolution, pools of 9 and 13 chains of 5x5, the head ends in
nine maps; constants are folded, batch and size fixed. Both models run in ONNX Runtime, on random
pictures and on --images, and one that differs by more than 1e-4 is refused; so it is at another
--size or --batch, if the original takes that. Then every layer is listed with its device.

With --check-dla the exit code is 0 only if no layer forces the GPU, and 3 otherwise.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yolox_trt_ros.cli.numbers import input_size
from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.output_files import write_whole
from yolox_trt_ros.engine.dla_rules import LayerVerdict, forces_gpu, judge
from yolox_trt_ros.engine.onnx_file import check_onnx, read_onnx, write_onnx
from yolox_trt_ros.packaged_models import find_model

if TYPE_CHECKING:
    import numpy as np
    from onnx import ModelProto

    from yolox_trt_ros.core.head import HeadCut
    from yolox_trt_ros.engine.surgery.optimize import Surgery
    from yolox_trt_ros.engine.surgery.proof import Proof

NOT_FIT = 3
"""Exit code where the answer is no."""
RANDOM_PICTURES = 3


DEVICES = {'dla': 'DLA', 'none': '–'}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument('model', type=Path, help='ONNX file or packaged model')
    parser.add_argument('--output', type=Path, help='write the rewritten model to this file')
    parser.add_argument(
        '--check-dla', action='store_true', help='exit with 0 only if no layer forces the GPU'
    )
    parser.add_argument('--batch', type=int, default=0, help='number of images in one inference')
    parser.add_argument(
        '--size', default='', metavar='WxH', help='size of the input, such as 960x608'
    )
    parser.add_argument('--labels', type=Path, help='text file, one class name a line')
    parser.add_argument(
        '--images', type=Path, help='compare both models on the pictures of this folder'
    )
    parser.add_argument(
        '--relu6',
        action='store_true',
        help='replace SiLU by ReLU6: the model then NEEDS RETRAINING',
    )
    parser.add_argument(
        '--json', type=Path, help='write verdicts and differences to this file as well'
    )


def run(args: argparse.Namespace) -> int:
    """Run the tool and return its exit code."""
    if not (args.output or args.check_dla):
        raise ConfigError('nothing to do: give --output OUT.onnx, --check-dla, or both')
    if args.batch < 0:
        raise ConfigError(f'--batch: expected at least 1, got {args.batch}')
    args.model = find_model(str(args.model))
    model = read_onnx(args.model)
    report: dict[str, Any] = {'model': args.model.name}
    if args.output:
        model, report['changes'], report['maps'] = _rewrite(args, model)
    verdicts = judge(model)
    _print_layers(verdicts)
    if args.json:
        report['layers'] = [
            {'name': v.name, 'op': v.op, 'shape': v.shape, 'device': v.device, 'reason': v.reason}
            for v in verdicts
        ]
        args.json.parent.mkdir(parents=True, exist_ok=True)
        write_whole(args.json, json.dumps(report, indent=1) + '\n')
    return NOT_FIT if args.check_dla and forces_gpu(verdicts) else 0


def _rewrite(
    args: argparse.Namespace, original: ModelProto
) -> tuple[ModelProto, dict[str, int], list[dict[str, Any]]]:
    """Write the rewritten model; return it, what was changed, and how far its maps are off."""
    from yolox_trt_ros.detect.description import describe, description_of
    from yolox_trt_ros.detect.model import head_cut
    from yolox_trt_ros.engine.surgery.optimize import operate

    sidecar = args.output.with_suffix('.yaml')
    if sidecar.is_file() and args.output.resolve() != args.model.resolve():
        raise ConfigError(f'{sidecar} lies beside the output and would overrule it: remove it')
    about = description_of(args.model, original)

    def cut(model: ModelProto) -> HeadCut:
        return head_cut(args.model, model, about)

    surgery = operate(original, cut, args.batch, input_size(args.size), args.relu6)
    about.pop('outputs', None)
    proof = _compare(args, original, surgery, about)
    _print_changes(surgery, proof)
    _compare_resized(args, original, surgery, about)
    final = surgery.final
    describe(final, about)
    check_onnx(final, args.output)
    write_onnx(final, args.output)
    if 'labels' not in about:
        print('no class names are known: put a labels.txt beside it, or give --labels')
    if args.relu6:
        print(
            'ReLU6 IS NOT SiLU: these weights are worthless until the model is RETRAINED with '
            'ReLU6; what was proven holds for everything else',
            file=sys.stderr,
        )
    print(f'written: {args.output}')
    maps = [{'name': m.name, 'absolute': m.absolute, 'relative': m.relative} for m in proof.maps]
    return final, dict(surgery.counts), maps


def _compare(
    args: argparse.Namespace, original: ModelProto, surgery: Surgery, about: dict[str, Any]
) -> Proof:
    """Return the proof of equality; ``about`` gets what has to be known of the new model."""
    from yolox_trt_ros.detect.labels import labels_of
    from yolox_trt_ros.engine.surgery.proof import prove

    if args.labels or 'labels' in about or (args.model.parent / 'labels.txt').is_file():
        names = labels_of(args.model, args.labels, about.get('labels'), surgery.cut.classes)
        about['labels'] = list(names)
    about |= surgery.cut.about
    return prove(original, surgery, _pictures(args, surgery.same, about))


def _compare_resized(
    args: argparse.Namespace, original: ModelProto, surgery: Surgery, about: dict[str, Any]
) -> None:
    """Compare once more, at the batch and size that were asked for, and report what came out."""
    from yolox_trt_ros.engine.surgery.proof import prove_resized

    if surgery.asked == surgery.shape or args.relu6:
        return
    batch, _, height, width = surgery.asked
    where = f'at {batch} x {width}x{height}'
    errors = prove_resized(original, surgery, _pictures(args, surgery.final, about))
    if errors is None:
        own = 'x'.join(map(str, surgery.shape[:1:-1]))
        print(f'{where} the original does not run, its own {own} is built in: not compared there')
        return
    worst = max(errors, key=lambda m: m.relative)
    print(f'{where}: largest error {worst.absolute:.3g}, {worst.relative:.2g} ({worst.name})')


def _pictures(
    args: argparse.Namespace, model: ModelProto, about: dict[str, Any]
) -> Iterator[np.ndarray]:
    from yolox_trt_ros.cli.pictures import folder_pictures, random_inputs
    from yolox_trt_ros.detect.graph.tensors import input_spec

    spec = input_spec(args.model, model, about)
    yield from random_inputs(spec, RANDOM_PICTURES)
    if args.images:
        yield from folder_pictures(args.images, 1000).inputs(spec)


def _print_changes(surgery: Surgery, proof: Proof) -> None:
    for what, count in surgery.counts.items():
        print(f'{count:4d} x {what}')
    worst = max(proof.maps, key=lambda m: m.relative)
    print(
        f'compared on {proof.pictures} pictures: largest error {worst.absolute:.3g}, '
        f'{worst.relative:.2g} of the largest magnitude ({worst.name}); {surgery.cut.summary}'
    )


def _print_layers(verdicts: Sequence[LayerVerdict]) -> None:
    from rich.table import Table

    from yolox_trt_ros.cli.console import Console, Text

    table = Table('layer', 'operator', 'output', 'device', 'why', box=None, pad_edge=False)
    for v in verdicts:
        shape = 'x'.join(str(d) if d else '?' for d in v.shape)
        device = Text('GPU', 'red') if v.device == 'gpu' else Text(DEVICES[v.device])
        table.add_row(v.name, v.op, shape, device, v.reason)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    console.print(table)
    forcing = forces_gpu(verdicts)
    dla = sum(v.device == 'dla' for v in verdicts)
    print(f'{dla} layers fit a DLA, {len(forcing)} force the GPU')
    for v in forcing:
        print(f'  {v.op} {v.name}: {v.reason}')
