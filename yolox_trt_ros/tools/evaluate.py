"""Measure a model on rendered worlds or labelled images, or what a detector published.

The detector is the one the node runs. The JSON file holds "map50", "map50_95", the same by size
("map50_95_small", "_medium", "_large"), "per_class" (name: ap50, ap50_95, labels), and beside them
the model, the device, how many images were measured and the thresholds. "--min-height" leaves out
labels that are lower than this, as benchmarks of driving do (KITTI: from 25 or 40 pixels). Where it
is not given every label counts; the rendered worlds are labelled from 16 pixels on.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from yolox_trt_ros.cli import one_lane
from yolox_trt_ros.cli.bag_limits import add_bag_limits
from yolox_trt_ros.cli.numbers import number
from yolox_trt_ros.cli.one_lane import detector_of
from yolox_trt_ros.cli.options import refuse_unused
from yolox_trt_ros.core.class_names import matching
from yolox_trt_ros.core.errors import ConfigError, FrameError, did_you_mean
from yolox_trt_ros.core.output_files import write_whole
from yolox_trt_ros.core.printing import one_line
from yolox_trt_ros.detector import Detector
from yolox_trt_ros.evaluation import published
from yolox_trt_ros.evaluation.coco_file import read_coco
from yolox_trt_ros.evaluation.coco_metrics import Found, LabelledBoxes, average_precision
from yolox_trt_ros.evaluation.matching import numbering
from yolox_trt_ros.image_files import read_image

MAX_DETECTIONS = 100
"""Per image, as COCO's evaluation counts them."""

OF_MODEL = 'model worlds min_height device backend precision ranges score nms_iou antialias'
OF_RESULTS = 'vehicle detector truth truth_topic truth_labels'
"""Options, by what is evaluated."""

Sample = tuple[np.ndarray, LabelledBoxes]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument('--model', default='', help='ONNX file or packaged model (default: edge_n)')
    parser.add_argument('--labels', default='', help='text file, one class name a line')
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        '--world', choices=('val', 'test'), help='measure on rendered worlds of this split'
    )
    what.add_argument(
        '--coco',
        nargs=2,
        type=Path,
        metavar=('DIR', 'ANN.json'),
        help='measure on the images of a folder, with COCO labels',
    )
    what.add_argument(
        '--bag', type=Path, help='measure recorded detections against recorded ground truth'
    )
    what.add_argument(
        '--live', type=number(0), metavar='S', help='measure a running detector for S seconds'
    )
    parser.add_argument(
        '--worlds',
        type=number(1, 1e6, int),
        default=24,
        help='number of worlds, 16 images each (default: 24)',
    )
    parser.add_argument(
        '--min-height',
        type=number(0, 1e6),
        default=0.0,
        help='ignore labels lower than this, in pixels (default: 0)',
    )
    one_lane.add_arguments(parser)
    parser.add_argument(
        '--score', type=float, default=0.01, help='lowest score of a detection (default: 0.01)'
    )
    parser.add_argument(
        '--nms-iou',
        type=float,
        default=0.65,
        help='IoU above which NMS drops the weaker box (default: 0.65)',
    )
    parser.add_argument(
        '--antialias',
        action='store_true',
        help='average the pixels of images that shrink by more than two',
    )
    parser.add_argument('--json', type=Path, help='write the figures to this file as well')
    published.add_arguments(parser)
    add_bag_limits(parser)


def run(args: argparse.Namespace) -> int:
    """Run the tool and return its exit code."""
    of_results = args.bag or args.live is not None
    unused, where = (
        (OF_MODEL, '--world and --coco') if of_results else (OF_RESULTS, '--bag and --live')
    )
    refuse_unused(args, add_arguments, unused, where)
    if args.coco:
        refuse_unused(args, add_arguments, 'worlds', '--world')
    if of_results:
        return published.run(args)
    with detector_of(args, antialias=args.antialias, max_detections=MAX_DETECTIONS) as detector:
        if args.json:
            args.json.parent.mkdir(parents=True, exist_ok=True)  # before the work, not after it
        if args.world:
            classes, count, samples = world_samples(args.world, args.worlds)
        else:
            classes, count, samples = coco_samples(*args.coco)
        shared = shared_classes(detector.labels, classes)
        labels, (found,) = detect([detector], shared, classes, samples, count)
    labels = [one.ignoring_below(args.min_height) for one in labels]
    report: dict[str, Any] = {
        **average_precision(labels, found, shared),
        'model': detector.model.path.name,
        'device': args.device,
        'backend': args.backend,
        'images': len(labels),
        'score': args.score,
        'nms_iou': args.nms_iou,
        'antialias': args.antialias,
        'min_height': args.min_height,
        'data': f'world {args.world}' if args.world else args.coco[1].name,
    }
    print_table(report)
    if args.json:
        write_whole(args.json, json.dumps(report, indent=1) + '\n')
    return 0


