"""Measure a model on labelled pictures or rendered worlds, or what a detector published.

The detector is the one the node runs. Figures are COCO's; those of the table are its AP50 and
AP50-95, and all twelve numbers are in the JSON file under "coco". It also has "map50", "map50_95",
the same by size ("map50_95_small", "_medium", "_large"), "per_class" (name: ap50, ap50_95, labels),
"confusion" (matrix, recall by height and by distance), and "faults": what was wrong with the
data, by kind. Of a model that gives class masks, and the rendered worlds, it has "masks" (miou,
pixel_accuracy, per_class, counts of pixels by true and predicted class). "--output" writes the
confusion matrix, the curves and a sheet of the worst mistakes.
"--min-height" leaves out labels that are lower than this, as benchmarks of driving do (KITTI: from
25 or 40 pixels). Where it is not given every label counts; the rendered worlds are labelled from 16
pixels on.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from yolox_trt_ros.cli import labelled, one_lane
from yolox_trt_ros.cli.bag_limits import add_bag_limits
from yolox_trt_ros.cli.class_options import CLASS_OPTIONS, add_class_options, class_options
from yolox_trt_ros.cli.numbers import number
from yolox_trt_ros.cli.one_lane import detector_of
from yolox_trt_ros.cli.options import refuse_unused
from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.output_files import write_whole
from yolox_trt_ros.evaluation import published
from yolox_trt_ros.evaluation.coco_metrics import average_precision
from yolox_trt_ros.evaluation.confusion import confusion
from yolox_trt_ros.evaluation.mask_metrics import MaskScore
from yolox_trt_ros.evaluation.matching import renamed
from yolox_trt_ros.evaluation.measure import (
    MAX_DETECTIONS,
    LabelledPictures,
    measure,
    pictures_of,
    shared_classes,
    world_pictures,
)
from yolox_trt_ros.evaluation.misses import WorstMisses
from yolox_trt_ros.image_files import write_image
from yolox_trt_ros.loaded_model import Model

OF_MODEL = (
    'model worlds min_height device backend precision ranges score nms_iou antialias crops counted '
    f'output format names part classes {CLASS_OPTIONS}'
)
OF_RESULTS = 'vehicle detector truth truth_topic truth_labels'
"""Options, by what is evaluated."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument('--model', default='', help='ONNX file or packaged model (default: edge_n)')
    parser.add_argument('--labels', default='', help='text file, one class name a line')
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        '--world', choices=('val', 'test'), help='measure on rendered worlds of this split'
    )
    labelled.add_data_arguments(what)
    what.add_argument(
        '--bag', type=Path, help='measure recorded detections against recorded ground truth'
    )
    what.add_argument(
        '--live', type=number(0), metavar='S', help='measure a running detector for S seconds'
    )
    _add_model_arguments(parser)
    parser.add_argument('--json', type=Path, help='write the figures to this file as well')
    parser.add_argument(
        '--output',
        type=Path,
        metavar='DIR',
        help='write confusion.png, recall.png and misses.jpg into this folder',
    )
    published.add_arguments(parser)
    add_bag_limits(parser)


