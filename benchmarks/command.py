"""Measure this package against other implementations; prints tables, writes JSON.

Without the name of a benchmark all of them run, one after the other, with their defaults.
Every figure is a ratio of two things measured in the same run on the same machine. The JSON also
says what the figures belong to: commit, processor, GPU, driver, CUDA and the libraries' versions.
Long benchmarks write it after each row, by ``args.save(result)``: what ends them costs no row.
"""

from __future__ import annotations

import argparse
import importlib
import json
import pkgutil
from functools import partial
from pathlib import Path
from typing import Any

from rich.table import Table

import benchmarks
from benchmarks.support.identity import identity
from yolox_trt_ros.cli.console import Console
from yolox_trt_ros.core.errors import MissingDependencyError
from yolox_trt_ros.core.output_files import write_whole

NOT_BENCHMARKS = ('__main__', 'command', 'support')
OUTPUT = Path('build/bench.json')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line: one sub-command per benchmark, or none for all of them."""
    written = f'output file (default: {OUTPUT})'
    parser.add_argument('--json', type=Path, default=OUTPUT, help=written)
    subparsers = parser.add_subparsers(
        dest='benchmark', metavar='BENCHMARK', title='benchmarks (none: all)'
    )
    for name in _names():
        try:
            module = importlib.import_module(f'{benchmarks.__name__}.{name}')
        except (MissingDependencyError, ImportError) as error:  # kernels need no ROS
            subparsers.add_parser(name, help=f'not available here: {error}')
            continue
        first_line = (module.__doc__ or '').partition('\n')[0]
        benchmark = subparsers.add_parser(name, help=first_line, description=module.__doc__)
        # Before the name or behind it: where it is not given here, the one before stays.
        benchmark.add_argument('--json', type=Path, default=argparse.SUPPRESS, help=written)
        module.add_arguments(benchmark)


def run(args: argparse.Namespace) -> int:
    """Run one benchmark, or all with their defaults."""
    console = Console()
    results: dict[str, Any] = {'machine': identity()}
    console.print(_machine(results['machine']))
    for name in [args.benchmark] if args.benchmark else _names():
        try:
            module = importlib.import_module(f'{benchmarks.__name__}.{name}')
            given = args
            if not args.benchmark:
                parser = argparse.ArgumentParser()
                module.add_arguments(parser)
                given = parser.parse_args([])
            given.save = partial(_write, args.json, results, name)
            with console.status(f'{name} …'):
                results[name] = module.measure(given)
        except (MissingDependencyError, ImportError) as error:
            if args.benchmark:
                raise
            console.print(f'{name} is left out: {error}')
            continue
        console.print(_table(name, (module.__doc__ or '').partition('\n')[0], module, results))
        _write(args.json, results)
    _write(args.json, results)
    console.print(f'written to {args.json}')
    return 0


def _write(file: Path, results: dict[str, Any], name: str = '', partial_result: Any = None) -> None:
    """Write all results so far, with what there is of the one that is being measured."""
    added = {name: partial_result} if name else {}
    write_whole(file, json.dumps(results | added, indent=1) + '\n')


def _names() -> list[str]:
    return [
        m.name for m in pkgutil.iter_modules(benchmarks.__path__) if m.name not in NOT_BENCHMARKS
    ]


def _machine(found: dict[str, Any]) -> str:
    parts = [f'yolox_trt_ros {found["package"]}', f'{found["cores"]} cores']
    if 'gpus' in found:
        parts += [*found['gpus'], f'driver {found["driver"]}', f'CUDA {found.get("cuda", "?")}']
    return ', '.join(parts)


def _table(name: str, title: str, module: Any, results: dict[str, Any]) -> Table:
    table = Table(title=f'{name}: {title}', show_header=False, title_justify='left')
    for row in module.rows(results[name]):
        table.add_row(*row)
    return table
