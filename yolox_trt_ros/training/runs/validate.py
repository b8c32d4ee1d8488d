"""COCO's average precision of a network in PyTorch, shared between the ranks of a run."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from yolox_trt_ros.evaluation.coco_metrics import Found, average_precision
from yolox_trt_ros.evaluation.measure import MAX_DETECTIONS
from yolox_trt_ros.training.learning.assign import corners
from yolox_trt_ros.training.learning.precision import Precision
from yolox_trt_ros.training.networks.maps import decode
from yolox_trt_ros.training.pictures.rows import LetterboxedPictures, stacked
from yolox_trt_ros.training.runs.ranks import Ranks

SCORE, NMS_IOU, CANDIDATES = 0.01, 0.65, 2000
"""As ``evaluate`` uses them; of the candidates only so many go into suppression."""
BATCH = 16


@torch.no_grad()
def validate(
    network: nn.Module,
    pictures: LetterboxedPictures,
    ranks: Ranks,
    precision: Precision,
    workers: int,
) -> dict[str, Any]:
    """Return COCO's metrics, the same on all ranks; see :func:`evaluation.coco_metrics`.

    Args:
        network: in evaluation mode.
        pictures: labelled.
        ranks: each detects in its share.
        precision: of the network.
        workers: processes that read.
    """
    mine = Subset(pictures, list(ranks.share(len(pictures))))
    loader = DataLoader(mine, BATCH, num_workers=workers, collate_fn=stacked)
    found: list[Found] = []
    for images, _, seen in loader:
        picture = images.to(ranks.device).permute(0, 3, 1, 2).float()
        with precision.forward():
            predicted = decode(network(picture))
        for one, scale in zip(predicted, seen[:, 2].tolist(), strict=True):
            found.append(suppressed(one, scale))
    every = ranks.gathered(found)
    return average_precision(pictures.labels, every, pictures.classes)


def suppressed(predicted: Tensor, scale: float) -> Found:
    """Return one picture's detections in source pixels, after non-maximum suppression.

    Args:
        predicted: (anchors, 5 + classes), boxes decoded to input pixels, logits.
        scale: input pixels of a pixel of the picture.
    """
    score = predicted[:, 4:5].sigmoid() * predicted[:, 5:].sigmoid()
    anchor, class_id = (score > SCORE).nonzero(as_tuple=True)
    kept = score[anchor, class_id]
    if len(kept) > CANDIDATES:
        kept, best = kept.topk(CANDIDATES)
        anchor, class_id = anchor[best], class_id[best]
    xyxy = corners(predicted[anchor, :4]).cpu().numpy() / scale
    scores, ids = kept.cpu().numpy(), class_id.cpu().numpy()
    if not len(scores):
        return np.zeros((0, 4)), scores, ids
    boxes = np.concatenate([xyxy[:, :2], xyxy[:, 2:] - xyxy[:, :2]], 1)
    rows = cv2.dnn.NMSBoxesBatched(boxes.tolist(), scores.tolist(), ids.tolist(), SCORE, NMS_IOU)
    keep = np.asarray(rows, int).reshape(-1)[:MAX_DETECTIONS]
    return xyxy[keep], scores[keep], ids[keep]
