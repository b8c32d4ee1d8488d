"""A small data set in memory and on disk, for the tests of all formats."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from yolox_trt_ros.datasets.formats import FORMATS
from yolox_trt_ros.datasets.labelled import LabelledBoxes, LabelledData, LabelledImage
from yolox_trt_ros.image_files import write_image

CLASSES = ('car', 'traffic light')
LABELS = {
    'coco': 'val.json', 'bdd100k': 'val.json', 'voc': 'Annotations', 'darknet': 'val.txt',
}  # fmt: skip
"""What names the data set that a format wrote."""


def small_data(folder: Path, pictures: int = 3) -> LabelledData:
    """Return a data set whose pictures are written into ``folder``; the last one has no objects."""
    images = []
    for k in range(pictures):
        rng = np.random.default_rng(k)
        file = folder / f'p{k}.png'
        write_image(
            file, np.kron(rng.integers(0, 255, (12, 16, 3)), np.ones((8, 8, 1))).astype('u1')
        )
        boxes = LabelledBoxes(
            np.array([[1, 2, 41.5, 60], [0, 0, 128, 96]]),
            np.array([1, 0]),
            np.array([False, k == 1]),
            None,
            np.array([12.5, np.nan]),
        )
        none = np.zeros(2, bool)
        of = boxes[none] if k == pictures - 1 else boxes
        images.append(LabelledImage(file.name, file, 128, 96, of))
    return LabelledData('small', 'coco', CLASSES, images)


def written(kind: str, folder: Path) -> Path:
    """Write the small data set in a format, and return what names it."""
    data = small_data(folder / FORMATS[kind].pictures)
    FORMATS[kind].write(data, folder, 'val')
    return folder / LABELS[kind]
