"""Detect in many recorded drives at once; results are Parquet tables that any SQL engine reads.

BAGS are bags, folders or prefixes with bags anywhere below (also s3:// and gs://), patterns, or
manifests: a .txt of one name a line, or a .csv whose column "bag" has the names and whose other
columns are conditions such as weather. The bags are indexed, cut into segments, and each segment is
run once: in this process, or with --ray by actors of a Ray cluster. Ctrl-C or a lost machine leaves
results that --resume completes. "fleet query SQL --out DIR" asks the results: tables detections,
images, truth, segments, bags.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from yolox_trt_ros.bags.limits import DISK, MEMORY, TIME
from yolox_trt_ros.cli import one_lane
from yolox_trt_ros.cli.bag_limits import add_bag_limits
from yolox_trt_ros.cli.console import Console
from yolox_trt_ros.cli.numbers import number
from yolox_trt_ros.core.config import Config, ModelConfig
from yolox_trt_ros.core.errors import ConfigError, YoloxTrtRosError
from yolox_trt_ros.evaluation.bag_results import read_labels
from yolox_trt_ros.fleet import results
from yolox_trt_ros.fleet.find import find_bags
from yolox_trt_ros.fleet.index import index_bags
from yolox_trt_ros.fleet.job import FleetJob, job_of
from yolox_trt_ros.fleet.plan import FleetPlan, FleetSegment
from yolox_trt_ros.fleet.plan_table import estimate, print_found
from yolox_trt_ros.fleet.progress import FleetProgress
from yolox_trt_ros.fleet.run_here import measured_rate, run_here
from yolox_trt_ros.fleet.store import Store
from yolox_trt_ros.sim.world.bodies import CLASSES
from yolox_trt_ros.vehicle_files import chosen_model, load_vehicle

QUERY = 'query'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument(
        'bags', nargs='+', metavar='BAGS', help='bags, folders, prefixes, patterns or manifests'
    )
    parser.add_argument(
        '--out', required=True, metavar='DIR', help='folder or URI (s3://…) of the results'
    )
    parser.add_argument(
        '--vehicle', default='', help='vehicle file or packaged name (default: every image topic)'
    )
    parser.add_argument('--model', default='', help='ONNX file or packaged model')
    parser.add_argument('--labels', default='', help='text file, one class name a line')
    parser.add_argument(
        '--score', type=number(0, 1), help='lowest score of a detection (default: the vehicle’s)'
    )
    parser.add_argument(
        '--segment-s', type=number(0, 1e6), default=60.0, metavar='S',
        help='longest part of a bag that a worker runs in one go (default: 60)',
    )  # fmt: skip
    parser.add_argument(
        '--batch', type=number(1, 256, int), default=1, help='images in one run (default: 1)'
    )
    parser.add_argument('--plan', action='store_true', help='show what would run, and end')
    parser.add_argument('--resume', action='store_true', help='run what --out lacks')
    parser.add_argument('--truth-labels', type=Path, help='class names of ground truth topics')
    one_lane.add_arguments(parser)
    add_bag_limits(parser)


def run(args: argparse.Namespace) -> int:
    """Run the tool; 1 if a bag or a segment has no results."""
    plan, job = _planned(args)
    console = Console(stderr=True)
    print_found(plan, console)
    if not plan.segments:
        raise ConfigError('no bag has an image that could be detected')
    if args.plan:
        _say_estimate(console, job, plan.segments, 1)
        return 1 if plan.unreadable else 0
    store = Store(args.out)
    results.begin(store, job, args.resume)
    results.write_bags(store, plan.bags)
    todo = results.remaining(store, plan.segments) if args.resume else list(plan.segments)
    if len(todo) < len(plan.segments):
        console.print(f'{len(plan.segments) - len(todo)} segments have results already')
    failed = _run(args, console, job, todo) if todo else 0
    return 1 if failed or plan.unreadable else 0


def _planned(args: argparse.Namespace) -> tuple[FleetPlan, FleetJob]:
    config = load_vehicle(args.vehicle) if args.vehicle else None
    job = _job(args, config)
    found = find_bags(args.bags)
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task('indexing', total=len(found))
        indexed = index_bags(found, config, lambda: bar.advance(task))
    return FleetPlan.of(indexed, args.segment_s), job


def _job(args: argparse.Namespace, config: Config | None) -> FleetJob:
    one_lane.refuse_unused_options(args)
    if config is None:
        model = ModelConfig(path=args.model, labels=args.labels)
    else:
        model = chosen_model(config, args.model, args.labels)
    if args.score is not None:
        model = replace(model, score_threshold=args.score)
    return job_of(
        model,
        config,
        out=Store(args.out).uri,
        truth_labels=tuple(read_labels(args.truth_labels) or CLASSES),
        segment_s=args.segment_s,
        device=args.device,
        backend=args.backend,
        precision=args.precision,
        ranges=args.ranges,
        batch=args.batch,
        limits={name: os.environ[name] for name in (DISK, MEMORY, TIME) if name in os.environ},
    )


def _say_estimate(
    console: Console, job: FleetJob, segments: Sequence[FleetSegment], workers: int
) -> None:
    with console.status('measuring how fast images run …'):
        rate = measured_rate(job, segments[0])
    if rate:
        console.print(f'estimate: {estimate(segments, rate, workers)}', highlight=False)


def _run(
    args: argparse.Namespace, console: Console, job: FleetJob, todo: list[FleetSegment]
) -> int:
    """Run segments, and return how many failed."""
    _say_estimate(console, job, todo, 1)
    images = sum(segment.images for segment in todo)
    progress = FleetProgress(len(todo), images, 1)
    rows: Iterator[dict[str, Any]] = run_here(job, todo)
    try:
        with progress:
            for row in rows:
                progress.add(row)
    except (KeyboardInterrupt, YoloxTrtRosError):
        console.print(f'{progress.summary()}; --resume runs the rest', highlight=False)
        raise
    console.print(progress.summary(), highlight=False)
    print(f'results: {Store(args.out).uri}')
    return progress.totals[results.FAILED]
