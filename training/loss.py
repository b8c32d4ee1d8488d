"""YOLOX's loss and SimOTA label assignment, a whole batch at once, in tensors of fixed shape.

pixeltable-yolox (Apache-2.0) assigns labels picture by picture, with shapes that depend on the
data: a loop over boxes, hundreds of waits for the GPU a batch. Fixed shapes let one CUDA graph hold
a whole training step. The tests compare every loss with the library's own.
"""

from __future__ import annotations

import torch
import torch.nn.functional as nnf
from torch import Tensor
from yolox.models.losses import IouLoss

from training.network import STRIDES

CANDIDATES, RADIUS, FAR = 10, 1.5, 1e6
"""Of SimOTA: anchors that vote on how many a box gets; its centre's surroundings in strides; the
cost of an anchor outside them."""


class YoloxLoss:
    """IoU, objectness, class and L1 loss, weighted as in YOLOX (arXiv:2107.08430).

    Args:
        size: (height, width) of the input.
        device: of the tensors.
    """

    def __init__(self, size: tuple[int, int], device: str) -> None:
        self._iou_loss = IouLoss(reduction='none')
        cells, strides = [], []
        for s in STRIDES:
            y, x = torch.meshgrid(
                torch.arange(size[0] // s), torch.arange(size[1] // s), indexing='ij'
            )
            cells.append(torch.stack([x, y], -1).reshape(-1, 2))
            strides.append(torch.full((len(cells[-1]), 1), s))
        self._cell = torch.cat(cells).float().to(device)
        self._stride = torch.cat(strides).float().to(device)
        self._centre = (self._cell + 0.5) * self._stride

    def __call__(
        self, predicted: Tensor, raw: Tensor, labels: Tensor, l1_weight: Tensor
    ) -> dict[str, Tensor]:
        """Return the losses, ``total`` among them.

        Args:
            predicted: (b, anchors, 5 + classes), boxes decoded to input pixels, logits.
            raw: (b, anchors, 4), the boxes before decoding.
            labels: (b, n, 6): class (−1: none), left, top, right, bottom, ignored.
            l1_weight: of the L1 loss of the raw boxes.
        """
        corners = labels[..., 1:5]
        boxes = torch.cat(
            [(corners[..., :2] + corners[..., 2:]) / 2, corners[..., 2:] - corners[..., :2]], -1
        )
        wanted = (labels[..., 0] >= 0) & (labels[..., 5] == 0)
        class_id = labels[..., 0].long().clamp(min=0)
        matching, overlap = self._assign(predicted.detach(), boxes, class_id, wanted)
        positive, box_of = matching.any(1), matching.float().argmax(1)
        # Anchors without a box get some box here, and no weight below.
        target = boxes.gather(1, box_of[..., None].expand(-1, -1, 4))
        score = nnf.one_hot(class_id.gather(1, box_of), predicted.shape[2] - 5)
        score = score * (overlap * matching).sum(1)[..., None]
        weight = positive.float()
        counted = positive | ~self._inside_ignored(labels)
        goal = torch.cat(
            [
                target[..., :2] / self._stride - self._cell,
                torch.log(target[..., 2:] / self._stride + 1e-8),
            ],
            -1,
        )
        iou = self._iou_loss(predicted[..., :4].reshape(-1, 4), target.reshape(-1, 4))
        obj = nnf.binary_cross_entropy_with_logits(predicted[..., 4], weight, reduction='none')
        cls = nnf.binary_cross_entropy_with_logits(predicted[..., 5:], score, reduction='none')
        count = weight.sum().clamp(min=1)
        losses = {
            'iou': 5.0 * (iou * weight.flatten()).sum() / count,
            'obj': (obj * counted).sum() / count,
            'cls': (cls.sum(-1) * weight).sum() / count,
            'l1': l1_weight * ((raw - goal).abs().sum(-1) * weight).sum() / count,
        }
        losses['total'] = torch.stack(list(losses.values())).sum()
        return losses

    @torch.no_grad()
    def _assign(
        self, predicted: Tensor, boxes: Tensor, class_id: Tensor, wanted: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return which box each anchor learns, bool (b, boxes, anchors), and their overlaps.

        SimOTA (OTA, arXiv:2103.14259, as simplified in YOLOX): each box takes as many of its
        cheapest anchors as its ten best overlaps add up to; an anchor that several boxes want
        serves the one it costs least.
        """
        offset = (self._centre - boxes[:, :, None, :2]).abs()
        near = (offset < RADIUS * self._stride).all(-1) & wanted[..., None]
        possible = near.any(1, keepdim=True) & wanted[..., None]
        overlap = torch.where(possible, pairwise_iou(boxes, predicted[..., :4]), 0.0)
        cost = self._class_cost(predicted, class_id) - 3.0 * torch.log(overlap + 1e-8)
        cost = torch.where(possible, cost + FAR * ~near, torch.inf)
        wish = overlap.topk(CANDIDATES, 2).values.sum(2).int().clamp(min=1)
        price, cheapest = cost.topk(CANDIDATES, 2, largest=False)
        taken = torch.arange(CANDIDATES, device=cost.device) < wish[..., None]
        matching = torch.zeros_like(near).scatter(2, cheapest, taken & price.isfinite())
        best = torch.zeros_like(near).scatter(1, cost.argmin(1, keepdim=True), True)
        return torch.where(matching.sum(1, keepdim=True) > 1, best, matching), overlap

    def _class_cost(self, predicted: Tensor, class_id: Tensor) -> Tensor:
        """Return (b, boxes, anchors): cross entropy of √(class · objectness) and a box's class."""
        logit = nnf.logsigmoid(predicted[..., 5:]) + nnf.logsigmoid(predicted[..., 4:5])
        yes = (0.5 * logit).clamp(min=-100).transpose(1, 2)
        no = torch.log1p(-(0.5 * logit).exp()).clamp(min=-100).transpose(1, 2)
        index = class_id[..., None].expand(-1, -1, predicted.shape[1])
        return (no - yes).gather(1, index) - no.sum(1, keepdim=True)

    def _inside_ignored(self, labels: Tensor) -> Tensor:
        """Return (b, anchors): the anchor's centre lies in a box that is not asked for."""
        box = labels[..., None, 1:5]
        inside = (self._centre > box[..., :2]) & (self._centre < box[..., 2:])
        skip = (labels[..., 0] >= 0) & (labels[..., 5] > 0)
        return (inside.all(-1) & skip[..., None]).any(1)


def pairwise_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """Return (b, n, m): overlaps of (b, n, 4) and (b, m, 4), centre x, y, width, height."""
    a, b = boxes[:, :, None], others[:, None]
    low = torch.maximum(a[..., :2] - a[..., 2:] / 2, b[..., :2] - b[..., 2:] / 2)
    high = torch.minimum(a[..., :2] + a[..., 2:] / 2, b[..., :2] + b[..., 2:] / 2)
    shared = (high - low).clamp(min=0).prod(-1)
    return shared / (a[..., 2:].prod(-1) + b[..., 2:].prod(-1) - shared)
