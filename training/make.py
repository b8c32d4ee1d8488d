"""From nothing to the packaged models: render the worlds, train, write ONNX.

python -m training.make --work /tmp/training --out models
python -m training.make --work /tmp/training --ablation     (only the short comparison runs)

What an earlier call finished in the same folder is kept: an empty folder begins from nothing.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

import torch

from training.data import render
from yolox_trt_ros.core import children
from yolox_trt_ros.sim.world.bodies import CLASSES

WORLDS = {'train': 1200, 'val': 40}
"""Of 16 pictures each."""

RUNS: dict[str, dict[str, float]] = {
    'edge_n': {'steps': 60000, 'minutes': 9.5, 'batch': 64, 'lr': 2e-3},
    'edge_s': {'steps': 20000, 'minutes': 8.5, 'batch': 32, 'lr': 1e-3},
}
"""Of each design: at most so many steps, and about as many as fit in the minutes, compiling
included. Chosen for less than 25 minutes in all on one GPU; several GPUs work side by side."""
HALF = ('edge_s',)
"""Designs whose ONNX weights are stored as FP16, to stay below 25 MiB."""
ABLATION = {
    'abl_relu6': '{}',
    'abl_silu': '{"act": "silu"}',
    'abl_relu': '{"act": "relu"}',
    'abl_spp': '{"pool": "parallel"}',
    'abl_focus': '{"stem": "focus"}',
    'abl_csp': '{"block": "csp"}',
}
ABLATION_LENGTH = {'steps': 600, 'batch': 64, 'limit': 6400}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--work', type=Path, required=True, help='scratch folder, 37 GB')
    parser.add_argument('--out', type=Path, default=Path('models'), help='where the ONNX files go')
    parser.add_argument('--device', choices=('cuda', 'cpu'), default='cuda')
    parser.add_argument(
        '--eager', action='store_true', help='without torch.compile and CUDA graphs: slower'
    )
    parser.add_argument('--ablation', action='store_true', help='the comparison runs instead')
    args = parser.parse_args()
    began = time.monotonic()
    for split, worlds in WORLDS.items():
        if not (args.work / f'{split}.done').exists():
            render(split, worlds, args.work)
            (args.work / f'{split}.done').touch()
    common = ['--data', str(args.work), '--out', str(args.work), '--device', args.device]
    common += ['--eager'] * args.eager
    runs = _ablation() if args.ablation else _packaged(args.out)
    _side_by_side(args.work, {name: [*common, *more] for name, more in runs.items()}, args.device)
    print(f'everything took {(time.monotonic() - began) / 60:.1f} minutes', flush=True)
    return 0


def _ablation() -> dict[str, list[str]]:
    return {
        name: ['--design', 'edge_n', '--changes', changes, *_options(ABLATION_LENGTH)]
        for name, changes in ABLATION.items()
    }


def _packaged(out: Path) -> dict[str, list[str]]:
    out.mkdir(parents=True, exist_ok=True)
    (out / 'labels.txt').write_text('\n'.join(CLASSES) + '\n', encoding='utf-8')
    runs = {}
    for name, numbers in RUNS.items():
        files = ['--onnx', str(out / name), *['--half'] * (name in HALF)]
        runs[name] = ['--design', name, *files, *_options(numbers)]
    return runs


def _options(numbers: Mapping[str, float]) -> list[str]:
    return [word for name, value in numbers.items() for word in (f'--{name}', str(value))]


def _side_by_side(work: Path, runs: Mapping[str, list[str]], device: str) -> None:
    """Train, on as many GPUs at once as there are."""
    free: SimpleQueue[str] = SimpleQueue()
    gpus = _gpus() if device == 'cuda' else ['']
    for gpu in gpus:
        free.put(gpu)
    with ThreadPoolExecutor(len(gpus)) as trainings:
        jobs = [trainings.submit(_train, work, name, more, free) for name, more in runs.items()]
        try:
            for job in jobs:
                job.result()
        except BaseException:
            trainings.shutdown(cancel_futures=True)
            raise


def _gpus() -> list[str]:
    """Return the names under which a training sees one GPU alone."""
    count = torch.cuda.device_count()
    if not count:
        sys.exit('--device cuda: expected a GPU, PyTorch sees none; --device cpu takes days')
    named = os.environ.get('CUDA_VISIBLE_DEVICES')
    return named.split(',') if named else [str(k) for k in range(count)]


def _train(work: Path, name: str, options: list[str], free: SimpleQueue[str]) -> None:
    if (work / f'{name}.json').exists():
        print(f'{name}: trained already, {work / name}.json is there', flush=True)
        return
    gpu = free.get()
    try:
        command = [sys.executable, '-m', 'training.train', '--name', name, *options]
        process = children.start(command, env={**os.environ, 'CUDA_VISIBLE_DEVICES': gpu})
        if code := process.wait():
            raise subprocess.CalledProcessError(code, command)
    finally:
        free.put(gpu)


if __name__ == '__main__':
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit('interrupted')
