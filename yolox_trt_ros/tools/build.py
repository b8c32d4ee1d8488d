"""Build TensorRT engines for a GPU or a DLA, keep them in the cache, and report on them.

The engines are those that the node would build when it is configured: same cache, same keys.
`--vehicle` builds what the tensorrt lanes of a vehicle file need, MODEL a single engine. Afterwards
the placement report shows which layers run where; with a GPU the engine is also run and timed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.progress import Progress as ProgressBar
from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from yolox_trt_ros.cli.console import Console
from yolox_trt_ros.cli.numbers import number
from yolox_trt_ros.cli.options import refuse_unused
from yolox_trt_ros.compose import lane_specs, load_models, loadable
from yolox_trt_ros.core.backends import BACKENDS
from yolox_trt_ros.core.errors import ConfigError, MissingDependencyError
from yolox_trt_ros.core.lane_config import DEVICE
from yolox_trt_ros.core.resources import cache_folder
from yolox_trt_ros.detect.backends.tensorrt_timing import Timing, time_engine
from yolox_trt_ros.detect.cuda.runtime import require_cupy
from yolox_trt_ros.detect.model import load_model_spec
from yolox_trt_ros.engine.cache import CachedEngine, EngineCache
from yolox_trt_ros.engine.calibration import read_calibration
from yolox_trt_ros.engine.cuda_devices import cuda_driver
from yolox_trt_ros.engine.flops import gflops
from yolox_trt_ros.engine.model_facts import model_facts
from yolox_trt_ros.engine.options import MOST_LEVEL, PRECISIONS, USUAL_LEVEL, BuildOptions
from yolox_trt_ros.engine.placement_report import LayerPlacement
from yolox_trt_ros.engine.progress import Progress
from yolox_trt_ros.engine.provide import EngineRequest, provide
from yolox_trt_ros.engine.sparsity_log import SparseKernels
from yolox_trt_ros.engine.tensorrt_versions import TensorRT, load_tensorrt
from yolox_trt_ros.packaged_models import find_model
from yolox_trt_ros.vehicle_files import load_vehicle

SHOWN = 12
OF_MODEL = (
    'device precision ranges batch max_batch typing strict_dla native_outputs dla_sram_kib '
    'dla_local_dram_mib dla_global_dram_mib sparsity optimization_level workspace_mib folder '
    'trust_folder runs layers peak_tops json'
)
"""Options without an effect where a vehicle file says what to build."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument('model', nargs='?', help='ONNX file, or the name of a packaged model')
    parser.add_argument('--vehicle', help='build for all tensorrt lanes of this vehicle file')
    parser.add_argument('--device', default='cuda:0', help='cuda:N or dla:N (default: cuda:0)')
    parser.add_argument('--precision', choices=PRECISIONS, default='fp16')
    ranges = parser.add_mutually_exclusive_group()
    ranges.add_argument(
        '--ranges', type=Path, help='range table that `quantize` wrote; int8 needs it'
    )
    ranges.add_argument(
        '--calibration-cache',
        type=Path,
        dest='ranges',
        help='calibration cache of TensorRT, in place of a range table',
    )
    batch = parser.add_mutually_exclusive_group()
    batch.add_argument(
        '--batch', type=int, default=1, help='number of images in every call (default: 1)'
    )
    batch.add_argument('--max-batch', type=int, help='allow calls of 1 to N images (GPU only)')
    parser.add_argument(
        '--typing', choices=('auto', 'strong', 'weak'), default='auto',
        help='strong: compute in the types of the ONNX file (TensorRT 10 and later)',
    )  # fmt: skip
    _add_dla_arguments(parser)
    _add_search_arguments(parser)
    parser.add_argument(
        '--folder', type=Path, help='folder of the engine cache (default: the node’s own)'
    )
    parser.add_argument(
        '--trust-folder',
        action='store_true',
        help='load engines even if other users may have written them',
    )
    parser.add_argument(
        '--runs',
        type=number(0, 1e6, int),
        default=100,
        help='number of timed calls (0: do not run the engine)',
    )
    parser.add_argument('--layers', action='store_true', help='time each layer as well')
    parser.add_argument(
        '--peak-tops',
        type=number(0, 1e9),
        help='peak TOPS of the device, to compute the efficiency',
    )
    parser.add_argument('--json', action='store_true', help='print the report as JSON')


