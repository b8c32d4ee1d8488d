"""Show eight simulated cameras going through the node: live table, report and mosaic.

camera_sim and the detector node run as processes of their own, as on a vehicle. At the end
OUT/report.html (and .png) shows what each camera and lane did, OUT/report.json has the same as
numbers, and OUT/mosaic.png is one picture of every camera with its boxes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from yolox_trt_ros.cli.console import Console, Text
from yolox_trt_ros.cli.page import write
from yolox_trt_ros.compose import Model, load_models
from yolox_trt_ros.core.config import Config
from yolox_trt_ros.core.errors import ConfigError, YoloxTrtRosError
from yolox_trt_ros.core.messages import stamp_ns_of
from yolox_trt_ros.core.output_files import write_whole
from yolox_trt_ros.core.resources import find_resource
from yolox_trt_ros.detect.cpu.preprocess import bgr_image
from yolox_trt_ros.draw.captions import draw_table
from yolox_trt_ros.draw.mosaic import Mosaic
from yolox_trt_ros.evaluation.judge import Judge
from yolox_trt_ros.evaluation.matching import Tally
from yolox_trt_ros.evaluation.observer import Observer
from yolox_trt_ros.image_files import write_image
from yolox_trt_ros.msg import PipelineStatus
from yolox_trt_ros.packaged_models import caution
from yolox_trt_ros.report.recording import Recording
from yolox_trt_ros.ros.node_process import NodeProcess, isolate
from yolox_trt_ros.ros.overlay.output import status_lines
from yolox_trt_ros.vehicle_files import VEHICLE_SUFFIX, chosen_model, load_vehicle

START_S = 60.0
"""Longest time in which neither node writes a line while both start."""
LEAST_S = 2.0
"""Shortest show: rates need two reports of the node, which come once a second."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument('--vehicle', default='laptop_8cam', help='vehicle file or packaged name')
    parser.add_argument('--model', default='', help='ONNX file (default: the packaged model)')
    parser.add_argument('--labels', default='', help='text file, one class name a line')
    parser.add_argument('--source', default='', help='folder of images, video file, or "world"')
    parser.add_argument(
        '--duration',
        type=float,
        default=20.0,
        help='length of the show in seconds, at least 2 (default: 20)',
    )
    parser.add_argument(
        '--out',
        type=Path,
        default=Path('demo'),
        help='folder to write the report and pictures into',
    )


def run(args: argparse.Namespace) -> int:
    """Run the tool; 1 if a camera got no result."""
    console = Console()
    if not args.duration >= LEAST_S:
        raise ConfigError(f'--duration: expected at least {LEAST_S:g} s, got {args.duration:g}')
    vehicle = find_resource('config/vehicles', args.vehicle, VEHICLE_SUFFIX)
    config = load_vehicle(args.vehicle)
    chosen = _chosen(args)
    wanted = chosen_model(config, args.model, args.labels)
    model = load_models(replace(config, model=wanted)).first
    if said := caution(model.path):
        console.print(Text(f'Note: {said}.', 'bold yellow'))
    args.out.mkdir(parents=True, exist_ok=True)
    isolate()
    console.print(f'model {model.path.name}, vehicle {vehicle.name}; logs in {args.out}/')
    observer = Observer(config, model.labels)
    with observer, _nodes(vehicle, chosen, args.out) as nodes:
        _wait_until_running(observer, nodes, console)
        started = time.monotonic()
        first, before = observer.status, _cpu_s(nodes)
        observer.begin()
        whole = _watch(observer, nodes, args.duration, console)
        elapsed, last = time.monotonic() - started, observer.status
        spent = {name: round(s - before[name], 2) for name, s in _cpu_s(nodes).items()}
        observer.watch_images()
        pairs = observer.wait_for_pairs(timeout_s=10)
        # Taken before the cameras end: that they fall silent then is no part of the show.
        title = f'demo, {vehicle.name.removesuffix(VEHICLE_SUFFIX)}'
        status, recording = observer.status, observer.recording(title, observer.samples(pairs))
    assert first and last
    report = {**make_report(recording, observer.judge, first, last, elapsed), 'cpu_s': spent}
    _write(args.out, report, mosaic(config, model, pairs, status), console)
    write(recording, args.out / 'report.html', console)
    silent = [name for name, camera in report['cameras'].items() if not camera['published']]
    if silent:
        console.print(f'no result from {", ".join(silent)}: see {args.out}/detector.log')
    return 1 if silent and whole else 0


