"""Data sets of bright shapes, and settings that a CPU trains in seconds."""

import json
from pathlib import Path

import cv2
import numpy as np

CLASSES = ('square', 'disc')
SIZE = (64, 96)
TINY = {'channels': (8, 8, 16, 16, 16), 'depth': 1, 'head': 16}


def write_shapes(folder: Path, count: int = 16, seed: int = 0) -> Path:
    """Write pictures with a square and a disc each, with COCO labels; return the labels."""
    rng, (height, width) = np.random.default_rng(seed), SIZE
    images, annotations = [], []
    (folder / 'images').mkdir(parents=True)
    for k in range(count):
        picture = rng.integers(0, 60, (height, width, 3), np.uint8)
        images.append({'id': k, 'file_name': f'{k}.png', 'width': width, 'height': height})
        for kind in range(2):
            side = int(rng.integers(16, 36))
            x, y = int(rng.integers(0, width - side)), int(rng.integers(0, height - side))
            if kind:
                middle = (x + side // 2, y + side // 2)
                cv2.circle(picture, middle, side // 2, (40, 60, 240), cv2.FILLED)
            else:
                picture[y : y + side, x : x + side] = 230
            annotations.append(
                {'id': len(annotations), 'image_id': k, 'category_id': kind,
                 'bbox': [x, y, side, side], 'area': side * side, 'iscrowd': 0}
            )  # fmt: skip
        cv2.imwrite(str(folder / 'images' / f'{k}.png'), picture)
    categories = [{'id': k, 'name': name} for k, name in enumerate(CLASSES)]
    labels = folder / 'labels.json'
    labels.write_text(
        json.dumps({'images': images, 'annotations': annotations, 'categories': categories})
    )
    return labels
