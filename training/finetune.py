r"""Train a model on from its ONNX file: what is 2:4 sparse stays so, and INT8 can be learned.

python -m training.finetune --data W --out W --name tuned --steps 4000 --design edge_s \
    --from edge_s.sparse.onnx --onnx out.onnx
and to learn INT8, --ranges int8/edge_s.minmax.ranges.json

The file's graph and its storage types stay, its weights change. With --ranges (of `quantize`) the
network computes with INT8's roundings, and out.int8.onnx has Q/DQ pairs of just these ranges.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from training.assign import AssignmentPool
from training.data import SLOTS, Pictures
from training.from_onnx import read_network, with_weights_of
from training.int8 import round_as_int8, write_int8
from training.score import evaluate
from training.step import Step
from training.train import PARTS, add_run_arguments, run_steps
from yolox_trt_ros.core.interruption import end_with_parent
from yolox_trt_ros.engine.half import widen_weights
from yolox_trt_ros.engine.onnx_file import read_onnx, write_onnx
from yolox_trt_ros.engine.ranges import RangeTable, file_digest, read_ranges
from yolox_trt_ros.engine.sparsity import is_sparse
from yolox_trt_ros.sim.world.bodies import CLASSES
from yolox_trt_ros.training.learning.batchnorm import settle
from yolox_trt_ros.training.networks.edge import DESIGNS, EdgeYolox

SETTLING = 8, 16
"""Batches, and pictures in each, that give the batch norms their statistics."""


def zeros_of(network: nn.Module) -> dict[str, Tensor]:
    """Return where weights may differ from zero, 1 or 0, for each weight that is 2:4 sparse."""
    return {
        name: (weight != 0).to(weight.dtype)
        for name, weight in network.named_parameters()
        if weight.ndim == 4 and is_sparse(weight.detach().cpu().numpy())
    }


def finetune(args: argparse.Namespace) -> dict[str, object]:
    """Train on, write the files, and return what was done."""
    began = time.monotonic()
    torch.manual_seed(args.seed)
    design, cuda = DESIGNS[args.design], args.device.startswith('cuda')
    size = design.height, design.width
    network = read_network(args.source, design)
    table = read_ranges(args.ranges) if args.ranges else None
    workers = min(os.cpu_count() or 1, args.batch // PARTS)
    with AssignmentPool(args.batch, SLOTS, size, len(CLASSES), workers, pinned=cuda) as pool:
        data = Pictures(args.data, 'train', size, args.device, args.limit)
        network.to(args.device, memory_format=torch.channels_last)
        count, each = SETTLING
        ends = range(0, min(count * each, len(data)), each)
        settle(network, (data.plain(k, k + each)[0] for k in ends))
        rounded = 0
        if table:
            model = read_onnx(args.source)
            widen_weights(model)
            rounded = round_as_int8(network, model, table.ranges, list(table.keep_fp16))
        zeros = zeros_of(network)
        print(
            f'{args.name}: {len(data)} pictures, {len(zeros)} layers keep their zeros, '
            f'{rounded} compute in INT8; began after {time.monotonic() - began:.0f} s',
            flush=True,
        )
        before = _score(args, network)
        step = Step(network.train(), data, pool, args.eager, PARTS, zeros)
        steps = run_steps(args, step, began)
        trained: EdgeYolox = step.average.network
    after = _score(args, trained)
    _write(args, trained, table)
    return {
        'name': args.name,
        'from': args.source.name,
        'sparse_layers': len(zeros),
        'int8_layers': rounded,
        'steps': steps,
        'batch': args.batch,
        'pictures': len(data),
        'minutes': round((time.monotonic() - began) / 60, 2),
        'device': torch.cuda.get_device_name() if cuda else 'cpu',
        'before': before,
        'after': after,
    }


def _score(args: argparse.Namespace, network: EdgeYolox) -> dict[str, object]:
    if not args.score:
        return {}
    return evaluate(network.eval(), args.data, args.device, args.score)


def _write(args: argparse.Namespace, network: EdgeYolox, table: RangeTable | None) -> None:
    model = with_weights_of(args.source, network)
    write_onnx(model, args.onnx)
    if table is None:
        return
    write_int8(model, table.ranges, list(table.keep_fp16), args.onnx.with_suffix('.int8.onnx'))
    mine = replace(table, model=args.onnx.name, model_sha256=file_digest(args.onnx))
    args.onnx.with_suffix('.ranges.json').write_text(mine.to_json(), encoding='utf-8')


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--from', dest='source', type=Path, required=True, help='exported ONNX')
    parser.add_argument('--design', choices=sorted(DESIGNS), required=True)
    parser.add_argument('--onnx', type=Path, required=True, help='write the model to this file')
    parser.add_argument('--ranges', type=Path, help='learn INT8 with this range table')
    parser.add_argument(
        '--score', default='', help='measure on this split before and after (val, test)'
    )
    add_run_arguments(parser)
    args = parser.parse_args()
    args.changes = '{}'
    args.out.mkdir(parents=True, exist_ok=True)
    result = finetune(args)
    (args.out / f'{args.name}.json').write_text(json.dumps(result, indent=1))
    print(json.dumps(result), flush=True)


if __name__ == '__main__':
    end_with_parent()
    try:
        main()
    except KeyboardInterrupt:
        sys.exit('interrupted')
