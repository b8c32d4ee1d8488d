"""YOLOX's loss with the label assignment of pixeltable-yolox (Apache-2.0), many pictures at once.

The library assigns labels picture by picture, which leaves a GPU idle for a small network. Its
SimOTA looks at one plane of anchors and boxes only; so pictures are laid out side by side on one
large plane, too far apart to touch, and assigned in a single call.
"""

from __future__ import annotations

import torch
import torch.nn.functional as nnf
from torch import Tensor
from yolox.models.yolo_head import YoloxHead

from training.network import STRIDES

_GROUP, _COLUMNS = 16, 4


class Assigner(YoloxHead):
    """The library's label assignment, its loop over boxes replaced by one operation on all.

    The loop costs a synchronisation of the GPU per box, several hundred a batch.
    """

    def simota_matching(
        self, cost: Tensor, pair_wise_ious: Tensor, gt_classes: Tensor, num_gt: int, fg_mask: Tensor
    ) -> tuple[int, Tensor, Tensor, Tensor]:
        candidates = min(10, cost.shape[1])
        wanted = pair_wise_ious.topk(candidates, 1).values.sum(1).int().clamp(min=1)
        cheapest = cost.topk(candidates, 1, largest=False).indices
        taken = torch.arange(candidates, device=cost.device) < wanted[:, None]
        matching = torch.zeros_like(cost, dtype=torch.bool).scatter_(1, cheapest, taken)
        # An anchor that several boxes want goes to the one it costs least.
        best = torch.zeros_like(matching).scatter_(0, cost.argmin(0, keepdim=True), True)
        matching = torch.where(matching.sum(0) > 1, best, matching)
        used = matching.any(0)
        fg_mask[fg_mask.clone()] = used
        index = matching[:, used].float().argmax(0)
        overlap = (matching * pair_wise_ious).sum(0)[used]
        return len(index), gt_classes[index], overlap, index


class YoloxLoss:
    """IoU, objectness, class and (late) L1 loss, weighted as in YOLOX (arXiv:2107.08430).

    Args:
        classes: how many.
        size: (height, width) of the input.
        device: of the tensors.
    """

    def __init__(self, classes: int, size: tuple[int, int], device: str) -> None:
        # One-channel layers that are never run: only the assignment and the losses are used.
        self._library = Assigner(classes, width=1 / 256, in_channels=[256, 256, 256])
        self._classes = classes
        self._pitch = max(size) + 256
        centres, strides = [], []
        for s in STRIDES:
            y, x = torch.meshgrid(
                torch.arange(size[0] // s), torch.arange(size[1] // s), indexing='ij'
            )
            centres.append(torch.stack([x, y], -1).reshape(-1, 2))
            strides.append(torch.full((len(centres[-1]),), s))
        self._shift = torch.cat(centres).float().to(device)
        self._stride = torch.cat(strides).float().to(device)

    def __call__(
        self, predicted: Tensor, raw: Tensor, labels: Tensor, use_l1: bool
    ) -> dict[str, Tensor]:
        """Return the losses, ``total`` among them.

        Args:
            predicted: (b, anchors, 5 + classes), boxes decoded to input pixels, logits.
            raw: (b, anchors, 4), the boxes before decoding.
            labels: (b, n, 6): class (−1: none), left, top, right, bottom, ignored.
            use_l1: add the L1 loss of the raw boxes.
        """
        b, anchors, _ = predicted.shape
        box = labels[..., 1:5]
        boxes = torch.cat([(box[..., :2] + box[..., 2:]) / 2, box[..., 2:] - box[..., :2]], -1)
        wanted = (labels[..., 0] >= 0) & (labels[..., 5] == 0)
        positive = torch.zeros(b, anchors, dtype=torch.bool, device=predicted.device)
        target_box, target_cls = [], []
        for start in range(0, b, _GROUP):
            part = slice(start, min(start + _GROUP, b))
            fg, at, score = self._assign(
                predicted[part], boxes[part], labels[part, :, 0], wanted[part]
            )
            positive[part] = fg
            target_box.append(at)
            target_cls.append(score)
        at, score = torch.cat(target_box), torch.cat(target_cls)
        count = max(len(at), 1)
        found = predicted[positive]
        counted = positive | ~self._inside_ignored(labels)
        losses = {
            'iou': 5.0 * self._library.iou_loss(found[:, :4], at).sum() / count,
            'obj': nnf.binary_cross_entropy_with_logits(
                predicted[..., 4][counted], positive[counted].float(), reduction='sum'
            )
            / count,
            'cls': nnf.binary_cross_entropy_with_logits(found[:, 5:], score, reduction='sum')
            / count,
        }
        if use_l1:
            where = positive.nonzero()[:, 1]
            stride, shift = self._stride[where], self._shift[where]
            goal = self._library.get_l1_target(
                torch.zeros_like(at), at, stride, shift[:, 0], shift[:, 1]
            )
            losses['l1'] = (raw[positive] - goal).abs().sum() / count
        losses['total'] = torch.stack(list(losses.values())).sum()
        return losses

    @torch.no_grad()
    def _assign(
        self, predicted: Tensor, boxes: Tensor, classes: Tensor, wanted: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return foreground (b, anchors), and box and class target of each foreground anchor."""
        b, anchors, _ = predicted.shape
        k = torch.arange(b, device=predicted.device)
        origin = torch.stack([k % _COLUMNS, k // _COLUMNS], -1).float() * self._pitch
        if not wanted.any():
            none = torch.zeros(b, anchors, dtype=torch.bool, device=predicted.device)
            return none, predicted.new_zeros(0, 4), predicted.new_zeros(0, self._classes)
        flat = predicted.detach().reshape(b * anchors, -1).clone()
        flat[:, :2] += origin.repeat_interleave(anchors, 0)
        goal = boxes.clone()
        goal[..., :2] += origin[:, None]
        stride = self._stride.repeat(b)
        shift = self._shift.repeat(b, 1) + origin.repeat_interleave(anchors, 0) / stride[:, None]
        gt = goal[wanted]
        matched, fg, overlap, index, _ = self._library.get_assignments(
            0,
            len(gt),
            gt,
            classes[wanted],
            flat[:, :4],
            stride[None],
            shift[None, :, 0],
            shift[None, :, 1],
            flat[None, :, 5:],
            flat[None, :, 4:5],
        )
        score = nnf.one_hot(matched.long(), self._classes) * overlap[:, None]
        return fg.view(b, anchors), boxes[wanted][index], score

    def _inside_ignored(self, labels: Tensor) -> Tensor:
        """Return (b, anchors): the anchor's centre lies in a box that is not asked for."""
        centre = (self._shift + 0.5) * self._stride[:, None]
        box = labels[..., 1:5][:, None]
        inside = (
            (centre[None, :, None, 0] > box[..., 0])
            & (centre[None, :, None, 0] < box[..., 2])
            & (centre[None, :, None, 1] > box[..., 1])
            & (centre[None, :, None, 1] < box[..., 3])
        )
        skip = (labels[..., 0] >= 0) & (labels[..., 5] > 0)
        return (inside & skip[:, None]).any(2)
