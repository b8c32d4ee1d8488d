"""From nothing to the packaged models: render the worlds, train, write ONNX.

python -m training.make --work /tmp/training --out models
python -m training.make --work /tmp/training --ablation     (only the short comparison runs)
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from training.data import render
from yolox_trt_ros.sim.world.bodies import CLASSES

WORLDS = {'train': 600, 'val': 40}
"""Of 16 pictures each."""

RUNS: dict[str, list[str]] = {
    'edge_n': ['--design', 'edge_n', '--steps', '8200', '--batch', '64', '--lr', '2e-3'],
    'edge_s': ['--design', 'edge_s', '--steps', '4000', '--batch', '32', '--lr', '1e-3', '--half'],
}
ABLATION = {
    'abl_relu6': '{}',
    'abl_silu': '{"act": "silu"}',
    'abl_relu': '{"act": "relu"}',
    'abl_spp': '{"pool": "parallel"}',
    'abl_focus': '{"stem": "focus"}',
    'abl_csp': '{"block": "csp"}',
}
ABLATION_LENGTH = ['--steps', '600', '--batch', '64', '--limit', '6400']


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--work', type=Path, required=True, help='scratch folder, 20 GB')
    parser.add_argument('--out', type=Path, default=Path('models'), help='where the ONNX files go')
    parser.add_argument('--device', default='cuda', help='PyTorch device (default: cuda)')
    parser.add_argument('--ablation', action='store_true', help='the comparison runs instead')
    args = parser.parse_args()
    for split, worlds in WORLDS.items():
        if not (args.work / f'{split}.done').exists():
            render(split, worlds, args.work)
            (args.work / f'{split}.done').touch()
    common = ['--data', str(args.work), '--out', str(args.work), '--device', args.device]
    if args.ablation:
        for name, changes in ABLATION.items():
            _train(common, name, ['--design', 'edge_n', '--changes', changes, *ABLATION_LENGTH])
        return 0
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / 'labels.txt').write_text('\n'.join(CLASSES) + '\n', encoding='utf-8')
    for name, options in RUNS.items():
        _train(common, name, [*options, '--onnx', str(args.out / name)])
    return 0


def _train(common: list[str], name: str, options: list[str]) -> None:
    command = [sys.executable, '-m', 'training.train', *common, '--name', name, *options]
    subprocess.run(command, check=True)


if __name__ == '__main__':
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit('interrupted')
