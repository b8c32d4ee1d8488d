"""The edge YOLOX: convolution stem, ELAN stages, chained 5x5 pooling, decoupled head.

Every operator is one that a DLA runs. The alternatives of the original YOLOX (Focus stem,
pools of 5, 9 and 13, CSP stages, SiLU) are here too, for the ablation in the model card.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor, nn

STRIDES = (8, 16, 32)


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
        return replace(self, **changes)  # type: ignore[arg-type]

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


EDGE_N = Design()
EDGE_S = Design(608, 960, (32, 64, 128, 256, 384), 2, 128, 2)
DESIGNS = {'edge_n': EDGE_N, 'edge_s': EDGE_S}

_ACTS = {'relu6': nn.ReLU6, 'relu': nn.ReLU, 'silu': nn.SiLU}


class Conv(nn.Module):
    def __init__(self, inputs: int, outputs: int, size: int, stride: int, act: str) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, size, stride, (size - 1) // 2, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.03)
        self.act = _ACTS[act]()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.conv(x)))


class Focus(nn.Module):
    """YOLOX's stem: pixels of each 2x2 square become channels, by strided slices."""

    def __init__(self, outputs: int, act: str) -> None:
        super().__init__()
        self.conv = Conv(12, outputs, 3, 1, act)

    def forward(self, x: Tensor) -> Tensor:
        parts = (x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2])
        return self.conv(torch.cat(parts, 1))


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

    def forward(self, x: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
        # Pixel values stay 0 to 255, as YOLOX feeds them; the first batch norm absorbs the scale.
        p3 = self.stage3(self.stage2(self.stem(x)))
        p4 = self.stage4(p3)
        p5 = self.lateral5(self.stage5(p4))
        n4 = self.lateral4(self.top4(torch.cat([self.up(p5), p4], 1)))
        n3 = self.top3(torch.cat([self.up(n4), p3], 1))
        m4 = self.bottom4(torch.cat([self.down3(n3), n4], 1))
        m5 = self.bottom5(torch.cat([self.down4(m4), p5], 1))
        return [branch(m) for branch, m in zip(self.head, (n3, m4, m5), strict=True)]


class Concatenated(nn.Module):
    """The export: [batch, anchors, 5 + classes], sigmoids applied, boxes not decoded."""

    def __init__(self, network: EdgeYolox) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        levels = [
            torch.cat([reg, obj.sigmoid(), cls.sigmoid()], 1).flatten(2)
            for reg, obj, cls in self.network(x)
        ]
        return torch.cat(levels, 2).permute(0, 2, 1)


def decode(maps: list[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
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


def gflops(design: Design, classes: int) -> float:
    """Return 2 · multiply-accumulates of all convolutions of one image, in 10⁹."""
    network, total = EdgeYolox(design, classes).eval(), 0

    def count(module: nn.Conv2d, _: object, output: Tensor) -> None:
        nonlocal total
        total += 2 * output[0].numel() * module.weight[0].numel()

    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(count)
    with torch.no_grad():
        network(torch.zeros(1, 3, design.height, design.width))
    return total / 1e9
