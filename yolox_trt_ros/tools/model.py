"""Say what a model costs, layer by layer, and what would make it quicker, without hardware.

Counted in the ONNX file: GFLOPs, parameters, memory of activations, channels off the grid of 32,
SiLU, what a DLA refuses. Estimated: times on Xavier and Orin, from times that others have
published; `--published` shows how far the estimate is off each of them. `optimize` and `quantize`
change models, `build` and `profile` measure.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table

from yolox_trt_ros.cli.console import Console
from yolox_trt_ros.cli.model_costs import for_model, off
from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.output_files import write_whole
from yolox_trt_ros.core.profile import Workload
from yolox_trt_ros.engine.advice import advise, rounded_up, workload
from yolox_trt_ros.engine.dla_rules import LayerVerdict, forces_gpu, judge
from yolox_trt_ros.engine.flops import COUNTED, ModelWork, model_work
from yolox_trt_ros.engine.published_times import (
    LANES,
    efficiency,
    error_range,
    estimate_ms,
    misses,
)
from yolox_trt_ros.packaged_models import find_model
from yolox_trt_ros.vehicle_files import load_profile

BYTES = {'int8': 1, 'fp16': 2}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument('model', help='ONNX file or packaged model')
    parser.add_argument(
        '--size', default='', metavar='WxH', help='size of the input, such as 960x608'
    )
    parser.add_argument(
        '--precision', choices=BYTES, default='int8', help='of memory and times (default: int8)'
    )
    parser.add_argument(
        '--profile', default='', help='estimate the lanes of this engine profile as well'
    )
    parser.add_argument(
        '--published', action='store_true', help='show how far published times are met'
    )
    parser.add_argument('--json', type=Path, help='write everything to this file')


def run(args: argparse.Namespace) -> int:
    """Count, estimate, print, and write what was asked for."""
    path = find_model(args.model)
    work, graph = model_work(path, _size(args.size))
    verdicts = judge(graph)
    load = workload(path.name, work)
    report = report_of(work, load, verdicts, args.precision)
    if args.profile:
        report['profile'] = _of_profile(args.profile, load)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    _print_layers(console, report, args.precision)
    _print_whole(console, report, args.precision)
    _print_lanes(console, report)
    if args.published:
        _print_published(console, report['published'])
    for sentence in report['advice']:
        console.print(f'\n{sentence}')
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        write_whole(args.json, json.dumps(report, indent=1, ensure_ascii=False) + '\n')
        console.print(f'\nwritten to {args.json}')
    return 0


def _size(text: str) -> tuple[int, int] | None:
    if not text:
        return None
    width, x, height = text.partition('x')
    if not (x and width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise ConfigError(f'--size: expected width x height such as 960x608, got "{text}"')
    return int(height), int(width)


def report_of(
    work: ModelWork, load: Workload, verdicts: list[LayerVerdict], precision: str
) -> dict[str, Any]:
    """Return all that is known of a model, as it goes into JSON.

    Args:
        work: what its layers compute and hold.
        load: the same, as estimates take it.
        verdicts: where each layer runs.
        precision: ``int8`` or ``fp16``.
    """
    size = BYTES[precision]
    layers = [
        asdict(layer)
        | {
            'activation_bytes': math.prod(layer.shape) * size,
            'off_grid': layer.off_grid,
            'device': v.device,
            'reason': v.reason,
        }
        for layer, v in zip(work.layers, (v for v in verdicts if v.op in COUNTED), strict=True)
    ]
    odd, more_gflops, more_parameters = rounded_up(work.layers)
    return {
        'model': load.model,
        'gflops': work.gflops,
        'parameters': work.parameters,
        'precision': precision,
        'activation_bytes': work.values * size,
        'peak_activation_bytes': work.peak_values * size,
        'weight_bytes': work.parameters * size,
        'silu_share': load.silu_share,
        'grid': {
            'gflops': work.grid_gflops,
            'layers_off': [layer.name for layer in odd],
            'more_gflops_if_rounded_up': more_gflops,
            'more_parameters_if_rounded_up': more_parameters,
        },
        'dla': {
            'fits': sum(v.device == 'dla' for v in verdicts),
            'forces_gpu': [
                {'name': v.name, 'op': v.op, 'reason': v.reason} for v in forces_gpu(verdicts)
            ],
        },
        'lanes': {lane: _lane(lane, load, precision) for lane in LANES},
        'published': [row for lane in LANES for row in _published(lane)],
        'advice': advise(work, load, verdicts),
        'layers': layers,
    }


def _lane(lane: str, load: Workload, precision: str) -> dict[str, Any]:
    ms = estimate_ms(lane, load, half=precision == 'fp16')
    return {
        'name': LANES[lane].name,
        'ms': round(ms, 3),
        'efficiency': round(efficiency(lane, load, ms), 4),
        'error_on_published': asdict(error_range(lane)),
        'off': off(error_range(lane), load),
    }


def _published(lane: str) -> list[dict[str, Any]]:
    return [
        {
            'lane': LANES[lane].name,
            'model': miss.time.work.model,
            'images': miss.time.images,
            'published_ms': round(miss.time.ms, 2),
            'estimate_ms': round(miss.estimate_ms, 2),
            'error': round(miss.error, 5),
            'error_if_left_out': round(miss.left_out_error, 5),
            'efficiency': round(
                efficiency(lane, miss.time.work, miss.time.ms, miss.time.images), 3
            ),
            'fitted': miss.time.fitted,
            'remark': miss.time.remark,
            'source': miss.time.source,
        }
        for miss in misses(lane)
    ]


def _of_profile(name: str, load: Workload) -> dict[str, Any]:
    profile = load_profile(name)
    scaled, estimates = for_model(profile, load)
    lanes = {}
    for lane, figures in scaled.lanes.items():
        estimate = estimates.get(lane)
        lanes[lane] = {
            'ms': round(figures.cost_ns(1) / 1e6, 3),
            'measured': estimate is None,
            'off': off(estimate.error, load) if estimate else 'measured with this model',
        }
    measured = profile.measured_with.model if profile.measured_with else ''
    return {'name': profile.name, 'measured_with': measured, 'lanes': lanes}


def _print_layers(console: Console, report: dict[str, Any], precision: str) -> None:
    table = Table('layer', 'operator', box=None, pad_edge=False)
    for head in ('channels', 'output', 'GFLOPs', 'share', 'parameters', f'kB {precision}'):
        table.add_column(head, justify='right', no_wrap=True)
    table.add_column('then')
    table.add_column('DLA')
    for layer in report['layers']:
        kernel = 'x'.join(map(str, layer['kernel']))
        channels = f'{layer["inputs"]}>{layer["outputs"]}{"*" if layer["off_grid"] else ""}'
        table.add_row(
            layer['name'],
            f'{layer["op"]} {kernel}{" groups" if layer["groups"] > 1 else ""}',
            channels if layer['kernel'] else '',
            'x'.join(map(str, layer['shape'][1:])),
            f'{layer["flops"] / 1e9:.3f}',
            f'{layer["flops"] / 1e9 / report["gflops"]:.1%}',
            str(layer['parameters']),
            f'{layer["activation_bytes"] / 1e3:.0f}',
            layer['activation'],
            'yes' if layer['device'] == 'dla' else layer['reason'],
        )
    console.print(table)
    console.print('* channels that are no multiples of 32\n')


def _print_whole(console: Console, report: dict[str, Any], precision: str) -> None:
    grid, dla = report['grid'], report['dla']
    table = Table.grid(padding=(0, 2))
    mb = {name: report[f'{name}_bytes'] / 1e6 for name in ('activation', 'peak_activation')}
    for row in (
        ('work', f'{report["gflops"]:.2f} GFLOPs, {len(report["layers"])} layers'),
        ('parameters', f'{report["parameters"] / 1e6:.2f} M'),
        (
            'activations',
            f'{mb["activation"]:.1f} MB in all, {mb["peak_activation"]:.1f} MB at one time '
            f'({precision})',
        ),
        (
            'grid of 32',
            f'{len(grid["layers_off"])} layers off it; a lane computes {grid["gflops"]:.2f} GFLOPs',
        ),
        ('SiLU', f'after {report["silu_share"]:.0%} of the work'),
        ('DLA', f'{dla["fits"]} layers fit, {len(dla["forces_gpu"])} force the GPU'),
    ):
        table.add_row(*row)
    console.print(table)


def _print_lanes(console: Console, report: dict[str, Any]) -> None:
    table = Table('estimate', box=None, pad_edge=False)
    for head in ('ms', 'efficiency'):
        table.add_column(head, justify='right')
    table.add_column('off published times')
    for lane in report['lanes'].values():
        table.add_row(lane['name'], f'{lane["ms"]:.2f}', f'{lane["efficiency"]:.1%}', lane['off'])
    profile = report.get('profile', {'lanes': {}})
    for name, lane in profile['lanes'].items():
        table.add_row(f'{profile["name"]}: {name}', f'{lane["ms"]:.2f}', '', lane['off'])
    console.print('')
    console.print(table)
    if report['dla']['forces_gpu']:
        console.print('DLA times hold once no layer forces the GPU')
    if report['precision'] == 'fp16':
        console.print('FP16 is INT8 times what it cost one network; the errors are those of INT8')


def _print_published(console: Console, rows: list[dict[str, Any]]) -> None:
    table = Table('published (INT8)', 'lane', box=None, pad_edge=False)
    for head in ('ms', 'efficiency', 'estimate', 'off', 'network left out'):
        table.add_column(head, justify='right')
    table.add_column('remark')
    for row in rows:
        images = f', {row["images"]} images' if row['images'] > 1 else ''
        table.add_row(
            row['model'] + images,
            row['lane'],
            f'{row["published_ms"]:.2f}',
            f'{row["efficiency"]:.1%}',
            f'{row["estimate_ms"]:.2f}',
            f'{row["error"]:+.0%}',
            f'{row["error_if_left_out"]:+.0%}',
            row['remark'],
        )
    console.print('')
    console.print(table)
    for source in sorted({row['source'] for row in rows}):
        console.print(f'source: {source}')
