"""Draw the images that differ most, golden boxes beside found ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

from yolox_trt_ros.bags.reader import Bag
from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.errors import FrameError
from yolox_trt_ros.core.transports import TRANSPORTS
from yolox_trt_ros.detect.cpu.preprocess import bgr_image
from yolox_trt_ros.draw.boxes import Colour, corners, draw_tag, text_size
from yolox_trt_ros.draw.mosaic import fit_into
from yolox_trt_ros.image_files import write_image
from yolox_trt_ros.ros.input.codecs import Arrival
from yolox_trt_ros.ros.input.readers import new_reader
from yolox_trt_ros.testing.golden import Comparison, FrameDifference
from yolox_trt_ros.testing.results import ImageKey, ImageNumbers, Replayed

MOST_IMAGES = 6
TILE = (800, 534)
SAME: Colour = (170, 170, 170)
MISSING: Colour = (60, 200, 60)
EXTRA: Colour = (60, 60, 240)


def draw_comparison(comparison: Comparison, replayed: Replayed, file: Path) -> Path | None:
    """Write the picture and return its path; None where no image can be shown.

    Each row is one image: left the golden boxes, those without a partner green; right the found
    boxes, those without a partner red; what both have is grey.
    """
    worst = comparison.frames[:MOST_IMAGES]
    images = _images(replayed, worst)
    rows = [
        _row(f, images[f.camera, (f.stamp_ns, f.repeat)], comparison)
        for f in worst
        if (f.camera, (f.stamp_ns, f.repeat)) in images
    ]
    if not rows:
        return None
    write_image(file, np.vstack(rows))
    return file


def _row(f: FrameDifference, image: np.ndarray, comparison: Comparison) -> np.ndarray:
    labels = comparison.labels
    where = f.where
    halves = (
        _half(image, f.golden, f.missing, MISSING, f'{where}: golden, missing green', labels),
        _half(image, f.found, f.extra, EXTRA, f'{where}: found, extra red', labels),
    )
    return np.hstack(halves)


def _half(
    image: np.ndarray,
    golden_or_found: Detections | None,
    alone: tuple[int, ...],
    colour: Colour,
    title: str,
    labels: tuple[str, ...],
) -> np.ndarray:
    drawn = image.copy()
    size = text_size(drawn)
    boxes = Detections.empty() if golden_or_found is None else golden_or_found
    for i in range(len(boxes)):
        x1, y1, x2, y2 = corners(boxes.xyxy[i], drawn)
        chosen = colour if i in alone else SAME
        cv2.rectangle(drawn, (x1, y1), (x2, y2), chosen, max(1, round(3 * size)))
        name = labels[boxes.class_id[i]]
        draw_tag(drawn, f'{name} {boxes.score[i]:.2f}', (x1, y1), chosen, size)
    tile = np.zeros((TILE[1], TILE[0], 3), np.uint8)
    fitted = fit_into(drawn, TILE)
    tile[: fitted.shape[0], : fitted.shape[1]] = fitted
    message = title if golden_or_found is not None else f'{title}: no result'
    draw_tag(tile, message, (0, TILE[1]), (40, 40, 40), 0.6)
    return tile


def _images(
    replayed: Replayed, frames: tuple[FrameDifference, ...]
) -> Mapping[tuple[str, ImageKey], np.ndarray]:
    """Return images by camera and key; those that cannot be read are left out."""
    wanted = {(f.camera, (f.stamp_ns, f.repeat)) for f in frames}
    numbers = ImageNumbers()
    cameras = {topic: camera for camera, topic in replayed.topics.items()}
    found: dict[tuple[str, ImageKey], np.ndarray] = {}
    readers = {camera: new_reader(kind) for camera, kind in replayed.transports.items()}
    with Bag(replayed.bag) as bag:
        topics = [t for t in cameras if t in bag.topics and cameras[t] in {c for c, _ in wanted}]
        for message in bag.messages(topics):
            camera = cameras[message.topic]
            image = camera, numbers.add(camera, message.cdr)
            if image not in wanted and not TRANSPORTS[replayed.transports[camera]].stream:
                continue
            try:
                frame = readers[camera](message.cdr, Arrival(camera, 0, 0))
                if image in wanted:
                    found[image] = bgr_image(frame)
            except FrameError:
                continue  # its missing result is reported already
            if len(found) == len(wanted):
                break
    return found