def _add_search_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--sparsity', action='store_true', help='let TensorRT use weights that are 2:4 sparse'
    )
    parser.add_argument(
        '--optimization-level',
        type=int,
        choices=range(MOST_LEVEL + 1),
        default=USUAL_LEVEL,
        help=f'0: built quickest, {MOST_LEVEL}: runs fastest (default: {USUAL_LEVEL})',
    )
    parser.add_argument(
        '--workspace-mib',
        type=int,
        default=0,
        help='most memory that TensorRT may use while it computes',
    )


def _add_dla_arguments(parser: argparse.ArgumentParser) -> None:
    dla = parser.add_argument_group('DLA')
    dla.add_argument(
        '--strict-dla', action='store_true', help='fail if a layer cannot run on the DLA'
    )
    dla.add_argument(
        '--native-outputs', action='store_true', help='leave the outputs in the layout of the DLA'
    )
    dla.add_argument(
        '--dla-sram-kib', type=int, default=0, help='sizes of the memory pools of a DLA'
    )
    dla.add_argument('--dla-local-dram-mib', type=int, default=0)
    dla.add_argument('--dla-global-dram-mib', type=int, default=0)


def run(args: argparse.Namespace) -> int:
    """Build and report."""
    if bool(args.model) == bool(args.vehicle):
        raise ConfigError('expected either a MODEL or --vehicle')
    console = Console(stderr=args.json)
    if args.vehicle:
        refuse_unused(args, add_arguments, OF_MODEL, 'a MODEL, the vehicle file has its own,')
        return _build_vehicle(args, console)
    if not DEVICE.fullmatch(args.device) or args.device == 'cpu':
        raise ConfigError(f'--device: expected cuda:N or dla:N, got "{args.device}"')
    if not args.runs:
        refuse_unused(args, add_arguments, 'layers peak_tops', '--runs above 0')
    if args.device.startswith('cuda'):
        sizes = 'dla_sram_kib dla_local_dram_mib dla_global_dram_mib'
        refuse_unused(args, add_arguments, sizes, '--device dla:N')
    path = find_model(args.model)
    request = EngineRequest(load_tensorrt(), model_facts(path), _options(args))
    cache = EngineCache(args.folder or cache_folder('engines'), args.trust_folder)
    with _bar(console, path.name) as report:
        engine = provide(request, cache, 'auto', report, console.print)
    timing = _time(request, engine, args.runs, args.layers)
    facts = report_of(request, engine, timing, args.peak_tops)
    if args.json:
        print(json.dumps(facts, indent=1))
    else:
        show(console, request.tensorrt, facts)
    return 0


def _options(args: argparse.Namespace) -> BuildOptions:
    return BuildOptions(
        args.device,
        args.precision,
        args.max_batch or args.batch,
        args.max_batch is not None,
        read_calibration(args.ranges) if args.ranges else None,
        args.typing,
        args.strict_dla,
        args.native_outputs,
        args.sparsity,
        args.optimization_level,
        args.workspace_mib,
        args.dla_sram_kib,
        args.dla_local_dram_mib,
        args.dla_global_dram_mib,
    )


def _build_vehicle(args: argparse.Namespace, console: Console) -> int:
    config = load_vehicle(args.vehicle)
    if not any(BACKENDS[lane.backend].builds for lane in config.lanes):
        raise ConfigError(f'--vehicle: no lane of {args.vehicle} has the backend tensorrt')
    with _bar(console, args.vehicle) as report:
        lane_specs(config, load_models(config), report, console.print)
    console.print(f'every tensorrt lane of {args.vehicle} has its engine')
    return 0


def _time(request: EngineRequest, cached: CachedEngine, runs: int, layers: bool) -> Timing | str:
    """Return an engine's times, or why it is not run here."""
    if not runs:
        return 'not asked for'
    if problem := cuda_driver().problem:
        return f'no GPU: {problem}'
    try:
        require_cupy()
    except MissingDependencyError as error:
        return str(error)
    options = request.options
    engine, device, core = loadable(options.device, request.tensorrt, cached)
    spec = load_model_spec(request.model.path)
    return time_engine(engine, spec, device, core, options.batch, runs, layers)


@contextmanager
def _bar(console: Console, what: str) -> Iterator[Progress]:
    """Show how far a build is; where TensorRT does not say, only that it goes on."""
    columns = (*ProgressBar.get_default_columns()[:3], TimeElapsedColumn())
    phase = TextColumn('{task.fields[phase]}', style='dim')
    with ProgressBar(SpinnerColumn(), *columns, phase, console=console, transient=True) as bar:
        task = bar.add_task(what, total=None, phase='')

        def report(fraction: float, name: str) -> None:
            bar.update(task, total=1.0, completed=fraction, phase=name)

        yield report


