"""Evaluate what a detector published, recorded in a bag or live, against ground truth."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.output_files import write_whole
from yolox_trt_ros.core.printing import one_line, shown
from yolox_trt_ros.datasets.formats import read_labelled
from yolox_trt_ros.evaluation.judge import Judge, Truth
from yolox_trt_ros.vehicle_files import load_vehicle

Row = dict[str, Any]

MOST_STAMP_DIGITS = 19
"""Of nanoseconds in 64 bits."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what only --bag and --live need."""
    group = parser.add_argument_group('--bag and --live')
    group.add_argument('--vehicle', default='', help='vehicle file or packaged name')
    group.add_argument('--detector', default='', help='name of the detector node')
    group.add_argument(
        '--truth',
        type=Path,
        metavar='LABELS',
        help='labelled data in place of ground truth topics; images are called '
        'CAMERA/STAMP_NS.jpg, and annotations may have distance_m',
    )
    group.add_argument(
        '--truth-topic',
        default='',
        help='such as /{camera}/labels (default: ground_truth beside the images)',
    )
    group.add_argument(
        '--truth-labels', type=Path, help='class names of the ground truth, one a line'
    )


def run(args: argparse.Namespace) -> int:
    """Evaluate a bag or live topics."""
    from yolox_trt_ros.evaluation.bag_results import read_labels

    labels = read_labels(Path(args.labels) if args.labels else None)
    truth_labels = read_labels(args.truth_labels)
    judge = (_bag if args.bag else _live)(args, labels, truth_labels)
    wrong = add_labels(judge, args.truth) if args.truth else []
    report = {**judge.report(), 'data': str(args.bag) if args.bag else f'live, {args.live:g} s'}
    report['left_out'] += wrong
    print_table(report)
    if args.json:
        write_whole(args.json, json.dumps(report, indent=1) + '\n')
    return 0


def _bag(args: argparse.Namespace, labels: Any, truth_labels: Any) -> Judge:
    from yolox_trt_ros.bags.reader import Bag
    from yolox_trt_ros.evaluation.bag_results import find_topics, judge_bag

    config = load_vehicle(args.vehicle) if args.vehicle else None
    with Bag(args.bag) as bag:
        topics = find_topics(bag, config, args.detector, args.truth_topic)
        return judge_bag(bag, topics, labels, truth_labels)


def _live(args: argparse.Namespace, labels: Any, truth_labels: Any) -> Judge:
    from yolox_trt_ros.evaluation.live_results import label_names, listen
    from yolox_trt_ros.evaluation.observer import Observer
    from yolox_trt_ros.ros.dds import settings

    if not args.vehicle:
        raise ConfigError('--live needs --vehicle, which names the topics')
    if not args.live > 0:
        raise ConfigError(f'--live: expected more than 0 s, got {args.live:g}')
    config, detector = load_vehicle(args.vehicle), args.detector or '/detector'
    settings.apply()
    observer = Observer(
        config,
        label_names(labels, detector),
        detector,
        truth_labels=truth_labels,
        truth_topic=args.truth_topic,
    )
    with observer:
        listen(args.live, 'listening')
    return observer.judge


def add_labels(judge: Judge, labels: Path) -> list[str]:
    """Take the ground truth from labelled data; ignored objects are not asked for.

    Returns:
        A sentence for each kind of fault in them.

    Raises:
        ConfigError: they cannot be read, or their images have other names than
            ``<camera>/<header stamp, nanoseconds>.<suffix>``.
    """
    data = read_labelled(labels)
    judge.truth_labels = data.classes
    judge.truth.clear()
    for image in data.images:
        camera, stamp_ns = _camera_and_stamp(labels, image.name)
        of = image.boxes
        boxes = Detections(
            of.xyxy.astype(np.float32),
            (~of.ignored).astype(np.float32),
            of.class_id.astype(np.int32),
        )
        judge.keep(judge.truth, camera, stamp_ns, Truth(boxes, of.distance_m, of.area))
    return data.faults.sentences()


def _camera_and_stamp(annotations: Path, file_name: str) -> tuple[str, int]:
    path = Path(file_name)
    stamp = path.stem
    if not (stamp.isascii() and stamp.isdecimal() and len(stamp) <= MOST_STAMP_DIGITS):
        raise ConfigError(
            f'{one_line(annotations)}: file_name {shown(file_name)}: expected images that are '
            'called CAMERA/STAMP_NS.jpg'
        )
    return path.parent.name, int(stamp)


def print_table(report: Row) -> None:
    """Print the figures for reading."""
    print(f'{report["images"]} images of {report["data"]}')
    print(f'{"class":<14}{"AP50":>7}{"AP50-95":>9}{"labels":>8}')
    for name, row in report['per_class'].items():
        print(f'{name:<14}{_percent(row["ap50"])}{_percent(row["ap50_95"], 9)}{row["labels"]:>8}')
    print(f'{"all":<14}{_percent(report["map50"])}{_percent(report["map50_95"], 9)}')
    print(f'\n{"camera":<14}{"recall":>7}{"precision":>11}{"labels":>8}{"images":>8}')
    for name, row in report['cameras'].items():
        print(
            f'{name:<14}{_percent(row["recall"])}{_percent(row["precision"], 11)}'
            f'{row["labelled"]:>8}{row["images"]:>8}'
        )
    if report['by_distance']:
        print(f'\n{"distance":<14}{"recall":>7}{"labels":>8}')
    for row in report['by_distance']:
        end = f'to {row["to_m"]:g} m' if row['to_m'] else 'm and more'
        print(f'{row["from_m"]:g} {end:<11}{_percent(row["recall"])}{row["labelled"]:>8}')
    for sentence in report['left_out']:
        print(sentence)
    print('\nOnly what was published counts: record with a low model.score_threshold for full AP.')


def _percent(share: float | None, width: int = 7) -> str:
    return f'{"–" if share is None else f"{100 * share:.1f}":>{width}}'
