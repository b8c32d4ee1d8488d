"""COCO average precision of a network in PyTorch on rendered worlds."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from training.data import HEIGHT, WIDTH, Pictures
from yolox_trt_ros.datasets.faults import Faults
from yolox_trt_ros.datasets.labelled import LabelledBoxes
from yolox_trt_ros.detector import Detector
from yolox_trt_ros.evaluation.coco_metrics import Found, average_precision
from yolox_trt_ros.evaluation.measure import (
    MAX_DETECTIONS,
    LabelledPictures,
    LabelledSample,
    measure,
)
from yolox_trt_ros.sim.world.bodies import CLASSES
from yolox_trt_ros.training.networks.edge import EdgeYolox
from yolox_trt_ros.training.networks.maps import decode

SCORE, NMS_IOU = 0.01, 0.65
LOWEST = (16, 20)
"""Visible heights, in pixels of the rendered picture, from which labels are asked for."""


@torch.no_grad()
def evaluate(
    network: EdgeYolox, folder: Path, device: str, split: str = 'val'
) -> dict[str, object]:
    """Return COCO metrics on a rendered split for each of :data:`LOWEST`."""
    size = network.design.height, network.design.width
    data = Pictures(folder, split, size, device)
    labels: list[LabelledBoxes] = []
    found: list[Found] = []
    scale = min(size[0] / HEIGHT, size[1] / WIDTH)
    for start in range(0, len(data), 32):
        picture, rows = data.plain(start, start + 32)
        with torch.autocast(device.split(':')[0], torch.bfloat16, enabled=device != 'cpu'):
            predicted = decode(network(picture))
        found.extend(suppress(one, scale) for one in predicted)
        for row in rows.cpu().numpy():
            row = row[row[:, 0] >= 0]
            labels.append(LabelledBoxes(row[:, 1:5], row[:, 0].astype(int), row[:, 5] > 0))
    return {
        f'from_{height}_px': average_precision(
            [one.ignoring_below(height) for one in labels], found, CLASSES
        )
        for height in LOWEST
    }


def suppress(predicted: Tensor, scale: float) -> Found:
    """Return one picture's detections in source pixels, after non-maximum suppression."""
    score = predicted[:, 4:5].sigmoid() * predicted[:, 5:].sigmoid()
    anchor, class_id = (score > SCORE).nonzero(as_tuple=True)
    kept = score[anchor, class_id]
    if len(kept) > 2000:
        kept, best = kept.topk(2000)
        anchor, class_id = anchor[best], class_id[best]
    box = predicted[anchor, :4]
    corner = torch.cat([box[:, :2] - box[:, 2:] / 2, box[:, 2:]], 1).cpu().numpy() / scale
    scores, ids = kept.cpu().numpy(), class_id.cpu().numpy()
    if not len(scores):
        return np.zeros((0, 4)), scores, ids
    keep = cv2.dnn.NMSBoxesBatched(corner.tolist(), scores.tolist(), ids.tolist(), SCORE, NMS_IOU)
    keep = np.asarray(keep, int).reshape(-1)[:100]
    corner[:, 2:] += corner[:, :2]
    return corner[keep], scores[keep], ids[keep]


def _samples(folder: Path, split: str) -> Iterator[LabelledSample]:
    images = np.load(folder / f'{split}_images.npy', mmap_mode='r')
    labels = np.load(folder / f'{split}_labels.npy')
    for k, (image, rows) in enumerate(zip(images, labels, strict=True)):
        rows = rows[rows[:, 0] >= 0]
        boxes = LabelledBoxes(rows[:, 1:5], rows[:, 0].astype(int), rows[:, 5] > 0)
        yield LabelledSample(f'{split} {k}', np.ascontiguousarray(image), boxes)


def main() -> None:
    """Measure ONNX files as the product runs them on the CPU, all on the same pictures."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument('models', nargs='+')
    parser.add_argument('--data', type=Path, required=True, help='folder of the rendered splits')
    parser.add_argument('--split', default='test')
    parser.add_argument('--json', type=Path, help='write the figures to this file as well')
    args = parser.parse_args()
    count = len(np.load(args.data / f'{args.split}_labels.npy', mmap_mode='r'))
    pictures = LabelledPictures(
        args.split, tuple(CLASSES), count, lambda: _samples(args.data, args.split), Faults()
    )
    detectors = [
        Detector(path, score_threshold=SCORE, nms_iou=NMS_IOU, max_detections=MAX_DETECTIONS)
        for path in args.models
    ]
    labels, found = measure(detectors, CLASSES, pictures)
    figures = {
        path: average_precision(labels, one, CLASSES)
        for path, one in zip(args.models, found, strict=True)
    }
    for path, one in figures.items():
        each = {name: f'{100 * row["ap50"]:.1f}' for name, row in one['per_class'].items()}
        print(f'{path}: mAP50 {100 * one["map50"]:.2f} / {100 * one["map50_95"]:.2f} {each}')
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1))


if __name__ == '__main__':
    main()
