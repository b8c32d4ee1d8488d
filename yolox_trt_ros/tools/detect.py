"""Detect objects in images and videos; write JSON and, on request, drawn copies.

The detector is the one the node runs. The JSON file holds
{"images": {name: {"height", "width", "detections": [[x1, y1, x2, y2, score, class_id], …]}}}
with boxes in pixels of the image as it is stored (a rotation in its EXIF data is ignored, as the
node ignores it in a camera's stream) and, beside it, the model, its labels and the thresholds.
A video's pictures are called drive.mp4/000000, drive.mp4/000001, …, and have their "stamp_ns", from
the first picture on. Videos need the extra [video]. Pictures of a model that gives class masks have
"segmentation": {"region": the part that they cover, "masks": {label: {"size", "counts"}}}, run
lengths as COCO has them; --draw lays the masks under the boxes.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

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
from yolox_trt_ros.core.run_length import coco_counts
from yolox_trt_ros.core.segmentation import Segmentation
from yolox_trt_ros.detect.cpu.decode import decode_compressed
from yolox_trt_ros.detect.cpu.preprocess import bgr_image
from yolox_trt_ros.detector import Detector
from yolox_trt_ros.draw.boxes import draw_detections
from yolox_trt_ros.draw.masks import draw_mask
from yolox_trt_ros.image_files import decode, image_bytes, write_image
from yolox_trt_ros.packaged_models import caution
from yolox_trt_ros.video.files import SUFFIXES as VIDEOS
from yolox_trt_ros.video.files import VideoFile


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument('--model', default='', help='ONNX file or packaged model (default: edge_n)')
    parser.add_argument('--labels', default='', help='text file, one class name a line')
    parser.add_argument(
        '--images',
        required=True,
        type=Path,
        help='folder of images and videos, or one of them',
    )
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
    files = image_files(args.images, VIDEOS)
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
            for picture, found in detected(files, detector):
                if isinstance(found, FrameError):
                    failures += 1
                    print(f'{one_line(picture.place)}: {found}', file=sys.stderr)
                    continue
                assert isinstance(picture.frame, Frame)
                images[one_line(picture.name)] = _about(picture, picture.frame, found)
                if args.draw:
                    write_image(args.draw / picture.copy, _drawn(picture.frame, found))
        except BaseException:  # interrupted, or a full disk: what was found so far is not lost
            if images:
                write_json(args, detector, images)
            raise
    write_json(args, detector, images)
    return 1 if failures else 0


def _drawn(frame: Frame, found: Detections) -> np.ndarray:
    """Return a copy of a picture with what was found in it, boxes above the class mask."""
    picture = bgr_image(frame)
    if found.segmentation:
        picture = picture.copy()
        draw_mask(picture, found.segmentation)
    return draw_detections(picture, found, found.labels)


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


class Picture(NamedTuple):
    """One picture of a source.

    Attributes:
        place: the file, and of a video which picture of it, for people.
        name: its key in the results.
        copy: where its drawn copy goes, below the folder for them.
        frame: its pixels, or why there are none.
        timed: whether the frame's stamp is a time in a video.
    """

    place: Path
    name: str
    copy: Path
    frame: Frame | FrameError
    timed: bool = False


def detected(
    files: list[Path], detect: Detector
) -> Iterator[tuple[Picture, Detections | FrameError]]:
    """Yield each picture of the files and what was found in it, showing progress."""
    from rich.progress import track

    from yolox_trt_ros.cli.console import Console

    videos = {file: VideoFile(file) for file in files if file.suffix.lower() in VIDEOS}
    total = sum(videos[file].count if file in videos else 1 for file in files)
    pictures = (picture for file in files for picture in _pictures(file, videos.get(file)))
    for picture in track(
        pictures, 'detecting', total=total or None, console=Console(stderr=True), transient=True
    ):
        try:
            if isinstance(picture.frame, FrameError):
                raise picture.frame
            yield picture, detect(picture.frame)
        except FrameError as error:
            yield picture, error


def _pictures(file: Path, video: VideoFile | None) -> Iterator[Picture]:
    if video is None:
        try:
            frame: Frame | FrameError = Frame.of(read_file(file))
        except FrameError as error:
            frame = error
        yield Picture(file, file.name, Path(file.name), frame)
        return
    for i, frame in enumerate(video.frames()):
        name = f'{file.name}/{i:06d}'
        place = file.parent / name
        yield Picture(place, name, Path(f'{name}.jpg'), frame, timed=True)


def _about(picture: Picture, frame: Frame, found: Detections) -> dict[str, object]:
    """Return what the JSON file says of one picture."""
    about: dict[str, object] = {'height': frame.height, 'width': frame.width}
    if picture.timed:
        about['stamp_ns'] = frame.stamp_ns
    if found.segmentation:
        about['segmentation'] = as_coco(found.segmentation)
    return about | {'detections': as_rows(found)}


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


def as_coco(mask: Segmentation) -> dict[str, object]:
    """Return a class mask as COCO's uncompressed run lengths, one for each class that is there."""
    size = list(mask.class_id.shape)
    masks = {
        mask.label(number): {'size': size, 'counts': coco_counts(mask.class_id == number)}
        for number in np.unique(mask.class_id).tolist()
    }
    return {'region': list(mask.region), 'masks': masks}


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
