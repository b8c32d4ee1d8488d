"""What a network's raw maps mean: anchors, boxes in pixels, the output of the exported model."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

STRIDES = (8, 16, 32)
Maps = list[tuple[Tensor, Tensor, Tensor]]
"""At each stride the raw box (b, 4, h, w), objectness (b, 1, h, w), classes (b, classes, h, w)."""


class Concatenated(nn.Module):
    """The export: [batch, anchors, 5 + classes], sigmoids applied, boxes not decoded."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """Return what YOLOX's own export returns."""
        levels = [
            torch.cat([reg, obj.sigmoid(), cls.sigmoid()], 1).flatten(2)
            for reg, obj, cls in self.network(x)
        ]
        return torch.cat(levels, 2).permute(0, 2, 1)


def decode(maps: Maps) -> Tensor:
    """Return (batch, anchors, 5 + classes): centre x, y, width, height in input pixels, logits.

    As ``decode_outputs`` of YOLOX's head does it: (t_xy + grid) · stride, exp(t_wh) · stride.
    """
    out = []
    for stride, (reg, obj, cls) in zip(STRIDES, maps, strict=True):
        _, _, h, w = reg.shape
        flat = torch.cat([reg, obj, cls], 1).flatten(2).permute(0, 2, 1).float()
        y, x = torch.meshgrid(
            torch.arange(h, device=reg.device), torch.arange(w, device=reg.device), indexing='ij'
        )
        grid = torch.stack([x, y], -1).reshape(1, -1, 2)
        centre = (flat[..., :2] + grid) * stride
        size = flat[..., 2:4].clamp(max=8).exp() * stride
        out.append(torch.cat([centre, size, flat[..., 4:]], -1))
    return torch.cat(out, 1)


def raw_boxes(maps: Maps) -> Tensor:
    """Return the boxes before decoding, float32 (b, anchors, 4)."""
    return torch.cat([reg.flatten(2) for reg, _, _ in maps], 2).permute(0, 2, 1).float()


def anchors(size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return each anchor's cell (column, row), (anchors, 2), and its stride, (anchors,).

    Args:
        size: (height, width) of the input.
    """
    cells, strides = [], []
    for s in STRIDES:
        y, x = torch.meshgrid(torch.arange(size[0] // s), torch.arange(size[1] // s), indexing='ij')
        cells.append(torch.stack([x, y], -1).reshape(-1, 2))
        strides.append(torch.full((len(cells[-1]),), s))
    return torch.cat(cells).float(), torch.cat(strides).float()


@torch.no_grad()
def gflops(network: nn.Module, size: tuple[int, int]) -> float:
    """Return 2 · multiply-accumulates of all convolutions of one picture, in 10⁹."""
    total = 0

    def count(module: nn.Conv2d, _: Any, output: Tensor) -> None:
        nonlocal total
        total += 2 * output[0].numel() * module.weight[0].numel()

    hooks = [m.register_forward_hook(count) for m in network.modules() if isinstance(m, nn.Conv2d)]
    was, device = network.training, next(network.parameters()).device
    network.eval()(torch.zeros(1, 3, *size, device=device))
    network.train(was)
    for hook in hooks:
        hook.remove()
    return total / 1e9