def _chosen(args: argparse.Namespace) -> dict[str, Any]:
    """Return the parameters that the command line puts above the vehicle file."""
    # The nodes have to start by themselves, and ids are what the observer reads.
    chosen: dict[str, Any] = {'autostart': True, 'class_id_format': 'index'}
    for name, value in (
        ('model.path', args.model),
        ('model.labels', args.labels),
        ('sim.source', args.source),
    ):
        if value:
            path = Path(value)
            chosen[name] = str(path.resolve()) if path.exists() else value
    return chosen


@contextlib.contextmanager
def _nodes(vehicle: Path, chosen: dict[str, Any], out: Path) -> Iterator[list[NodeProcess]]:
    with contextlib.ExitStack() as stack:
        nodes = []
        for name, log in (('detector_node', 'detector'), ('camera_sim_node', 'camera_sim')):
            node = NodeProcess(f'yolox_trt_ros.ros.{name}', [vehicle], chosen, out / f'{log}.log')
            nodes.append(stack.enter_context(node))
        yield nodes


def _wait_until_running(observer: Observer, nodes: list[NodeProcess], console: Console) -> None:
    message, end = '', time.monotonic() + START_S
    with console.status('starting …') as status:
        while not (observer.status and all(c.published for c in observer.status.cameras)):
            for node in nodes:
                node.check()
            logs = '\n'.join(node.tail() for node in nodes)
            if logs != message:  # rendering the world for the first time takes a while
                message, end = logs, time.monotonic() + START_S
                status.update(f'starting: {_last_words(nodes)}')
            if time.monotonic() > end:
                raise YoloxTrtRosError(
                    f'no results from every camera, and no news for {START_S:g} s:\n{logs}'
                )
            time.sleep(0.1)


def _last_words(nodes: list[NodeProcess]) -> str:
    """Return what the node that wrote last wrote, without its time stamp."""
    latest = max(nodes, key=lambda node: node.log.stat().st_mtime_ns)
    return escape(latest.tail(1).rpartition(']: ')[2])


def _cpu_s(nodes: list[NodeProcess]) -> dict[str, float]:
    return {node.name: node.cpu_s() for node in nodes}


def _watch(
    observer: Observer, nodes: list[NodeProcess], duration_s: float, console: Console
) -> bool:
    """Show for a while; return whether that was not cut short."""
    end, whole = time.monotonic() + duration_s, False
    live = Live(console=console, refresh_per_second=4) if console.is_terminal else None
    # A Ctrl-C ends the show early; the report is of what was seen.
    with live or contextlib.nullcontext(), contextlib.suppress(KeyboardInterrupt):
        while (left := end - time.monotonic()) > 0:
            for node in nodes:
                node.check()
            if live and observer.status:
                live.update(status_table(observer.status, left))
            time.sleep(min(0.25, left))
        whole = True
    if not live and observer.status:
        console.print(status_table(observer.status, 0.0))
    return whole


def status_table(status: PipelineStatus, left_s: float) -> Table:
    """Return the state of all cameras as a table."""
    lanes = ', '.join(f'{lane.name} {lane.utilisation:.0%}' for lane in status.lanes)
    table = Table(title=f'{lanes}   {left_s:.0f} s left' if left_s else lanes)
    for column in ('camera', 'lane', 'in Hz', 'out Hz', 'age ms', 'p50 ms', 'p95 ms', 'dropped'):
        table.add_column(column, justify='left' if column in ('camera', 'lane') else 'right')
    for c in status.cameras:
        at = list(c.stages).index('total')
        p50, p95 = (_ms(c.p50_ns[at]), _ms(c.p95_ns[at])) if c.published else ('–', '–')
        table.add_row(
            c.name, c.lane, f'{c.rate_in_hz:.1f}', f'{c.rate_out_hz:.1f}', _ms(c.age_ns),
            p50, p95, str(sum(c.drop_counts)),
            style=('', 'yellow', 'red', 'magenta')[c.level],
        )  # fmt: skip
    return table


