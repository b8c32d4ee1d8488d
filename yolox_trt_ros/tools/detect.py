"""Detect objects in a folder of images; write JSON and, on request, drawn copies.

The detector is the one the node runs. The JSON file holds
{"images": {name: {"height", "width", "detections": [[x1, y1, x2, y2, score, class_id], …]}}}
with boxes in pixels of the image as it is stored (a rotation in its EXIF data is ignored, as the
node ignores it in a camera's stream) and, beside it, the model, its labels and the thresholds.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from yolox_trt_ros.cli import one_lane
from yolox_trt_ros.cli.class_options import add_class_options, class_options
from yolox_trt_ros.cli.one_lane import detector_of
from yolox_trt_ros.cli.pictures import image_files
from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.errors import ConfigError, FrameError
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.output_files import write_whole
from yolox_trt_ros.core.printing import one_line
from yolox_trt_ros.detect.cpu.decode import decode_compressed
from yolox_trt_ros.detector import Detector
from yolox_trt_ros.draw.boxes import draw_detections
from yolox_trt_ros.image_files import decode, image_bytes, write_image
from yolox_trt_ros.packaged_models import caution


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument('--model', default='', help='ONNX file or packaged model (default: edge_n)')
    parser.add_argument('--labels', default='', help='text file, one class name a line')
    parser.add_argument('--images', required=True, type=Path, help='folder of images, or one image')
    parser.add_argument(
        '--score', type=float, default=0.3, help='lowest score of a detection (default: 0.3)'
    )
    parser.add_argument(
        '--nms-iou',
        type=float,
        default=0.45,
        help='IoU above which NMS drops the weaker box (default: 0.45)',
    )
    parser.add_argument(
        '--class-agnostic',
        action='store_true',
        help='let boxes of different classes suppress each other',
    )
    parser.add_argument(
        '--json', type=Path, help='write the results to this file (default: standard output)'
    )
    parser.add_argument(
        '--draw', type=Path, help='write copies with the boxes drawn into this folder'
    )
    add_class_options(parser)
    one_lane.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Run the tool; 1 if an image could not be read, 0 otherwise."""
    files = image_files(args.images)
    _keep_sources(files, args.draw)
    images: dict[str, object] = {}
    failures = 0
    options = class_options(args)
    with detector_of(args, class_agnostic=args.class_agnostic, **options) as detector:
        if said := caution(detector.model.path):
            print(f'Note: {said}.', file=sys.stderr)
        for folder in filter(None, (args.draw, args.json and args.json.parent)):
            folder.mkdir(parents=True, exist_ok=True)  # before the work, not after it
        try:
            for file, image, found in detect_files(files, detector):
                if isinstance(found, FrameError):
                    failures += 1
                    print(f'{one_line(file)}: {found}', file=sys.stderr)
                    continue
                height, width = image.shape[:2]
                rows = as_rows(found)
                about = {'height': height, 'width': width, 'detections': rows}
                images[one_line(file.name)] = about
                if args.draw:
                    drawn = draw_detections(image, found, found.labels)
                    write_image(args.draw / file.name, drawn)
        except BaseException:  # interrupted, or a full disk: what was found so far is not lost
            if images:
                write_json(args, detector, images)
            raise
    write_json(args, detector, images)
    return 1 if failures else 0


def _keep_sources(files: list[Path], draw: Path | None) -> None:
    """See that no drawn copy takes the place of an image.

    Raises:
        ConfigError: one would.
    """
    for file in files if draw else ():
        copy = draw / file.name if draw else file
        if copy.exists() and copy.samefile(file):
            raise ConfigError(
                f'--draw {one_line(draw)}: the drawn copy would overwrite {one_line(file)}: choose '
                'another folder'
            )


def detect_files(
    files: list[Path], detect: Detector
) -> Iterator[tuple[Path, np.ndarray, Detections | FrameError]]:
    """Yield each file with its pixels (BGR) and what was found in it, showing progress."""
    from rich.progress import track

    from yolox_trt_ros.cli.console import Console

    for file in track(files, 'detecting', console=Console(stderr=True), transient=True):
        image = np.empty((0, 0, 3), np.uint8)
        try:
            image = read_file(file)
            yield file, image, detect(image)
        except FrameError as error:
            yield file, image, error


def read_file(file: Path) -> np.ndarray:
    """Return an image file's pixels, uint8 (height, width, 3) BGR.

    Raises:
        FrameError: ``undecodable``: damaged, or a JPEG that was cut, which the node refuses too.
    """
    data = image_bytes(file)
    if data[:2].tobytes() != b'\xff\xd8':
        return decode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    return decode_compressed(Frame.of(data, 'jpeg'))


def as_rows(found: Detections) -> list[list[float]]:
    """Return [x1, y1, x2, y2, score, class_id] per detection, rounded to what is meant."""
    return [
        [*(round(float(v), 3) for v in box), round(float(score), 5), int(class_id)]
        for box, score, class_id in zip(found.xyxy, found.score, found.class_id, strict=True)
    ]


def write_json(args: argparse.Namespace, detector: Detector, images: dict[str, object]) -> None:
    """Write the results where they were asked for."""
    report = {
        'model': detector.model.path.name,
        'labels': list(detector.labels),
        'score': args.score,
        'nms_iou': args.nms_iou,
        'class_agnostic': args.class_agnostic,
        'only': args.only,
        'class_map': args.class_map,
        'class_scores': args.class_scores,
        'images': images,
    }
    text = json.dumps(report, indent=1)
    if args.json:
        write_whole(args.json, text + '\n')
        print(f'{len(images)} images: {one_line(args.json)}')
    else:
        print(text)
