"""From nothing to the packaged models: render the worlds, train, write ONNX.

python -m training.make --work /tmp/training --out models
python -m training.make --work /tmp/training --ablation     (only the short comparison runs)

What an earlier call finished in the same folder is kept: an empty folder begins from nothing.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from training.data import render
from yolox_trt_ros.sim.world.bodies import CLASSES

WORLDS = {'train': 1000, 'val': 40}
"""Of 16 pictures each."""

RUNS: dict[str, dict[str, float]] = {
    'edge_n': {'steps': 60000, 'minutes': 11, 'batch': 64, 'lr': 2e-3},
    'edge_s': {'steps': 20000, 'minutes': 6, 'batch': 32, 'lr': 1e-3},
}
"""Of each design: at most so many steps, and no more than fit in the minutes, compiling included:
the whole stays below 25 minutes on one GPU and 16 cores."""
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
    parser.add_argument('--work', type=Path, required=True, help='scratch folder, 31 GB')
    parser.add_argument('--out', type=Path, default=Path('models'), help='where the ONNX files go')
    parser.add_argument('--device', default='cuda', help='PyTorch device (default: cuda)')
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
    if args.ablation:
        for name, changes in ABLATION.items():
            design = ['--design', 'edge_n', '--changes', changes]
            _train(args.work, name, [*common, *design, *_options(ABLATION_LENGTH)])
    else:
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / 'labels.txt').write_text('\n'.join(CLASSES) + '\n', encoding='utf-8')
        for name, numbers in RUNS.items():
            files = ['--onnx', str(args.out / name), *['--half'] * (name in HALF)]
            _train(args.work, name, [*common, '--design', name, *files, *_options(numbers)])
    print(f'everything took {(time.monotonic() - began) / 60:.1f} minutes', flush=True)
    return 0


def _options(numbers: Mapping[str, float]) -> list[str]:
    return [word for name, value in numbers.items() for word in (f'--{name}', str(value))]


def _train(work: Path, name: str, options: list[str]) -> None:
    if (work / f'{name}.json').exists():
        print(f'{name}: trained already, {work / name}.json is there', flush=True)
        return
    command = [sys.executable, '-m', 'training.train', '--name', name, *options]
    subprocess.run(command, check=True)


if __name__ == '__main__':
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit('interrupted')
