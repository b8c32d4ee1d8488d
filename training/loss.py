"""YOLOX's losses of a whole batch, in tensors of fixed shape.

Which anchor learns which label is given (:mod:`training.assign`); fixed shapes let a CUDA graph
hold all the rest. The tests compare every loss with pixeltable-yolox's own.
"""

from __future__ import annotations

import torch
import torch.nn.functional as nnf
from torch import Tensor
from yolox.models.losses import IouLoss

from training.assign import centred
from yolox_trt_ros.training.networks.maps import anchors


class YoloxLoss:
    """IoU, objectness, class and L1 loss, weighted as in YOLOX (arXiv:2107.08430).

    Args:
        size: (height, width) of the input.
        device: of the tensors.
    """

    def __init__(self, size: tuple[int, int], device: str) -> None:
        self._iou_loss = IouLoss(reduction='none')
        cell, stride = anchors(size)
        self._cell, self._stride = cell.to(device), stride[:, None].to(device)
        self._centre = (self._cell + 0.5) * self._stride

    def __call__(
        self,
        predicted: Tensor,
        raw: Tensor,
        labels: Tensor,
        label_of: Tensor,
        overlap: Tensor,
        l1_weight: Tensor,
    ) -> dict[str, Tensor]:
        """Return the losses, ``total`` among them.

        Args:
            predicted: (b, anchors, 5 + classes), boxes decoded to input pixels, logits.
            raw: (b, anchors, 4), the boxes before decoding.
            labels: (b, n, 6): class (−1: none), left, top, right, bottom, ignored.
            label_of: (b, anchors), the label that an anchor learns; −1: none.
            overlap: (b, anchors), with the label's box.
            l1_weight: of the L1 loss of the raw boxes.
        """
        positive, index = label_of >= 0, label_of.clamp(min=0)
        # Anchors without a label get some label here, and no weight below.
        target = centred(labels[..., 1:5]).gather(1, index[..., None].expand(-1, -1, 4))
        class_id = labels[..., 0].long().clamp(min=0).gather(1, index)
        score = nnf.one_hot(class_id, predicted.shape[2] - 5) * overlap[..., None]
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

    def _inside_ignored(self, labels: Tensor) -> Tensor:
        """Return (b, anchors): the anchor's centre lies in a box that is not asked for."""
        box = labels[..., None, 1:5]
        inside = (self._centre > box[..., :2]) & (self._centre < box[..., 2:])
        skip = (labels[..., 0] >= 0) & (labels[..., 5] > 0)
        return (inside.all(-1) & skip[..., None]).any(1)
