"""Detect in many recorded drives at once; results are Parquet tables that any SQL engine reads.

BAGS are bags, videos, folders or prefixes with some anywhere below (also s3://, gs://), patterns,
or manifests: a .txt of one name a line, or a .csv whose column "bag" has the names and whose other
columns are conditions such as weather. The bags are indexed, cut into segments, and each segment is
run once: in this process, or with --ray by actors of a Ray cluster. Ctrl-C or a lost machine leaves
results that --resume completes. "fleet query SQL --out DIR" asks the results: tables detections,
images, truth, segments, bags. With --pictures it takes the pictures of its rows out of the bags.
"fleet report --out DIR" makes the page and the other forms of results again.
"""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from yolox_trt_ros.bags.limits import DISK, MEMORY, TIME
from yolox_trt_ros.cli import one_lane
from yolox_trt_ros.cli.bag_limits import add_bag_limits
from yolox_trt_ros.cli.console import Console
from yolox_trt_ros.cli.numbers import number
from yolox_trt_ros.cli.options import refuse_unused
from yolox_trt_ros.core.config import Config, ModelConfig
from yolox_trt_ros.core.errors import ConfigError, YoloxTrtRosError
from yolox_trt_ros.core.printing import one_line
from yolox_trt_ros.detector import lane_of
from yolox_trt_ros.evaluation.bag_results import read_labels
from yolox_trt_ros.fleet import results
from yolox_trt_ros.fleet.answers import FORMATS, show
from yolox_trt_ros.fleet.exports import picture_name
from yolox_trt_ros.fleet.find import find_bags
from yolox_trt_ros.fleet.finish import finish, finished
from yolox_trt_ros.fleet.index import index_bags
from yolox_trt_ros.fleet.job import FleetJob, job_of
from yolox_trt_ros.fleet.pictures import keys_of, pictures
from yolox_trt_ros.fleet.plan import FleetPlan, FleetSegment
from yolox_trt_ros.fleet.plan_table import estimate, print_found
from yolox_trt_ros.fleet.progress import FleetProgress
from yolox_trt_ros.fleet.query import ResultTables
from yolox_trt_ros.fleet.run_here import measured_rate, run_here
from yolox_trt_ros.fleet.run_ray import ClusterShare, RayCluster
from yolox_trt_ros.fleet.store import Store
from yolox_trt_ros.image_files import write_image
from yolox_trt_ros.sim.world.bodies import CLASSES
from yolox_trt_ros.vehicle_files import chosen_model, load_vehicle

QUERY, REPORT = 'query', 'report'
"""In place of bags; a bag of such a name is ``./query``."""


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
        '--segment-s', type=number(0.1, 1e6), default=60.0, metavar='S',
        help='longest part of a bag that a worker runs in one go (default: 60)',
    )  # fmt: skip
    parser.add_argument(
        '--batch', type=number(1, 64, int), default=1, help='images in one run (default: 1)'
    )
    parser.add_argument('--plan', action='store_true', help='show what would run, and end')
    parser.add_argument('--resume', action='store_true', help='run what --out lacks')
    parser.add_argument('--coco', action='store_true', help='write detections as COCO labels too')
    parser.add_argument(
        '--sidecars', action='store_true',
        help='write a bag of Detection2DArray for each bag too, to be played beside it',
    )  # fmt: skip
    _add_query_arguments(parser)
    _add_cluster_arguments(parser)
    parser.add_argument('--truth-labels', type=Path, help='class names of ground truth topics')
    one_lane.add_arguments(parser)
    add_bag_limits(parser)


def _add_cluster_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what is about Ray."""
    group = parser.add_argument_group(
        'Ray', 'Without --ray the segments run in this process, one after the other.'
    )
    group.add_argument(
        '--ray', default='', metavar='auto|ADDRESS',
        help='run on this cluster; auto: the one that is here, or one of this machine alone',
    )  # fmt: skip
    group.add_argument(
        '--workers', type=number(0, 1e5, int), default=0, metavar='N',
        help='actors, each with a detector (default: as many as fit)',
    )  # fmt: skip
    group.add_argument(
        '--cpus-per-worker', type=number(0.01, 1e4), default=1.0, metavar='N',
        help='share of each actor (default: 1)',
    )  # fmt: skip
    group.add_argument(
        '--gpus-per-worker', type=number(0, 64), default=0.0, metavar='N',
        help='share of each actor, such as 0.5; its device is then cuda:0 (default: 0)',
    )  # fmt: skip


def _add_query_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what is about queries."""
    group = parser.add_argument_group('query', 'fleet query SQL --out DIR')
    group.add_argument('--format', choices=FORMATS, default='table', help='of the rows')
    group.add_argument(
        '--timezone', default='UTC', metavar='ZONE', help='of times, such as Europe/Berlin'
    )
    group.add_argument(
        '--pictures', type=Path, metavar='DIR',
        help='write the pictures of the rows (bag, camera, stamp_ns) with boxes into this folder',
    )  # fmt: skip
    group.add_argument('--plain', action='store_true', help='with --pictures: without boxes')


