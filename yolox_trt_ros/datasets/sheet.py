"""A sheet of samples with their boxes."""

from __future__ import annotations

import math

import cv2
import numpy as np

from yolox_trt_ros.core.errors import ConfigError, FrameError
from yolox_trt_ros.datasets.faults import Faults
from yolox_trt_ros.datasets.labelled import LabelledData, LabelledImage
from yolox_trt_ros.datasets.places import add_unreadable
from yolox_trt_ros.draw.boxes import Colour, class_colour, corners, draw_tag
from yolox_trt_ros.draw.mosaic import fit_into
from yolox_trt_ros.image_files import read_image

TILE = (400, 300)
PAPER: Colour = (28, 28, 28)
GREY: Colour = (160, 160, 160)


def samples_sheet(data: LabelledData, count: int, seed: int) -> tuple[np.ndarray, Faults]:
    """Return a sheet of pictures chosen at random, and which of them cannot be read.

    Ignored boxes are grey.

    Args:
        data: whose.
        count: pictures at most.
        seed: another one chooses others.

    Returns:
        uint8 (height, width, 3) BGR.

    Raises:
        ConfigError: not one picture can be read.
    """
    order = np.random.default_rng(seed).permutation(len(data.images))
    tiles: list[np.ndarray] = []
    faults = Faults()
    for index in order:
        if len(tiles) == count:
            break
        image = data.images[index]
        try:
            tiles.append(_tile(image, read_image(image.file), data.classes))
        except FrameError as error:
            add_unreadable(faults, image.file, error)
    if not tiles:
        raise ConfigError(f'{data.name}: no picture can be read: {"; ".join(faults.sentences())}')
    columns = math.ceil(math.sqrt(len(tiles)))
    rows = math.ceil(len(tiles) / columns)
    sheet = np.full((rows * TILE[1], columns * TILE[0], 3), PAPER, np.uint8)
    for i, tile in enumerate(tiles):
        y, x = i // columns * TILE[1], i % columns * TILE[0]
        sheet[y : y + TILE[1], x : x + TILE[0]] = tile
    return sheet, faults


def _tile(image: LabelledImage, bgr: np.ndarray, classes: tuple[str, ...]) -> np.ndarray:
    seen = fit_into(bgr, TILE)
    seen = seen.copy() if seen is bgr else seen
    scale = seen.shape[1] / bgr.shape[1]
    boxes = image.boxes
    for box, class_id, ignored in zip(boxes.xyxy, boxes.class_id, boxes.ignored, strict=True):
        x0, y0, x1, y1 = corners(box * scale, seen)
        colour = GREY if ignored else class_colour(int(class_id))
        cv2.rectangle(seen, (x0, y0), (x1, y1), colour, 1, cv2.LINE_AA)
        draw_tag(seen, classes[class_id], (x0, y0), colour, 0.35)
    tile = np.full((TILE[1], TILE[0], 3), PAPER, np.uint8)
    tile[: seen.shape[0], : seen.shape[1]] = seen
    draw_tag(tile, image.name, (0, TILE[1]), PAPER, 0.38)
    return tile
