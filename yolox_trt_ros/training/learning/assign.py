"""SimOTA, YOLOX's label assignment, for a whole batch in tensors of fixed shape.

arXiv:2107.08430, section 2.1, and ``get_assignments`` of Megvii's head, which goes picture by
picture and waits for the GPU at each. Here nothing depends on the data but values, so that a GPU
never waits, and a CUDA graph can hold it. The tests compare with pixeltable-yolox (Apache-2.0).
"""

from __future__ import annotations

import torch
import torch.nn.functional as nnf
from torch import Tensor

from yolox_trt_ros.training.networks.maps import anchors

RADIUS = 1.5
"""Strides around a box's centre within which anchors may learn it."""
CANDIDATES = 10
"""Overlaps of the best anchors whose sum says how many anchors a label gets."""
IOU_WEIGHT, FAR = 3.0, 1e6
FORBIDDEN = 1e12


class Assigner:
    """Says which label each anchor learns.

    Args:
        size: (height, width) of the network's input.
        device: of the tensors.
    """

    def __init__(self, size: tuple[int, int], device: str) -> None:
        cell, stride = (x.to(device) for x in anchors(size))
        self._centre = (cell + 0.5) * stride[:, None]
        self._reach = RADIUS * stride

    @torch.no_grad()
    def __call__(self, predicted: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the label that each anchor learns, int64 (b, anchors), −1: none; and its overlap.

        Args:
            predicted: (b, anchors, 5 + classes), boxes decoded to input pixels, logits.
            labels: (b, n, 6): class (−1: none), left, top, right, bottom, ignored.
        """
        predicted = predicted.detach().float()
        asked = (labels[..., 0] >= 0) & (labels[..., 5] == 0)
        near = self._near(labels) & asked[..., None]
        candidate = near.any(1, keepdim=True) & asked[..., None]  # (b, n, anchors)
        overlap = box_iou(labels[..., 1:5], corners(predicted[..., :4])) * candidate
        cost = self._class_cost(predicted, labels[..., 0].long().clamp(min=0))
        cost = cost - IOU_WEIGHT * torch.log(overlap + 1e-8) + FAR * ~near
        cost = cost.masked_fill(~candidate, FORBIDDEN)
        chosen = _cheapest(cost, overlap) & candidate
        # An anchor that several labels have chosen learns the one that it costs least of all.
        several = chosen.sum(1) > 1
        least = nnf.one_hot(cost.argmin(1), cost.shape[1]).transpose(1, 2).bool()
        chosen = torch.where(several[:, None], least, chosen)
        label_of = torch.where(chosen.any(1), chosen.int().argmax(1), -1)
        shared = overlap.gather(1, label_of.clamp(min=0)[:, None])[:, 0]
        return label_of, shared * (label_of >= 0)

    def _near(self, labels: Tensor) -> Tensor:
        """Return bool (b, n, anchors): the anchor lies near the centre of the label's box."""
        middle = (labels[..., 1:3] + labels[..., 3:5]) / 2
        away = (self._centre - middle[:, :, None]).abs().amax(-1)
        return away < self._reach

    @staticmethod
    def _class_cost(predicted: Tensor, class_id: Tensor) -> Tensor:
        """Return the binary cross-entropy of each label's class, (b, n, anchors)."""
        score = (predicted[..., 5:].sigmoid() * predicted[..., 4:5].sigmoid()).sqrt()
        # As PyTorch's binary cross-entropy, logarithms end at −100.
        no, yes = torch.log1p(-score).clamp(min=-100), score.log().clamp(min=-100)
        pick = class_id[..., None].expand(-1, -1, score.shape[1])
        own = (no - yes).transpose(1, 2).gather(1, pick)
        return own - no.sum(-1)[:, None]


def _cheapest(cost: Tensor, overlap: Tensor) -> Tensor:
    """Return bool (b, n, anchors): for each label as many cheapest anchors as its overlaps say."""
    most = min(CANDIDATES, cost.shape[2])
    count = overlap.topk(most, 2).values.sum(2).int().clamp(min=1)
    index = cost.topk(most, 2, largest=False).indices
    wanted = torch.arange(most, device=cost.device) < count[..., None]
    return torch.zeros_like(cost, dtype=torch.bool).scatter(2, index, wanted)


def corners(boxes: Tensor) -> Tensor:
    """Return boxes (…, 4) as left, top, right, bottom instead of centre x, y, width, height."""
    middle, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat([middle - half, middle + half], -1)


def centred(boxes: Tensor) -> Tensor:
    """Return boxes (…, 4) as centre x, y, width, height instead of left, top, right, bottom."""
    low, high = boxes[..., :2], boxes[..., 2:]
    return torch.cat([(low + high) / 2, high - low], -1)


def box_iou(a: Tensor, b: Tensor) -> Tensor:
    """Return the overlap (b, n, m) of boxes (b, n, 4) and (b, m, 4) of each picture."""
    low = torch.maximum(a[:, :, None, :2], b[:, None, :, :2])
    high = torch.minimum(a[:, :, None, 2:], b[:, None, :, 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    size_a, size_b = ((x[..., 2:] - x[..., :2]).prod(-1) for x in (a, b))
    return shared / (size_a[:, :, None] + size_b[:, None] - shared).clamp(min=1e-9)
