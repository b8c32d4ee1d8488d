"""The edge YOLOX: convolution stem, ELAN stages, chained 5x5 pooling, decoupled head.

Every operator is one that a DLA runs. The alternatives of the original YOLOX (Focus stem,
pools of 5, 9 and 13, CSP stages, SiLU) are here too, for the ablation in the model card.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor, nn

from yolox_trt_ros.training.networks.layers import Conv, Focus
from yolox_trt_ros.training.networks.maps import Maps


@dataclass(frozen=True)
class Design:
    """What makes up a network.

    Attributes:
        height, width: input pixels, multiples of 32.
        channels: of the maps at strides 2, 4, 8, 16, 32.
        depth: 3x3 convolutions in each stage's block.
        head: channels of the head.
        head_convs: 3x3 convolutions in each branch of the head.
        act: relu6, relu or silu.
        stem: conv or focus.
        pool: chained (three 5x5 in a row) or parallel (5, 9, 13).
        block: elan or csp.
    """

    height: int = 320
    width: int = 480
    channels: tuple[int, ...] = (32, 32, 64, 128, 192)
    depth: int = 2
    head: int = 64
    head_convs: int = 1
    act: str = 'relu6'
    stem: str = 'conv'
    pool: str = 'chained'
    block: str = 'elan'

    def with_(self, **changes: object) -> Design:
        """Return the design with other values."""
        return replace(self, **changes)  # type: ignore[arg-type]

    def as_dict(self) -> dict[str, object]:
        """Return its values by name."""
        return asdict(self)


EDGE_N = Design()
EDGE_S = Design(608, 960, (32, 64, 128, 256, 384), 2, 128, 2)
DESIGNS = {'edge_n': EDGE_N, 'edge_s': EDGE_S}


class Elan(nn.Module):
    """Efficient layer aggregation: a chain of 3x3 convolutions whose every result is kept."""

    def __init__(self, inputs: int, outputs: int, depth: int, act: str) -> None:
        super().__init__()
        hidden = max(32, outputs // 2)
        self.left = Conv(inputs, hidden, 1, 1, act)
        self.right = Conv(inputs, hidden, 1, 1, act)
        self.chain = nn.ModuleList(Conv(hidden, hidden, 3, 1, act) for _ in range(depth))
        self.merge = Conv(hidden * (2 + depth), outputs, 1, 1, act)

    def forward(self, x: Tensor) -> Tensor:
        """Return maps of the same size."""
        kept = [self.left(x), self.right(x)]
        for conv in self.chain:
            kept.append(conv(kept[-1]))
        return self.merge(torch.cat(kept, 1))


class Csp(nn.Module):
    """YOLOX's CSP stage: bottlenecks on one branch, a bypass on the other."""

    def __init__(self, inputs: int, outputs: int, depth: int, act: str) -> None:
        super().__init__()
        hidden = max(32, outputs // 2)
        self.left = Conv(inputs, hidden, 1, 1, act)
        self.right = Conv(inputs, hidden, 1, 1, act)
        self.chain = nn.ModuleList(
            nn.Sequential(Conv(hidden, hidden, 1, 1, act), Conv(hidden, hidden, 3, 1, act))
            for _ in range(depth)
        )
        self.merge = Conv(2 * hidden, outputs, 1, 1, act)

    def forward(self, x: Tensor) -> Tensor:
        """Return maps of the same size."""
        y = self.right(x)
        for bottleneck in self.chain:
            y = y + bottleneck(y)
        return self.merge(torch.cat([y, self.left(x)], 1))


class Pool(nn.Module):
    """Spatial pyramid: three max pools, in a row (5, 5, 5) or side by side (5, 9, 13)."""

    def __init__(self, channels: int, kind: str, act: str) -> None:
        super().__init__()
        self.chained = kind == 'chained'
        self.squeeze = Conv(channels, channels // 2, 1, 1, act)
        sizes = (5, 5, 5) if self.chained else (5, 9, 13)
        self.pools = nn.ModuleList(nn.MaxPool2d(k, 1, k // 2) for k in sizes)
        self.expand = Conv(channels * 2, channels, 1, 1, act)

    def forward(self, x: Tensor) -> Tensor:
        """Return maps of the same size."""
        kept = [self.squeeze(x)]
        for pool in self.pools:
            kept.append(pool(kept[-1] if self.chained else kept[0]))
        return self.expand(torch.cat(kept, 1))


class Branch(nn.Module):
    """The head at one stride: box (4), objectness (1) and class maps, all raw."""

    def __init__(self, inputs: int, design: Design, classes: int) -> None:
        super().__init__()
        width, act = design.head, design.act
        self.stem = Conv(inputs, width, 1, 1, act)
        self.cls_convs = nn.Sequential(
            *(Conv(width, width, 3, 1, act) for _ in range(design.head_convs))
        )
        self.reg_convs = nn.Sequential(
            *(Conv(width, width, 3, 1, act) for _ in range(design.head_convs))
        )
        self.reg, self.obj = nn.Conv2d(width, 4, 1), nn.Conv2d(width, 1, 1)
        self.cls = nn.Conv2d(width, classes, 1)
        for conv in (self.obj, self.cls):
            nn.init.constant_(conv.bias, -4.595)  # probability 0.01: few anchors hold an object

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return box, objectness and classes."""
        x = self.stem(x)
        box = self.reg_convs(x)
        return self.reg(box), self.obj(box), self.cls(self.cls_convs(x))


class EdgeYolox(nn.Module):
    """The network: uint8-valued BGR in, per-stride (reg, obj, cls) logits out.

    Args:
        design: its layout.
        classes: how many.
    """

    def __init__(self, design: Design, classes: int) -> None:
        super().__init__()
        self.design, self.classes = design, classes
        c1, c2, c3, c4, c5 = design.channels
        act, depth = design.act, design.depth
        block = Elan if design.block == 'elan' else Csp
        self.stem = Focus(c1, act) if design.stem == 'focus' else Conv(3, c1, 3, 2, act)
        self.stage2 = nn.Sequential(Conv(c1, c2, 3, 2, act), block(c2, c2, 1, act))
        self.stage3 = nn.Sequential(Conv(c2, c3, 3, 2, act), block(c3, c3, depth, act))
        self.stage4 = nn.Sequential(Conv(c3, c4, 3, 2, act), block(c4, c4, depth, act))
        self.stage5 = nn.Sequential(
            Conv(c4, c5, 3, 2, act), Pool(c5, design.pool, act), block(c5, c5, depth, act)
        )
        self.up = nn.Upsample(scale_factor=2, mode='nearest')
        self.lateral5, self.lateral4 = Conv(c5, c4, 1, 1, act), Conv(c4, c3, 1, 1, act)
        self.top4, self.top3 = block(2 * c4, c4, depth, act), block(2 * c3, c3, depth, act)
        self.down3, self.down4 = Conv(c3, c3, 3, 2, act), Conv(c4, c4, 3, 2, act)
        self.bottom4, self.bottom5 = block(2 * c3, c4, depth, act), block(2 * c4, c5, depth, act)
        self.head = nn.ModuleList(Branch(c, design, classes) for c in (c3, c4, c5))

    def forward(self, x: Tensor) -> Maps:
        """Return the raw maps at strides 8, 16 and 32 of pictures (b, 3, h, w), 0 to 255."""
        # Pixel values stay 0 to 255, as YOLOX feeds them; the first batch norm absorbs the scale.
        p3 = self.stage3(self.stage2(self.stem(x)))
        p4 = self.stage4(p3)
        p5 = self.lateral5(self.stage5(p4))
        n4 = self.lateral4(self.top4(torch.cat([self.up(p5), p4], 1)))
        n3 = self.top3(torch.cat([self.up(n4), p3], 1))
        m4 = self.bottom4(torch.cat([self.down3(n3), n4], 1))
        m5 = self.bottom5(torch.cat([self.down4(m4), p5], 1))
        return [branch(m) for branch, m in zip(self.head, (n3, m4, m5), strict=True)]