def report_of(
    request: EngineRequest, engine: CachedEngine, timing: Timing | str, peak_tops: float | None
) -> dict[str, Any]:
    """Return what there is to say about an engine.

    Efficiency is operations per second over the device's peak, (GFLOPs / time) / peak TOPS, as TIER
    IV counts it in 「Edge AIのためのDNN推論処理の最適化」 (talk of 2023-07-13).
    """
    operations = gflops(request.model.path) * request.options.batch
    report: dict[str, Any] = {
        'engine': str(engine.path),
        'bytes': len(engine.engine),
        'built_now': engine.fresh,
        'device': request.options.device,
        'precision': request.options.precision,
        **engine.facts,
        'gflops': round(operations, 3),
    }
    if isinstance(timing, str):
        return report | {'time': f'not measured: {timing}'}
    report['time_ms'] = {'median': timing.median_ms, 'p99': timing.p99_ms}
    report['borders'] = timing.borders
    report['layers'] = timing.layers
    if timing.layer_times:
        report['layer_times_ms'] = timing.layer_times
    if peak_tops:
        report['efficiency'] = round(operations / timing.median_ms / peak_tops, 4)
    return report


def show(console: Console, tensorrt: TensorRT, facts: dict[str, Any]) -> None:
    """Print the report for people."""
    table = Table.grid(padding=(0, 2))
    add: Callable[..., None] = table.add_row
    state = f'built in {facts["seconds"]} s' if facts['built_now'] else 'was there already'
    add('engine', f'{facts["engine"]} ({facts["bytes"] / 1e6:.1f} MB, {state})')
    typing = 'strongly typed' if facts['strongly_typed'] else 'weakly typed'
    add('for', f'{facts["device"]}, {facts["precision"]}, {tensorrt}, {typing}')
    for tensor in facts['tensors'][:SHOWN]:
        shape = 'x'.join(map(str, tensor['shape']))
        step = f', one step is {tensor["quantum"]:g}' if tensor['dtype'] == 'int8' else ''
        kind = 'output' if tensor['output'] else 'input'
        layout = facts.get('borders', {}).get(tensor['name'], tensor['layout'])
        add(kind, f'{tensor["name"]} {tensor["dtype"]} {shape} {layout}{step}')
    for line in placement_lines(LayerPlacement(**facts['placement'])):
        add('placement', line)
    if sparse := facts.get('sparsity'):  # engines of earlier versions do not say
        add('2:4', sparsity_line(SparseKernels(**sparse)))
    add('work', f'{facts["gflops"]:g} GFLOPs a call')
    if 'time' in facts:
        add('time', facts['time'])
    else:
        times = facts['time_ms']
        add('time', f'{times["median"]:.3f} ms median, {times["p99"]:.3f} ms p99')
        speed = facts['gflops'] / times['median']
        share = f'{facts["efficiency"]:.1%} of the peak' if 'efficiency' in facts else 'give '
        share += '' if 'efficiency' in facts else '--peak-tops for the share of the peak'
        add('efficiency', f'{speed:.2f} TOPS, {share}')
    for name, milliseconds in facts.get('layer_times_ms', []):
        add('layer', f'{milliseconds:8.4f} ms  {name}')
    for warning in facts['warnings'][:SHOWN]:
        add('warning', warning)
    console.print(table, highlight=False)


def sparsity_line(kernels: SparseKernels) -> str:
    """Return in words how many layers use 2:4 sparse kernels."""
    if not kernels.possible:
        return 'no layer has 2:4 sparse weights: `sparsify` makes them so'
    line = f'{kernels.possible} layers could use sparse kernels, {kernels.used} do'
    if not kernels.used:
        return f'{line}: dense ones were quicker everywhere'
    shown = ', '.join(kernels.layers[:SHOWN])
    return f'{line}: {shown}' if shown else line


def placement_lines(placement: LayerPlacement) -> list[str]:
    """Return the placement in words, the reasons of fallbacks included."""
    if not placement.known:
        return ['the build log does not say where layers run (an engine for a GPU only)']
    lines = [
        f'{len(placement.loadables)} DLA loadables, {len(placement.gpu)} layers on the GPU, '
        f'{len(placement.reformats)} copies between formats, {placement.transfers} transfers'
    ]
    lines += [f'DLA: {loadable}' for loadable in placement.loadables[:SHOWN]]
    reasons = dict(placement.fallbacks)
    for layer in placement.off_dla()[:SHOWN] if placement.loadables else ():
        lines.append(f'GPU: {layer}' + (f' ({reasons[layer]})' if layer in reasons else ''))
    return lines