def shared_classes(known: Sequence[str], classes: Sequence[str]) -> list[str]:
    """Return the labelled classes that a model knows; standard error names the others.

    Raises:
        ConfigError: there is none.
    """
    shared = [name for name in classes if matching(name, known) is not None]
    if not shared:
        raise ConfigError(
            f'the model knows {", ".join(known)}; none of these is labelled here: '
            f'{", ".join(classes)}'
        )
    for name in sorted(set(classes) - set(shared)):
        print(f'labels of class "{name}" are left out: the model does not know it', file=sys.stderr)
    return shared


def world_samples(split: str, worlds: int) -> tuple[list[str], int, Iterator[Sample]]:
    """Return class names, number of images and the images of rendered worlds with their labels.

    Raises:
        ConfigError: fewer than one world.
        MissingDependencyError: the renderer is not installed.
    """
    from yolox_trt_ros.sim.world.bodies import CLASSES
    from yolox_trt_ros.sim.world.dataset import PER_WORLD, render_world

    if worlds < 1:
        raise ConfigError(f'--worlds: expected at least 1, got {worlds}')

    def images() -> Iterator[Sample]:
        for index in range(worlds):
            for _, bgr, truth in render_world(split, index):
                yield bgr, LabelledBoxes(truth.xyxy, truth.class_id, truth.ignored)

    return list(CLASSES), worlds * PER_WORLD, images()


def coco_samples(folder: Path, annotations: Path) -> tuple[list[str], int, Iterator[Sample]]:
    """Return class names, number of images and the images of a COCO data set with their labels.

    Raises:
        ConfigError: the file is not COCO's format, or an image is missing.
    """
    names, labelled = read_coco(annotations)

    def images() -> Iterator[Sample]:
        for image in labelled:
            file = folder / image.file_name
            try:
                bgr = read_image(file)
            except FrameError as error:
                near = did_you_mean(file.name, (f.name for f in folder.glob(f'*{file.suffix}')))
                raise ConfigError(f'{one_line(file)}: {error}{near}') from error
            yield bgr, LabelledBoxes(image.xyxy, image.category, image.crowd)

    return names, len(labelled), images()


def detect(
    detectors: Sequence[Detector],
    shared: list[str],
    classes: list[str],
    samples: Iterator[Sample],
    count: int,
) -> tuple[list[LabelledBoxes], list[list[Found]]]:
    """Return each image's labels, and for each model what it finds; classes as in ``shared``.

    All models see the same images.
    """
    from rich.progress import track

    from yolox_trt_ros.cli.console import Console

    of_label = numbering(classes, shared)
    of_model = [numbering(detector.labels, shared) for detector in detectors]
    labels: list[LabelledBoxes] = []
    found: list[list[Found]] = [[] for _ in detectors]
    console = Console(stderr=True)
    for image, truth in track(samples, 'measuring', count, console=console, transient=True):
        ours = of_label[truth.class_id]
        kept = ours >= 0
        labels.append(LabelledBoxes(truth.xyxy[kept], ours[kept], truth.ignored[kept]))
        for detector, of_class, results in zip(detectors, of_model, found, strict=True):
            boxes = detector(image)
            theirs = of_class[boxes.class_id]
            known = theirs >= 0
            results.append((boxes.xyxy[known], boxes.score[known], theirs[known]))
    return labels, found


def print_table(report: dict[str, Any]) -> None:
    """Print the figures for reading."""

    def percent(value: float | None) -> str:
        return '     –' if value is None else f'{100 * value:6.1f}'

    bound = f', labels from {report["min_height"]:g} px' if report['min_height'] else ''
    print(f'{report["model"]} on {report["images"]} images of {report["data"]}{bound}')
    print(f'{"class":<14}{"AP50":>6} {"AP50-95":>8} {"labels":>7}')
    for name, row in report['per_class'].items():
        figures = f'{percent(row["ap50"])} {percent(row["ap50_95"]):>8}'
        print(f'{name:<14}{figures} {row["labels"]:>7}')
    print(f'{"all":<14}{percent(report["map50"])} {percent(report["map50_95"]):>8}')
    sizes = ', '.join(
        f'{size} {percent(report[f"map50_95_{size}"]).strip()}'
        for size in ('small', 'medium', 'large')
    )
    print(f'AP50-95 by size: {sizes}')
