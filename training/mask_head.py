"""A segmentation head on the edge YOLOX: what it is made of, and what it learns from.

It reads two maps that the network has anyway, and leaves the network as it is.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from yolox_trt_ros.training.networks.edge import EdgeYolox
from yolox_trt_ros.training.networks.layers import Conv

STRIDE = 4
"""Input pixels that a cell of the masks stands for."""
WIDTH = 48
IGNORED = 255
"""Class of cells that teach nothing: they lie outside of the picture."""


class MaskHead(nn.Module):
    """Scores of each class at stride 4.

    Args:
        fine, coarse: channels of the maps at strides 4 and 8.
        classes: how many.
        act: as the network's, see :class:`networks.edge.Design`.
    """

    def __init__(self, fine: int, coarse: int, classes: int, act: str) -> None:
        super().__init__()
        self.fine, self.coarse = Conv(fine, WIDTH, 1, 1, act), Conv(coarse, WIDTH, 1, 1, act)
        self.mix = Conv(WIDTH, WIDTH, 3, 1, act)
        self.scores = nn.Conv2d(WIDTH, classes, 1)
        self.up = nn.Upsample(scale_factor=2, mode='nearest')

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """Return (b, classes, h / 4, w / 4)."""
        return self.scores(self.mix(self.fine(fine) + self.up(self.coarse(coarse))))


class SegmentingYolox(nn.Module):
    """A network with the head: (b, 3, h, w) in, its own maps and the masks' scores out.

    Args:
        network: is not copied.
        classes: of the masks.
    """

    def __init__(self, network: EdgeYolox, classes: int) -> None:
        super().__init__()
        self.network = network
        _, c2, c3, *_ = network.design.channels
        self.masks = MaskHead(c2, c3, classes, network.design.act)
        self._kept: dict[str, Tensor] = {}
        for name, module in (('fine', network.stage2), ('coarse', network.top3)):
            module.register_forward_hook(partial(self._keep, name))

    def forward(self, x: Tensor) -> tuple[list[tuple[Tensor, Tensor, Tensor]], Tensor]:
        """Return what the network gives, and (b, classes, h / 4, w / 4)."""
        maps = self.network(x)
        scores = self.masks(self._kept['fine'], self._kept['coarse'])
        self._kept.clear()
        return maps, scores

    def _keep(self, name: str, _module: nn.Module, _inputs: object, output: Tensor) -> None:
        self._kept[name] = output


class WithMasks(nn.Module):
    """The export: what :class:`networks.maps.Concatenated` gives, and the masks' scores."""

    def __init__(self, network: SegmentingYolox) -> None:
        super().__init__()
        self.both = network

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        maps, scores = self.both(x)
        levels = [
            torch.cat([reg, obj.sigmoid(), cls.sigmoid()], 1).flatten(2) for reg, obj, cls in maps
        ]
        return torch.cat(levels, 2).permute(0, 2, 1), scores


def mask_loss(scores: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Return the cross entropy of masks.

    Args:
        scores: (b, classes, h, w).
        target: long (b, h, w); :data:`IGNORED`: the cell does not count.
        weights: of the classes.
    """
    return nnf.cross_entropy(scores.float(), target, weights, ignore_index=IGNORED)


def box_loss(
    maps: list[tuple[Tensor, Tensor, Tensor]], wanted: list[tuple[Tensor, Tensor, Tensor]]
) -> Tensor:
    """Return how far a network's maps are from those that it gave before: the mean square."""
    parts = [
        nnf.mse_loss(ours.float(), theirs.float())
        for level, before in zip(maps, wanted, strict=True)
        for ours, theirs in zip(level, before, strict=True)
    ]
    return torch.stack(parts).mean()


def class_weights(counts: Tensor) -> Tensor:
    """Return weights of classes whose cells are counted: rare ones weigh more, by the root."""
    share = (counts.float() + 1) / (counts.sum() + len(counts))
    weights = share.rsqrt()
    return weights / (weights * share).sum()