def make_report(
    recording: Recording,
    judge: Judge,
    first: PipelineStatus,
    last: PipelineStatus,
    elapsed_s: float,
) -> dict[str, Any]:
    """Return what happened between two status messages."""
    before = {c.name: c for c in first.cameras}
    results = {c.name: c.results for c in recording.cameras}
    tallies, cameras = judge.tallies(), {}
    for c in last.cameras:
        b = before[c.name]
        published = c.published - b.published
        cameras[c.name] = {
            'received': c.received,
            'published': c.published,
            'dropped': sum(c.drop_counts),
            'dropped_by_reason': dict(zip(c.drop_reasons, c.drop_counts, strict=True)),
            'pending': c.waiting + c.in_flight,
            'fps': round(published / _seconds(first, last, elapsed_s), 2),
            'latency_ms': _percentiles(results[c.name].age_ns / 1e6),
            'lane': c.lane,
        }
        if c.name in tallies:
            cameras[c.name]['ground_truth'] = tallies[c.name].report()
    lanes = {
        lane.name: {
            'device': lane.device,
            'state': lane.state,
            'processed': lane.processed,
            'utilisation': round(lane.utilisation, 3),
        }
        for lane in last.lanes
    }
    total = Tally()
    for tally in tallies.values():
        total += tally
    return {
        'duration_s': round(elapsed_s, 2),
        'ground_truth': {'classes': judge.classes.names, **total.report()}
        if total.images and judge.classes.names
        else None,
        'cameras': cameras,
        'lanes': lanes,
    }


def _seconds(first: PipelineStatus, last: PipelineStatus, otherwise: float) -> float:
    return (stamp_ns_of(last) - stamp_ns_of(first)) / 1e9 or otherwise


def _percentiles(values: np.ndarray) -> dict[str, float | None]:
    if not len(values):
        return {'p50': None, 'p95': None, 'p99': None}
    p50, p95, p99 = np.percentile(values, (50, 95, 99))
    return {'p50': round(p50, 2), 'p95': round(p95, 2), 'p99': round(p99, 2)}


def mosaic(
    config: Config, model: Model, pairs: dict[str, Any], status: PipelineStatus | None
) -> np.ndarray:
    """Return one picture of all cameras with their boxes, each where it looks."""
    whole = Mosaic(config.cameras)
    for name in (camera.name for camera in config.cameras):
        if not pairs.get(name):
            whole.put(name, None, f'{name}: no result')
            continue
        frame, found = pairs[name]
        tile = whole.tile_of(bgr_image(frame), found, model.labels)
        whole.put(name, tile, f'{name}  {len(found)} objects')
    if whole.layout.free and status:
        table = np.zeros((*whole.tile[::-1], 3), np.uint8)
        draw_table(table, 'cameras and lanes', status_lines(status))
        whole.put_at(whole.layout.free, table)
    return whole.picture


def _ms(ns: int) -> str:
    return '–' if ns < 0 else f'{ns / 1e6:.0f}'


def _percent(share: float | None) -> str:
    return '–' if share is None else f'{share:.1%}'


def _write(out: Path, report: dict[str, Any], picture: np.ndarray, console: Console) -> None:
    write_whole(out / 'report.json', json.dumps(report, indent=1) + '\n')
    write_image(out / 'mosaic.png', picture)
    fps = sum(camera['fps'] for camera in report['cameras'].values())
    console.print(f'{fps:.1f} results/s from {len(report["cameras"])} cameras')
    spent = ', '.join(f'{name} {seconds:.1f} s' for name, seconds in report['cpu_s'].items())
    console.print(f'CPU time in {report["duration_s"]:.1f} s: {spent}')
    if truth := report['ground_truth']:
        console.print(
            f'against the ground truth of {truth["images"]} images '
            f'({", ".join(truth["classes"])}): '
            f'recall {_percent(truth["recall"])}, precision {_percent(truth["precision"])}'
        )
    console.print(f'numbers {out}/report.json, picture {out}/mosaic.png')