def _query(args: argparse.Namespace) -> int:
    """Answer a query; 1 if a picture of a row cannot be had."""
    if len(args.bags) != 2:
        raise ConfigError('expected fleet query "SELECT …" --out DIR')
    console, missing, written = Console(stderr=True), 0, 0
    with ResultTables(Store(args.out), args.timezone) as tables:
        names, rows = tables.ask(args.bags[1])
        show(names, rows, args.format)
        for picture in (
            pictures(tables, keys_of(names, rows), not args.plain) if args.pictures else ()
        ):
            if picture.drawn is None:
                missing += 1
                console.print(f'{one_line(picture.key[0])}: {picture.problem}', highlight=False)
                continue
            file = args.pictures / picture_name(*picture.key)
            file.parent.mkdir(parents=True, exist_ok=True)
            write_image(file, picture.drawn)
            written += 1
    if args.pictures:
        console.print(f'{written} pictures: {one_line(args.pictures)}', highlight=False)
    return 1 if missing else 0


def _finish(
    args: argparse.Namespace, console: Console, write: Callable[..., Iterator[str]]
) -> None:
    with console.status('writing the page …'):
        said = list(write(Store(args.out), with_coco=args.coco, with_sidecars=args.sidecars))
    for sentence in said:
        console.print(sentence, highlight=False, soft_wrap=True)


def run(args: argparse.Namespace) -> int:
    """Run the tool; 1 if a bag or a segment has no results."""
    console = Console(stderr=True)
    if args.bags[0] == QUERY:
        return _query(args)
    refuse_unused(args, add_arguments, 'format timezone pictures plain', 'fleet query')
    if args.bags == [REPORT]:
        results.require(Store(args.out))
        _finish(args, console, finish)
        return 0
    plan, job = _planned(args)
    print_found(plan, console)
    if not plan.segments:
        raise ConfigError('no bag has an image that could be detected')
    if args.plan:
        with _cluster(args, console, planned=True) as cluster:
            _say_estimate(args, console, job, plan.segments, cluster)
        return 1 if plan.unreadable else 0
    store = Store(args.out)
    results.begin(store, job, args.resume)
    results.write_bags(store, plan.bags)
    todo = results.remaining(store, plan.segments) if args.resume else list(plan.segments)
    if len(todo) < len(plan.segments):
        console.print(f'{len(plan.segments) - len(todo)} segments have results already')
    failed = _run(args, console, job, todo) if todo else 0
    _finish(args, console, finished)
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
    if args.gpus_per_worker and args.device == 'cpu':
        args.device = 'cuda:0'  # Ray shows each actor its own GPUs alone
    one_lane.refuse_unused_options(args)
    if not args.ray:
        refuse_unused(args, add_arguments, 'workers cpus_per_worker gpus_per_worker', '--ray')
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
        lane=lane_of(
            device=args.device,
            backend=args.backend,
            precision=args.precision,
            max_batch=args.batch,
        ),
        ranges=args.ranges,
        limits={name: os.environ[name] for name in (DISK, MEMORY, TIME) if name in os.environ},
    )


def _say_estimate(
    args: argparse.Namespace,
    console: Console,
    job: FleetJob,
    segments: Sequence[FleetSegment],
    cluster: RayCluster | None,
) -> int:
    """Say how long segments take, and return how many workers run them."""
    workers = min(cluster.workers if cluster else args.workers or 1, len(segments))
    if args.gpus_per_worker:  # this machine need not have what the workers have
        console.print(f'{workers} workers; no estimate: their GPUs are not measured from here')
        return workers
    try:
        with console.status('measuring how fast images run …'):
            rate = measured_rate(job, segments[0])
    except (YoloxTrtRosError, OSError, MemoryError, RuntimeError, ValueError) as error:
        # The segment fails or not when it runs; an estimate ends no run.
        console.print(f'no estimate: {one_line(error)}', highlight=False, soft_wrap=True)
        return workers
    if rate:
        console.print(f'estimate: {estimate(segments, rate, workers)}', highlight=False)
    return workers


@contextlib.contextmanager
def _cluster(
    args: argparse.Namespace, console: Console, planned: bool = False
) -> Iterator[RayCluster | None]:
    """Give the cluster that is asked for, if any; a plan of so many workers needs none."""
    if not args.ray or (planned and args.workers):
        yield None
        return
    share = ClusterShare(args.ray, args.workers, args.cpus_per_worker, args.gpus_per_worker)
    with console.status('connecting to Ray …'):
        cluster = RayCluster(share)
    with cluster:
        yield cluster


def _run(
    args: argparse.Namespace, console: Console, job: FleetJob, todo: list[FleetSegment]
) -> int:
    """Run segments, and return how many failed."""
    with _cluster(args, console) as cluster:
        workers = _say_estimate(args, console, job, todo, cluster)
        rows = cluster.run(job, todo) if cluster else run_here(job, todo)
        progress = FleetProgress(len(todo), workers)
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
