"""YOLOX as Megvii published it, nano to x, so that its checkpoints fit name by name.

Layout of https://github.com/Megvii-BaseDetection/YOLOX (Apache-2.0, arXiv:2107.08430): CSPDarknet,
PAFPN, decoupled head. Names of modules are those of its checkpoints. What a DLA refuses has an
alternative of the same function (stem, pools) or of the same shape (activation).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from yolox_trt_ros.training.networks.layers import Conv, Focus
from yolox_trt_ros.training.networks.maps import Maps


@dataclass(frozen=True)
class MegviiDesign:
    """What makes up one of the family.

    Attributes:
        depth, width: factors of blocks and channels.
        depthwise: 3x3 convolutions are split into depthwise and pointwise ones.
        act: silu, relu6 or relu.
        stem: focus, or conv: the 6x6 convolution that computes the same.
        pool: parallel (5, 9, 13), or chained: 5x5 in a row, which computes the same.
        size: (height, width) that it was published with.
    """

    depth: float
    width: float
    depthwise: bool = False
    act: str = 'silu'
    stem: str = 'focus'
    pool: str = 'parallel'
    size: tuple[int, int] = (640, 640)


class Stem(nn.Module):
    """The 6x6 convolution in place of Focus."""

    def __init__(self, outputs: int, act: str) -> None:
        super().__init__()
        self.conv = Conv(3, outputs, 6, 2, act)  # padding (6 − 1) // 2 = 2

    def forward(self, x: Tensor) -> Tensor:
        """Return (b, outputs, h / 2, w / 2)."""
        return self.conv(x)


class DepthwiseConv(nn.Module):
    """A depthwise and a pointwise convolution (Megvii's ``DWConv``)."""

    def __init__(self, inputs: int, outputs: int, size: int, stride: int, act: str) -> None:
        super().__init__()
        self.dconv = Conv(inputs, inputs, size, stride, act, groups=inputs)
        self.pconv = Conv(inputs, outputs, 1, 1, act)

    def forward(self, x: Tensor) -> Tensor:
        """Return (b, outputs, h / stride, w / stride)."""
        return self.pconv(self.dconv(x))


def _conv(design: MegviiDesign, inputs: int, outputs: int, stride: int) -> nn.Module:
    kind = DepthwiseConv if design.depthwise else Conv
    return kind(inputs, outputs, 3, stride, design.act)


class Bottleneck(nn.Module):
    """A 1x1 and a 3x3 convolution, added to the input where ``add`` says so."""

    def __init__(self, design: MegviiDesign, channels: int, add: bool) -> None:
        super().__init__()
        self.conv1 = Conv(channels, channels, 1, 1, design.act)
        self.conv2 = _conv(design, channels, channels, 1)
        self.add = add

    def forward(self, x: Tensor) -> Tensor:
        """Return maps of the same shape."""
        y = self.conv2(self.conv1(x))
        return y + x if self.add else y


class CspLayer(nn.Module):
    """Bottlenecks on one branch, a bypass on the other (Megvii's ``CSPLayer``)."""

    def __init__(
        self, design: MegviiDesign, inputs: int, outputs: int, count: int, add: bool
    ) -> None:
        super().__init__()
        hidden = outputs // 2
        self.conv1 = Conv(inputs, hidden, 1, 1, design.act)
        self.conv2 = Conv(inputs, hidden, 1, 1, design.act)
        self.conv3 = Conv(2 * hidden, outputs, 1, 1, design.act)
        self.m = nn.Sequential(*(Bottleneck(design, hidden, add) for _ in range(count)))

    def forward(self, x: Tensor) -> Tensor:
        """Return (b, outputs, h, w)."""
        # In Megvii's order, by which weights of an ONNX file are found: conv1, conv2, then m.
        left, right = self.conv1(x), self.conv2(x)
        return self.conv3(torch.cat((self.m(left), right), 1))


class SppBottleneck(nn.Module):
    """Max pools of 5, 9 and 13 pixels side by side, or three of 5 in a row."""

    def __init__(self, design: MegviiDesign, channels: int) -> None:
        super().__init__()
        hidden = channels // 2
        self.chained = design.pool == 'chained'
        self.conv1 = Conv(channels, hidden, 1, 1, design.act)
        sizes = (5, 5, 5) if self.chained else (5, 9, 13)
        self.m = nn.ModuleList(nn.MaxPool2d(k, 1, k // 2) for k in sizes)
        self.conv2 = Conv(4 * hidden, channels, 1, 1, design.act)

    def forward(self, x: Tensor) -> Tensor:
        """Return maps of the same shape."""
        kept = [self.conv1(x)]
        for pool in self.m:
            kept.append(pool(kept[-1] if self.chained else kept[0]))
        return self.conv2(torch.cat(kept, 1))


class CspDarknet(nn.Module):
    """The backbone: maps at strides 8, 16 and 32."""

    def __init__(self, design: MegviiDesign) -> None:
        super().__init__()
        c, n = int(64 * design.width), max(round(3 * design.depth), 1)
        self.stem = (Focus if design.stem == 'focus' else Stem)(c, design.act)
        stages = [(c, 2 * c, n), (2 * c, 4 * c, 3 * n), (4 * c, 8 * c, 3 * n)]
        self.dark2, self.dark3, self.dark4 = (
            nn.Sequential(_conv(design, i, o, 2), CspLayer(design, o, o, count, True))
            for i, o, count in stages
        )
        self.dark5 = nn.Sequential(
            _conv(design, 8 * c, 16 * c, 2),
            SppBottleneck(design, 16 * c),
            CspLayer(design, 16 * c, 16 * c, n, False),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return maps of 256, 512 and 1024 channels times the width."""
        p3 = self.dark3(self.dark2(self.stem(x)))
        p4 = self.dark4(p3)
        return p3, p4, self.dark5(p4)


class Pafpn(nn.Module):
    """The neck, with the backbone inside it, as the names of the checkpoints have it."""

    def __init__(self, design: MegviiDesign) -> None:
        super().__init__()
        c3, c4, c5 = (int(c * design.width) for c in (256, 512, 1024))
        n, act = round(3 * design.depth), design.act
        self.backbone = CspDarknet(design)
        self.upsample = nn.Upsample(scale_factor=2, mode='nearest')
        self.lateral_conv0 = Conv(c5, c4, 1, 1, act)
        self.C3_p4 = CspLayer(design, 2 * c4, c4, n, False)
        self.reduce_conv1 = Conv(c4, c3, 1, 1, act)
        self.C3_p3 = CspLayer(design, 2 * c3, c3, n, False)
        self.bu_conv2 = _conv(design, c3, c3, 2)
        self.C3_n3 = CspLayer(design, 2 * c3, c4, n, False)
        self.bu_conv1 = _conv(design, c4, c4, 2)
        self.C3_n4 = CspLayer(design, 2 * c4, c5, n, False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the maps that the head takes."""
        p3, p4, p5 = self.backbone(x)
        top5 = self.lateral_conv0(p5)
        top4 = self.reduce_conv1(self.C3_p4(torch.cat([self.upsample(top5), p4], 1)))
        out3 = self.C3_p3(torch.cat([self.upsample(top4), p3], 1))
        out4 = self.C3_n3(torch.cat([self.bu_conv2(out3), top4], 1))
        out5 = self.C3_n4(torch.cat([self.bu_conv1(out4), top5], 1))
        return out3, out4, out5


class Head(nn.Module):
    """The decoupled head."""

    def __init__(self, design: MegviiDesign, classes: int) -> None:
        super().__init__()
        hidden, inputs = int(256 * design.width), [int(c * design.width) for c in (256, 512, 1024)]

        def tower() -> nn.Module:
            return nn.Sequential(*(_conv(design, hidden, hidden, 1) for _ in range(2)))

        self.cls_convs = nn.ModuleList(tower() for _ in inputs)
        self.reg_convs = nn.ModuleList(tower() for _ in inputs)
        self.cls_preds = nn.ModuleList(nn.Conv2d(hidden, classes, 1) for _ in inputs)
        self.reg_preds = nn.ModuleList(nn.Conv2d(hidden, 4, 1) for _ in inputs)
        self.obj_preds = nn.ModuleList(nn.Conv2d(hidden, 1, 1) for _ in inputs)
        self.stems = nn.ModuleList(Conv(c, hidden, 1, 1, design.act) for c in inputs)
        for conv in (*self.cls_preds, *self.obj_preds):
            nn.init.constant_(conv.bias, -4.595)  # probability 0.01: few anchors hold an object

    def forward(self, maps: tuple[Tensor, Tensor, Tensor]) -> Maps:
        """Return the raw maps at each stride."""
        out = []
        for k, x in enumerate(maps):
            x = self.stems[k](x)
            cls = self.cls_preds[k](self.cls_convs[k](x))
            box = self.reg_convs[k](x)
            out.append((self.reg_preds[k](box), self.obj_preds[k](box), cls))
        return out


class MegviiYolox(nn.Module):
    """The network: uint8-valued BGR in, per-stride (reg, obj, cls) logits out.

    Args:
        design: its layout.
        classes: how many.
    """

    def __init__(self, design: MegviiDesign, classes: int) -> None:
        super().__init__()
        self.design, self.classes = design, classes
        self.backbone = Pafpn(design)
        self.head = Head(design, classes)

    def forward(self, x: Tensor) -> Maps:
        """Return the raw maps at strides 8, 16 and 32 of pictures (b, 3, h, w), 0 to 255."""
        return self.head(self.backbone(x))