def _add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what is for --data and --world only."""
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
    labelled.add_reading_arguments(parser)
    add_class_options(parser)
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
    parser.add_argument(
        '--crops',
        nargs='+',
        default=[],
        metavar='PART',
        help='parts of every picture that are seen besides the whole, such as 960x608, '
        '960x608+480+300 or 960x608@50%%,45%%',
    )
    parser.add_argument(
        '--counted',
        type=number(0, 1),
        default=0.3,
        help='score from which detections count in the confusion matrix, the curves and the sheet '
        '(default: 0.3)',
    )


def run(args: argparse.Namespace) -> int:
    """Run the tool and return its exit code."""
    of_results = args.bag or args.live is not None
    unused, where = (
        (OF_MODEL, '--world and --data') if of_results else (OF_RESULTS, '--bag and --live')
    )
    refuse_unused(args, add_arguments, unused, where)
    if of_results:
        return published.run(args)
    of_other, where = (labelled.OF_DATA, '--data') if args.world else ('worlds', '--world')
    refuse_unused(args, add_arguments, of_other, where)
    for folder in (args.json and args.json.parent, args.output):
        if folder:
            folder.mkdir(parents=True, exist_ok=True)  # before the work, not after it
    options = {
        'antialias': args.antialias,
        'max_detections': MAX_DETECTIONS,
        'crops': args.crops,
        **class_options(args),
    }
    with detector_of(args, **options) as detector:
        model, pictures = detector.model, chosen(args)
        classes = tuple(renamed(pictures.classes, model.spec.labels, model.rules))
        pictures = replace(pictures, classes=classes)
        shared = shared_classes([*filter(None, model.rules.names)], pictures)
        worst = WorstMisses(shared, args.counted)

        def watch(sample: Any, truth: Any, found: Any) -> None:
            worst.add(sample.name, sample.bgr, truth.ignoring_below(args.min_height), found)

        masks = mask_score(model, pictures)
        watching = watch if args.output else None
        labels, (found,) = measure([detector], shared, pictures, watching, masks)
    labels = [one.ignoring_below(args.min_height) for one in labels]
    report: dict[str, Any] = {
        **average_precision(labels, found, shared),
        'confusion': confusion(labels, found, shared, args.counted),
        'model': detector.model.path.name,
        'device': args.device,
        'backend': args.backend,
        'runs': detector.about,
        'images': len(labels),
        'score': args.score,
        'nms_iou': args.nms_iou,
        'antialias': args.antialias,
        'crops': args.crops,
        'min_height': args.min_height,
        'data': pictures.name,
        'faults': pictures.faults.to_json(),
    }
    if masks:
        report['masks'] = masks.figures()
    print_table(report)
    labelled.print_faults(pictures.faults)
    if args.json:
        write_whole(args.json, json.dumps(report, indent=1) + '\n')
    if args.output:
        write_figures(args.output, report['confusion'], worst)
    return 0


def chosen(args: argparse.Namespace) -> LabelledPictures:
    """Return the pictures that the command line names."""
    if args.world:
        return world_pictures(args.world, args.worlds)
    given = args.data or [args.coco[1], args.coco[0]]
    return pictures_of(labelled.data_of(args, given))


def mask_score(model: Model, pictures: LabelledPictures) -> MaskScore | None:
    """Return what counts the pixels of a model's masks; None: there is nothing to compare."""
    if model.spec.segmentation is None or not pictures.mask_classes:
        return None
    try:
        return MaskScore(pictures.mask_classes, model.spec.segmentation.labels)
    except ConfigError as error:
        print(f'masks are left out: {error}', file=sys.stderr)
        return None


def write_figures(folder: Path, figures: dict[str, Any], worst: WorstMisses) -> None:
    """Write the pictures of an evaluation into a folder."""
    from yolox_trt_ros.evaluation.figures import confusion_png, curves_png

    write_whole(folder / 'confusion.png', confusion_png(figures))
    write_whole(folder / 'recall.png', curves_png(figures))
    write_image(folder / 'misses.jpg', worst.sheet())
    print(f'confusion.png, recall.png and misses.jpg written to {folder}')


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
    if distances := [row for row in report['confusion']['by_distance'] if row['labels']]:
        print(f'{"distance":<14}{"recall":>6} {"labels":>16}')
    for row in distances:
        span = (
            f'{row["from_m"]:g} m and more'
            if row['to_m'] is None
            else (f'{row["from_m"]:g} to {row["to_m"]:g} m')
        )
        print(f'{span:<14}{percent(row["recall"])} {row["labels"]:>16}')
    if masks := report.get('masks'):
        print(f'{"masks":<14}{"IoU":>6} {"pixels":>12}')
        for name, row in masks['per_class'].items():
            print(f'{name:<14}{percent(row["iou"])} {row["pixels"]:>12}')
        right = percent(masks['pixel_accuracy']).strip()
        print(f'{"mean":<14}{percent(masks["miou"])}, pixels that are right: {right}')
