"""Train one network on rendered worlds, write it as ONNX and measure it."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from pathlib import Path

import torch
from torch import Tensor

from training.assign import AssignmentPool
from training.data import SLOTS, Pictures
from training.export import export
from training.score import evaluate
from training.step import BEFORE_CAPTURE, Step
from yolox_trt_ros.core.interruption import end_with_parent
from yolox_trt_ros.sim.world.bodies import CLASSES
from yolox_trt_ros.training.networks.edge import DESIGNS, EdgeYolox
from yolox_trt_ros.training.networks.maps import gflops

WARMUP_STEPS = 400
L1_FROM, PLAIN_FROM = 0.7, 0.85
"""Shares of the training after which the L1 loss counts, and zoom and shift end."""
PARTS = 2
"""Of a batch: the GPU works on one while the processor cores assign the labels of the other."""
SPEED_STEPS = (200, 380)
"""Between these steps the speed is measured that decides how many steps fit in the time."""


def rate(step: int, steps: int) -> float:
    """Return the learning rate of a step as a share of the highest: warm-up, then cosine."""
    if step < WARMUP_STEPS:
        return (step + 1) / WARMUP_STEPS
    done = (step - WARMUP_STEPS) / max(1, steps - WARMUP_STEPS)
    return 0.02 + 0.98 * (1 + math.cos(math.pi * done)) / 2


class Order:
    """Endless batches of indices; each picture once before any comes again."""

    def __init__(self, pictures: int, batch: int, device: str, random: torch.Generator) -> None:
        self._pictures, self._batch, self._device = pictures, batch, device
        self._random = random
        self._left = torch.empty(0, dtype=torch.long, device=device)

    def take(self) -> Tensor:
        if len(self._left) < self._batch:
            self._left = torch.randperm(self._pictures, generator=self._random, device=self._device)
        out, self._left = self._left[: self._batch], self._left[self._batch :]
        return out


def train(args: argparse.Namespace) -> dict[str, object]:
    """Train, write the checkpoint every minute and at the end, and return what was done."""
    began = time.monotonic()
    torch.manual_seed(args.seed)
    design = DESIGNS[args.design].with_(**json.loads(args.changes))
    size, cuda = (design.height, design.width), args.device.startswith('cuda')
    workers = min(os.cpu_count() or 1, args.batch // PARTS)
    with AssignmentPool(args.batch, SLOTS, size, len(CLASSES), workers, pinned=cuda) as pool:
        data = Pictures(args.data, 'train', size, args.device, args.limit)
        took = time.monotonic() - began
        print(f'{args.name}: {len(data)} pictures loaded in {took:.0f} s', flush=True)
        network = EdgeYolox(design, len(CLASSES)).to(args.device, memory_format=torch.channels_last)
        step = Step(network, data, pool, args.eager, PARTS)
        steps = run_steps(args, step, began)
    return {
        'name': args.name,
        'design': design.as_dict(),
        'gflops': round(gflops(network, size), 2),
        'parameters': sum(p.numel() for p in network.parameters()),
        'steps': steps,
        'batch': args.batch,
        'pictures': len(data),
        'minutes': round((time.monotonic() - began) / 60, 2),
        'device': torch.cuda.get_device_name() if cuda else 'cpu',
        'torch': torch.__version__,
    }


def run_steps(args: argparse.Namespace, step: Step, began: float) -> int:
    """Do the steps and return how many they were."""
    random = torch.Generator(args.device).manual_seed(args.seed)
    order = Order(len(step.data), args.batch, args.device, random)
    steps = args.steps
    saved = lap = time.monotonic()
    for k in range(args.steps):
        if k == steps:
            break
        step.run(
            order.take(),
            random,
            rate=args.lr * rate(k, steps),
            l1=float(k >= L1_FROM * steps),
            zoom=float(k < PLAIN_FROM * steps),
        )
        if k == BEFORE_CAPTURE:
            print(f'{args.name}: compiled after {time.monotonic() - began:.0f} s', flush=True)
        if k + 1 in SPEED_STEPS and args.minutes:
            steps = _affordable(steps, k + 1, lap, began + 60 * args.minutes, args)
            lap = time.monotonic()
        elif (k + 1) % args.log == 0:
            seen = {name: round(v.item(), 3) for name, v in step.losses.items()}
            took = (time.monotonic() - began) / 60
            print(f'{args.name} step {k + 1}/{steps} {took:.2f} min {seen}', flush=True)
        if time.monotonic() - saved > 60:
            save(step.average.network, args)
            saved = time.monotonic()
    save(step.average.network, args)
    return steps


def _affordable(steps: int, done: int, lap: float, end: float, args: argparse.Namespace) -> int:
    """Return how many steps the whole training takes so that it ends in time."""
    if args.device != 'cpu':
        torch.cuda.synchronize()
    if done == SPEED_STEPS[0]:
        return steps
    now = time.monotonic()
    each = (now - lap) / (SPEED_STEPS[1] - SPEED_STEPS[0])
    steps = min(steps, done + max(1, int((end - now) / each)))
    print(f'{args.name}: {1e3 * each:.2f} ms a step: {steps} steps', flush=True)
    return steps


def save(network: torch.nn.Module, args: argparse.Namespace) -> None:
    state = {
        k: v.half() if v.dtype.is_floating_point else v for k, v in network.state_dict().items()
    }
    partial = args.out / f'{args.name}.pt.part'
    torch.save({'changes': args.changes, 'design': args.design, 'state': state}, partial)
    partial.replace(args.out / f'{args.name}.pt')


def load(path: Path) -> EdgeYolox:
    """Return the network of a checkpoint that :func:`save` wrote, on the CPU."""
    content = torch.load(path, map_location='cpu', weights_only=True)
    design = DESIGNS[content['design']].with_(**json.loads(content['changes']))
    network = EdgeYolox(design, len(CLASSES))
    network.load_state_dict(
        {k: v.float() if v.is_floating_point() else v for k, v in content['state'].items()}
    )
    return network.eval()


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what every training is told."""
    parser.add_argument('--data', type=Path, required=True, help='folder of the rendered splits')
    parser.add_argument('--out', type=Path, required=True, help='folder for checkpoint and metrics')
    parser.add_argument('--name', required=True, help='name of the files written')
    parser.add_argument('--steps', type=int, required=True)
    parser.add_argument(
        '--minutes', type=float, default=0, help='fewer steps on a slow machine; 0: all of them'
    )
    parser.add_argument('--batch', type=int, default=64)
    parser.add_argument('--lr', type=float, default=2e-3)
    parser.add_argument('--limit', type=int, default=0, help='use this many pictures; 0: all')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--device', default='cuda')
    parser.add_argument(
        '--eager', action='store_true', help='without torch.compile and CUDA graph: slower'
    )
    parser.add_argument('--log', type=int, default=500, help='steps between progress lines')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--design', choices=sorted(DESIGNS), required=True)
    parser.add_argument('--changes', default='{}', help='JSON object of changes to the design')
    parser.add_argument('--onnx', type=Path, help='write <path>.onnx at the end')
    parser.add_argument('--half', action='store_true', help='store the ONNX weights as FP16')
    add_run_arguments(parser)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    result = train(args)
    network = load(args.out / f'{args.name}.pt')
    if args.onnx:
        export(network, args.onnx, args.half)
    result['val'] = evaluate(network.to(args.device), args.data, args.device)
    (args.out / f'{args.name}.json').write_text(json.dumps(result, indent=1))
    print(json.dumps({k: v for k, v in result.items() if k != 'design'}), flush=True)


if __name__ == '__main__':
    end_with_parent()
    try:
        main()
    except KeyboardInterrupt:
        sys.exit('interrupted')
