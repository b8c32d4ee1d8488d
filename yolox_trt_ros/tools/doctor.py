"""Say on one screen whether this machine can do the job, and what to do where it cannot.

Each line is OK, WARN (it runs, but loses images, time or accuracy) or FAIL (it does not run) with
its remedy. With `--vehicle` the machine is judged by what that vehicle's lanes and cameras need;
without one, a missing GPU is no failure. The exit code is 1 if a line is FAIL, otherwise 0;
`--strict` counts WARN as well.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from rich.table import Table

from yolox_trt_ros.cli.console import Console, Text
from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.printing import printable
from yolox_trt_ros.doctor import hardware, memory, software, vehicle
from yolox_trt_ros.doctor.finding import Check, Finding, Severity, Wanted, examine
from yolox_trt_ros.vehicle_files import load_vehicle

CHECKS: tuple[Check, ...] = (
    software.python,
    software.ros,
    software.middleware,
    software.packages,
    software.backends,
    software.cupy,
    hardware.processor,
    memory.memory,
    memory.shared_memory,
    hardware.gpus,
    hardware.gpu_links,
    memory.gpu_memory,
    hardware.dlas,
    hardware.jetson,
    vehicle.cameras,
    vehicle.model,
    vehicle.engines,
    vehicle.transport,
)
COLOURS = {Severity.OK: 'green', Severity.WARN: 'yellow', Severity.FAIL: 'bold red'}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument(
        '--vehicle', help='check the machine for this vehicle: a file or packaged name'
    )
    parser.add_argument('--strict', action='store_true', help='exit with 1 if a line is WARN, too')
    parser.add_argument('--json', action='store_true', help='print the findings as JSON')


def run(args: argparse.Namespace) -> int:
    """Examine the machine and report."""
    found: list[Finding] = []
    config = None
    if args.vehicle:
        try:
            config = load_vehicle(args.vehicle)
        except ConfigError as error:
            found.append(Finding(Severity.FAIL, 'vehicle', str(error), 'correct the file'))
    with Console(stderr=True).status('looking …'):
        found += examine(CHECKS, Wanted.of(config))
    failing = (Severity.FAIL, Severity.WARN) if args.strict else (Severity.FAIL,)
    fit = not any(finding.level in failing for finding in found)
    if args.json:
        print(json.dumps({'fit': fit, 'findings': [asdict(f) for f in found]}, indent=1))
    else:
        show(Console(), found, args.vehicle)
    return 0 if fit else 1


def show(console: Console, found: list[Finding], name: str | None) -> None:
    """Print the findings as a table and a verdict."""
    table = Table.grid(padding=(0, 2))
    for finding in found:
        style = COLOURS[finding.level]
        remedy = f'\n→ {printable(finding.remedy)}' if finding.remedy else ''
        message = Text.assemble(printable(finding.message), (remedy, 'italic'))
        table.add_row(Text(finding.level.value, style), finding.topic, message)
    console.print(table, highlight=False)
    counts = [sum(f.level is level for f in found) for level in (Severity.FAIL, Severity.WARN)]
    verdict = 'cannot do the job' if counts[0] else 'can do the job'
    job = f' ({name})' if name else ''
    console.print(f'\nthis machine {verdict}{job}: {counts[0]} FAIL, {counts[1]} WARN')
