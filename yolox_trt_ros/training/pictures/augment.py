"""Mosaic, zoom, turn, shift, flip and colour of a whole batch, on the device that trains.

All that is random comes in as numbers from 0 to 1, so that a step can be repeated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as nnf
from torch import Tensor

from yolox_trt_ros.training.pictures.rows import PAD

CHANCES = 12
"""Random numbers that a picture takes."""
LEAST_SIDE, LEAST_SHARE = 2.0, 0.2
"""Boxes with a shorter side, in input pixels, are dropped; those of which less is left, ignored."""
_YIQ = ((0.299, 0.587, 0.114), (0.596, -0.274, -0.322), (0.211, -0.523, 0.312))
"""RGB to brightness and two colour axes (NTSC)."""


@dataclass(frozen=True)
class Augmentation:
    """How far pictures are changed.

    Attributes:
        mosaic: share of the pictures that are made of four of the batch.
        still: share that is neither zoomed, rotated nor shifted, of those without mosaic.
        zoom: factors of size, least and most.
        rotation: degrees to either side.
        flip: share that is mirrored.
        hue: degrees to either side; ``saturation``, ``value``: factors 1 ± this.
    """

    mosaic: float = 0.5
    still: float = 0.3
    zoom: tuple[float, float] = (0.6, 1.6)
    rotation: float = 5.0
    flip: float = 0.5
    hue: float = 8.0
    saturation: float = 0.4
    value: float = 0.3

    def at_the_end(self) -> Augmentation:
        """Return what the last part of a run uses: pictures as they are at run time, mirrored."""
        return Augmentation(0.0, 1.0, (1.0, 1.0), 0.0, self.flip, 0.0, 0.0, 0.0)


NOTHING = Augmentation(0.0, 1.0, (1.0, 1.0), 0.0, 0.0, 0.0, 0.0, 0.0)


def augment(
    images: Tensor, labels: Tensor, seen: Tensor, chance: Tensor, how: Augmentation
) -> tuple[Tensor, Tensor]:
    """Return changed pictures, and their labels moved along.

    Args:
        images: uint8 (b, h, w, 3), letterboxed.
        labels: (b, n, 6): class (−1: none), left, top, right, bottom, ignored.
        seen: (b, 3): height and width of what is no pad, and the picture's scale.
        chance: (b, CHANCES), uniform in 0 to 1: all that is random about the result.
        how: how far.

    Returns:
        float32 (b, 3, h, w), BGR, 0 to 255; labels (b, n, 6) or, with mosaic, (b, 4n, 6).
    """
    picture = images.permute(0, 3, 1, 2).float() - PAD
    size = images.shape[1:3]
    mixed = chance[:, 0] < how.mosaic
    if how.mosaic:
        picture, labels = _mosaic(picture, labels, seen, mixed)
    forward = _affine(chance, size, seen, mixed, how)
    out = _warp(picture, forward, size) + PAD
    return _coloured(out, chance[:, 8:11], how), _moved(labels, forward, size)


def _mosaic(picture: Tensor, labels: Tensor, seen: Tensor, mixed: Tensor) -> tuple[Tensor, Tensor]:
    """Return canvases (b, 3, 2h, 2w) with four pictures around their middle, or with one.

    Neighbours in the batch, which is in random order, are the other three.
    """
    b, _, h, w = picture.shape
    height, width = seen[:, 0].long(), seen[:, 1].long()
    rows, parts = [], []
    for k, (down, right) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
        other = torch.roll(torch.arange(b, device=picture.device), k)
        # What is no pad touches the middle: it moves to the lower right in the upper left part.
        up = torch.zeros_like(height) if down else (h - height[other])
        left = torch.zeros_like(width) if right else (w - width[other])
        alone = torch.zeros_like(up)
        up, left = torch.where(mixed, up, alone), torch.where(mixed, left, alone)
        part = _rolled(picture[other], up, left)
        shown = mixed if k else torch.ones_like(mixed)
        parts.append(part * shown[:, None, None, None])
        moved = labels[other].clone()
        moved[..., 1::2][..., :2] += (left + right * w)[:, None, None]
        moved[..., 2::2][..., :2] += (up + down * h)[:, None, None]
        moved[..., 0] = torch.where(shown[:, None], moved[..., 0], -1.0)
        rows.append(moved)
    halves = [torch.cat(parts[:2], 3), torch.cat(parts[2:], 3)]
    return torch.cat(halves, 2), torch.cat(rows, 1)


def _rolled(picture: Tensor, up: Tensor, left: Tensor) -> Tensor:
    """Return pictures moved down and right by pixels of their own; what leaves comes in again."""
    b, channels, h, w = picture.shape
    row = (torch.arange(h, device=picture.device) - up[:, None]) % h
    column = (torch.arange(w, device=picture.device) - left[:, None]) % w
    picture = picture.gather(2, row[:, None, :, None].expand(b, channels, h, w))
    return picture.gather(3, column[:, None, None, :].expand(b, channels, h, w))


def _affine(
    chance: Tensor, size: tuple[int, int], seen: Tensor, mixed: Tensor, how: Augmentation
) -> Tensor:
    """Return (b, 2, 3): from pixels of the picture or canvas to pixels of the result."""
    h, w = size
    still = (chance[:, 1] < how.still) & ~mixed
    low, high = how.zoom
    zoom = low * (high / low) ** chance[:, 2]
    # A mosaic shows four pictures where there is one else.
    zoom = torch.where(mixed, zoom * 0.7, zoom)
    angle = math.radians(how.rotation) * (2 * chance[:, 3] - 1)
    zoom, angle = torch.where(still, 1.0, zoom), torch.where(still, 0.0, angle)
    sign = torch.where(chance[:, 4] < how.flip, -1.0, 1.0)
    cos, sin = zoom * angle.cos(), zoom * angle.sin()
    rotation = torch.stack(
        [torch.stack([sign * cos, -sin], 1), torch.stack([sign * sin, cos], 1)], 1
    )
    middle = torch.tensor([w / 2, h / 2], device=chance.device).expand(len(chance), 2)
    # A part of the canvas near its middle comes to the result's; a single picture anywhere.
    away = (chance[:, 5:7] - 0.5) * torch.tensor([w, h], device=chance.device)
    free = (zoom[:, None] * torch.tensor([w, h], device=chance.device) - 2 * middle).abs()
    shift = torch.where(still[:, None], 0.0, (chance[:, 5:7] - 0.5) * free)
    source = torch.where(mixed[:, None], 2 * middle + away, middle)
    target = middle + torch.where(mixed[:, None], 0.0, shift)
    # Mirrored where nothing else is done, a picture keeps its place at the left.
    beside = w - seen[:, 1]
    target = (
        target
        - torch.stack([beside, torch.zeros_like(beside)], 1)
        * ((still & (sign < 0)).to(chance.dtype)[:, None])
    )
    offset = target - (rotation @ source[..., None])[..., 0]
    return torch.cat([rotation, offset[..., None]], 2)


def _warp(picture: Tensor, forward: Tensor, size: tuple[int, int]) -> Tensor:
    """Return (b, c, size): the pictures moved; outside of them it is 0."""
    b, channels, high, wide = picture.shape
    h, w = size
    back = torch.linalg.inv_ex(forward[:, :, :2])[0]
    offset = -(back @ forward[:, :, 2:])
    # grid_sample wants, for each output position in −1 to 1, the source's in −1 to 1.
    into = torch.tensor([[w / 2, 0, w / 2], [0, h / 2, h / 2], [0, 0, 1]], device=picture.device)
    out = torch.tensor([[2 / wide, 0.0], [0.0, 2 / high]], device=picture.device)
    theta = out @ (torch.cat([back, offset], 2) @ into)
    theta[:, :, 2] -= 1
    grid = nnf.affine_grid(theta, [b, channels, h, w], align_corners=False)
    return nnf.grid_sample(picture, grid, padding_mode='zeros', align_corners=False)


def _moved(labels: Tensor, forward: Tensor, size: tuple[int, int]) -> Tensor:
    """Return labels in the result: the upright boxes around the moved ones, cut at its edges."""
    h, w = size
    x, y = labels[..., 1:5:2], labels[..., 2:5:2]  # (b, n, 2) each: left and right, top and bottom
    points = torch.stack(
        [torch.stack([x[..., i], y[..., j]], -1) for i in (0, 1) for j in (0, 1)], 2
    )
    rotated = torch.einsum('bij,bnkj->bnki', forward[:, :, :2], points)
    rotated = rotated + forward[:, None, None, :, 2]
    low, high = rotated.amin(2), rotated.amax(2)
    whole = (high - low).prod(-1)
    edge = torch.tensor([w, h], device=labels.device, dtype=low.dtype)
    low, high = low.clamp(min=0).minimum(edge), high.clamp(min=0).minimum(edge)
    sides = high - low
    gone = (sides < LEAST_SIDE).any(-1)
    class_id = torch.where(gone, -1.0, labels[..., 0])
    poor = (sides.prod(-1) < LEAST_SHARE * whole).to(labels.dtype)
    ignored = torch.maximum(labels[..., 5], poor)
    return torch.cat([class_id[..., None], low, high, ignored[..., None]], -1)


def _coloured(picture: Tensor, chance: Tensor, how: Augmentation) -> Tensor:
    """Turn the hue, and scale saturation and value, by one matrix a picture."""
    spread = 2 * chance - 1
    hue = math.radians(how.hue) * spread[:, 0]
    saturation, value = 1 + how.saturation * spread[:, 1], 1 + how.value * spread[:, 2]
    cos, sin, one = saturation * hue.cos(), saturation * hue.sin(), torch.ones_like(hue)
    none = torch.zeros_like(hue)
    rotation = torch.stack([one, none, none, none, cos, -sin, none, sin, cos], 1).view(-1, 3, 3)
    yiq = torch.tensor(_YIQ, device=picture.device)
    matrix = torch.linalg.inv(yiq) @ rotation @ yiq * value[:, None, None]
    matrix = matrix.flip(1, 2)  # BGR
    return torch.einsum('bij,bjhw->bihw', matrix, picture).clamp(0, 255)
