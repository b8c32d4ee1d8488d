"""The convolution that every network here is made of, and the stem of Megvii's YOLOX."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

ACTIVATIONS = {'silu': nn.SiLU, 'relu6': nn.ReLU6, 'relu': nn.ReLU}
EPSILON, MOMENTUM = 1e-3, 0.03
"""Of each batch norm, as YOLOX sets them."""


def activation(name: str) -> Any:
    """Return a new activation; SiLU and ReLU work in place, as YOLOX's do."""
    return ACTIVATIONS[name](inplace=name != 'relu6')


class Conv(nn.Module):
    """Convolution, batch norm, activation; the parts are called as in Megvii's ``BaseConv``."""

    def __init__(
        self, inputs: int, outputs: int, size: int, stride: int, act: str, groups: int = 1
    ) -> None:
        super().__init__()
        padding = (size - 1) // 2
        self.conv = nn.Conv2d(inputs, outputs, size, stride, padding, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=EPSILON, momentum=MOMENTUM)
        self.act = activation(act)

    def forward(self, x: Tensor) -> Tensor:
        """Return (b, outputs, h / stride, w / stride)."""
        return self.act(self.bn(self.conv(x)))


class Focus(nn.Module):
    """YOLOX's stem: pixels of each 2x2 square become channels, by strided slices."""

    def __init__(self, outputs: int, act: str) -> None:
        super().__init__()
        self.conv = Conv(12, outputs, 3, 1, act)

    def forward(self, x: Tensor) -> Tensor:
        """Return (b, outputs, h / 2, w / 2)."""
        parts = (x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2])
        return self.conv(torch.cat(parts, 1))


def focus_as_convolution(weight: Tensor) -> Tensor:
    """Return the 6x6 weights, for stride 2 and padding 2, that compute what Focus does.

    Args:
        weight: (outputs, 12, 3, 3) of the convolution behind Focus' slices: the channels of the
            pixels at (row, column) (0, 0), (1, 0), (0, 1), (1, 1) of each 2x2 square.

    Returns:
        (outputs, 3, 6, 6).
    """
    outputs, _, rows, columns = weight.shape
    squares = weight.view(outputs, 2, 2, 3, rows, columns)  # column, row of the pixel, colour
    return squares.permute(0, 3, 4, 2, 5, 1).reshape(outputs, 3, 2 * rows, 2 * columns)
