"""COCO average precision of a network in PyTorch on the rendered validation worlds."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from training.data import HEIGHT, WIDTH, Pictures
from training.network import EdgeYolox, decode
from yolox_trt_ros.datasets.labelled import LabelledBoxes
from yolox_trt_ros.evaluation.coco_metrics import Found, average_precision
from yolox_trt_ros.sim.world.bodies import CLASSES

SCORE, NMS_IOU = 0.01, 0.65
LOWEST = (16, 20)
"""Visible heights, in pixels of the rendered picture, from which labels are asked for."""


@torch.no_grad()
def evaluate(network: EdgeYolox, folder: Path, device: str) -> dict[str, object]:
    """Return COCO metrics on the validation split for each of :data:`LOWEST`."""
    size = network.design.height, network.design.width
    data = Pictures(folder, 'val', size, device)
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
