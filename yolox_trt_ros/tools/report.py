"""Make one page of a recorded bag, of a running detector or of a replay: HTML that needs nothing.

Three sources: BAG, a recording of the record tool (with --images for pictures); --live S, a running
detector for S seconds; --replay BAG, images of any origin, played to the detector on this machine
at the pace of their recording. Beside the HTML file, a PNG picture of the same name is written.
"""

from __future__ import annotations

import argparse
import contextlib
from dataclasses import replace
from pathlib import Path

from yolox_trt_ros.bags.reader import Bag
from yolox_trt_ros.cli.bag_limits import add_bag_limits
from yolox_trt_ros.cli.console import Console
from yolox_trt_ros.cli.numbers import number
from yolox_trt_ros.cli.options import refuse_unused
from yolox_trt_ros.cli.page import write
from yolox_trt_ros.core.config import Config
from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.evaluation.bag_results import (
    find_topics,
    gather_bag,
    judge_bag,
    labels_in,
    read_labels,
    samples,
)
from yolox_trt_ros.report.recording import Recording
from yolox_trt_ros.ros.dds import settings
from yolox_trt_ros.vehicle_files import load_vehicle

PAIRS_S = 10.0
"""Longest time in which each camera of a running detector gives an image with its detections."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument('bag', nargs='?', type=Path, help='bag with recorded results')
    what.add_argument(
        '--live', type=number(0), metavar='S', help='watch a running detector for S seconds'
    )
    what.add_argument(
        '--replay', type=Path, metavar='BAG', help='play the images of this bag to a detector'
    )
    parser.add_argument('--vehicle', default='', help='vehicle file or packaged name')
    parser.add_argument('--model', default='', help='with --replay: ONNX file or packaged name')
    parser.add_argument(
        '--topics',
        nargs='+',
        default=[],
        metavar='T',
        help='with --replay: take only the cameras of these recorded topics, names or patterns',
    )
    parser.add_argument(
        '--remap',
        nargs='+',
        default=[],
        metavar='A:=B',
        help='with --replay: recorded topic A is the vehicle’s topic B',
    )
    parser.add_argument('--labels', type=Path, help='text file, one class name a line')
    parser.add_argument(
        '--truth-labels', type=Path, help='with BAG: class names of its ground truth topics'
    )
    parser.add_argument('--detector', default='', help='name of the detector node')
    parser.add_argument(
        '--images',
        type=Path,
        metavar='BAG',
        help='with BAG: bag with the images, if they are not in BAG',
    )
    parser.add_argument(
        '--out', type=Path, default=Path('report.html'), help='write the page to this HTML file'
    )
    add_bag_limits(parser)


def run(args: argparse.Namespace) -> int:
    """Run the tool; 1 if the recording has no result."""
    if args.out.suffix not in ('.html', '.htm'):
        raise ConfigError(f'--out: expected a name that ends in .html, got {args.out}')
    if not args.bag and not args.vehicle:
        raise ConfigError('--live and --replay need --vehicle, which names the topics')
    if args.replay:
        refuse_unused(args, add_arguments, 'detector', 'BAG and --live')
    else:
        refuse_unused(args, add_arguments, 'model topics remap', '--replay')
    if not args.bag:
        refuse_unused(args, add_arguments, 'images truth_labels', 'BAG')
    config = load_vehicle(args.vehicle) if args.vehicle else None
    args.out.parent.mkdir(parents=True, exist_ok=True)  # before the work, not after it
    if args.bag:
        recording = from_bag(args, config)
    elif config and args.replay:
        from yolox_trt_ros.evaluation.replayed import from_replay

        recording = from_replay(args, config)
    else:
        assert config
        recording = from_live(args, config)
    console = Console()
    write(recording, args.out, console)
    return 0 if any(len(camera.results) for camera in recording.cameras) else 1


def from_bag(args: argparse.Namespace, config: Config | None) -> Recording:
    """Return what a bag recorded of a detector, and what is lost of the bag."""
    with contextlib.ExitStack() as stack:
        bag = stack.enter_context(Bag(args.bag))
        images = stack.enter_context(Bag(args.images)) if args.images else bag
        recording = _recorded(args, config, bag, images)
        return replace(recording, remarks=tuple(dict.fromkeys([*bag.warnings, *images.warnings])))


def _recorded(args: argparse.Namespace, config: Config | None, bag: Bag, images: Bag) -> Recording:
    labels = read_labels(args.labels)
    topics = find_topics(bag, config, args.detector, '')
    labels = labels or labels_in(bag, topics)
    with Console(stderr=True).status(f'reading {args.bag} …'):
        gatherer = gather_bag(bag, topics, config, labels)
        if not labels:
            message = (
                'class names are not in the bag, so no samples, no ground truth: give --labels'
            )
            Console(stderr=True).print(message)
            return gatherer.recording(args.bag.name)
        judge = judge_bag(bag, topics, labels, read_labels(args.truth_labels))
        pictures = samples(images, config, judge)
    return gatherer.recording(args.bag.name, pictures, judge.quality())


def from_live(args: argparse.Namespace, config: Config) -> Recording:
    """Return what a running detector does now."""
    from yolox_trt_ros.evaluation.live_results import label_names, listen
    from yolox_trt_ros.evaluation.observer import Observer

    if not args.live > 0:
        raise ConfigError(f'--live: expected more than 0 s, got {args.live:g}')
    detector = args.detector or '/detector'
    settings.apply()
    observer = Observer(config, label_names(read_labels(args.labels), detector), detector)
    with observer:
        listen(args.live, 'listening')
        observer.watch_images()
        pairs = observer.wait_for_pairs(PAIRS_S)
    return observer.recording(f'{detector}, live', observer.samples(pairs))
