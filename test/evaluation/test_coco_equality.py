"""COCO's twelve numbers are pycocotools' own, from the same files."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest

from yolox_trt_ros.datasets.formats import read_labelled
from yolox_trt_ros.evaluation.coco_metrics import TWELVE, Found, average_precision

CLASSES = ('car', 'bus', 'person')


def write_coco(file: Path, seed: int) -> None:
    """Write random COCO labels: crowds, areas of outlines, ignore flags, images without objects."""
    rng = np.random.default_rng(seed)
    annotations = []
    for image in range(40):
        for _ in range(int(rng.integers(0, 9))):
            w, h = (rng.uniform(0, 1, 2) ** 3 * 220 + 1).round(2).tolist()
            x, y = rng.uniform(0, 400, 2).round(2).tolist()
            annotations.append(
                {
                    'id': len(annotations) + 1,
                    'image_id': image * 7,
                    'category_id': int(rng.integers(0, 3)) * 5 + 1,
                    'bbox': [x, y, w, h],
                    'area': round(w * h * rng.uniform(0.3, 1), 3),
                    'iscrowd': int(rng.random() < 0.15),
                    'ignore': int(rng.random() < 0.1),
                }
            )
    content = {
        'images': [
            {'id': k * 7, 'file_name': f'{k}.jpg', 'width': 640, 'height': 640} for k in range(40)
        ],
        'categories': [{'id': k * 5 + 1, 'name': name} for k, name in enumerate(CLASSES)],
        'annotations': annotations,
    }
    file.write_text(json.dumps(content))


def detections(file: Path, seed: int) -> list[Found]:
    """Return boxes near the labels, more than count for one image, with equal scores."""
    rng = np.random.default_rng(seed + 1)
    found = []
    for image in read_labelled(file).images:
        count = int(rng.integers(0, 130)) if len(image.boxes) else int(rng.integers(0, 3))
        near = rng.integers(0, max(1, len(image.boxes)), count)
        base = image.boxes.xyxy[near] if len(image.boxes) else rng.uniform(0, 90, (count, 4))
        xyxy = (base + rng.normal(0, 5, (count, 4))).astype(np.float32)
        xyxy[:, 2:] = np.maximum(xyxy[:, 2:], xyxy[:, :2] + 1)
        score = rng.random(count).round(1 + seed % 3).astype(np.float32)
        found.append((xyxy, score, rng.integers(0, 3, count)))
    return found


@pytest.mark.parametrize('seed', range(4))
def test_all_twelve_are_those_of_pycocotools(seed: int, tmp_path: Path) -> None:
    coco = pytest.importorskip('pycocotools.coco', reason='pip install pycocotools')
    cocoeval = pytest.importorskip('pycocotools.cocoeval')
    file = tmp_path / 'labels.json'
    write_coco(file, seed)
    data, found = read_labelled(file), detections(file, seed)
    rows = [
        {
            'image_id': image * 7,
            'category_id': int(c) * 5 + 1,
            'bbox': [float(v) for v in (b[0], b[1], b[2] - b[0], b[3] - b[1])],
            'score': float(s),
        }
        for image, (xyxy, score, class_id) in enumerate(found)
        for b, s, c in zip(xyxy, score, class_id, strict=True)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco.COCO(str(file))
        run = cocoeval.COCOeval(truth, truth.loadRes(rows), 'bbox')
        run.evaluate()
        run.accumulate()
        run.summarize()
    ours = average_precision([image.boxes for image in data.images], found, data.classes)['coco']
    assert tuple(ours) == TWELVE
    np.testing.assert_allclose(list(ours.values()), run.stats, atol=1e-9)
    assert len(set(np.round(run.stats, 6))) > 8, 'figures that are alike show little'
