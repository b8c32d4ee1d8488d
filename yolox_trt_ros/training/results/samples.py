"""Pictures with what a trained model finds in them, on one sheet."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from yolox_trt_ros.datasets.labelled import LabelledData
from yolox_trt_ros.datasets.sheet import PAPER, TILE
from yolox_trt_ros.detector import Detector
from yolox_trt_ros.draw.boxes import draw_detections
from yolox_trt_ros.draw.mosaic import fit_into
from yolox_trt_ros.image_files import read_image, write_image

COUNT, SCORE = 12, 0.3


def write_samples(model: Path, data: LabelledData, output: Path) -> None:
    """Write a sheet of pictures, spread over a data set, with the detections of a model.

    Args:
        model: ONNX file; runs as the node runs it on the CPU.
        data: whose pictures.
        output: .jpg or .png.
    """
    count = min(COUNT, len(data.images))
    columns = math.ceil(math.sqrt(count))
    sheet = np.full((math.ceil(count / columns) * TILE[1], columns * TILE[0], 3), PAPER, np.uint8)
    with Detector(model, score_threshold=SCORE) as detector:
        for place, k in enumerate(np.linspace(0, len(data.images) - 1, count).round().astype(int)):
            bgr = read_image(data.images[k].file)
            seen = fit_into(draw_detections(bgr, detector(bgr), detector.labels), TILE)
            y, x = place // columns * TILE[1], place % columns * TILE[0]
            sheet[y : y + seen.shape[0], x : x + seen.shape[1]] = seen
    write_image(output, sheet)
