"""Training data: worlds rendered on every core, kept on the GPU, augmented there."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as nnf
from torch import Tensor

from yolox_trt_ros.sim.world.truth import MIN_HEIGHT

HEIGHT, WIDTH, SLOTS = 640, 960, 48
"""Rendered picture size, and how many boxes a picture's label row holds."""
THINNED = 4
"""Of so many pixels each way, the one in the middle is kept of a mask."""
UNMOVED, ZOOM, CHANCES = 0.4, (0.75, 1.5), 11
"""Share of pictures without zoom and shift, range of the zoom, random numbers a picture takes."""
LOADERS = 8
"""Threads that read pictures: one alone leaves disk and GPU waiting."""


def _render(job: tuple[str, int, str]) -> int:
    from yolox_trt_ros.sim.world.dataset import PER_WORLD, render_masks

    cv2.setNumThreads(1)  # each core renders a world of its own
    split, index, folder = job
    images = np.load(f'{folder}/{split}_images.npy', mmap_mode='r+')
    labels = np.load(f'{folder}/{split}_labels.npy', mmap_mode='r+')
    masks = np.load(f'{folder}/{split}_masks.npy', mmap_mode='r+')
    for k, (_, bgr, truth, mask) in enumerate(render_masks(split, index), index * PER_WORLD):
        images[k], masks[k] = bgr, mask[THINNED // 2 :: THINNED, THINNED // 2 :: THINNED]
        # Largest first, so that a crowded picture loses the smallest.
        order = np.argsort(-np.prod(truth.xyxy[:, 2:] - truth.xyxy[:, :2], axis=1))[:SLOTS]
        labels[k] = -1
        labels[k, : len(order), 0] = truth.class_id[order]
        labels[k, : len(order), 1:5] = truth.xyxy[order]
        labels[k, : len(order), 5] = truth.ignored[order]
    return index


def render(split: str, worlds: int, folder: Path, workers: int | None = None) -> None:
    """Render a split into ``<split>_images.npy`` (n, 640, 960, 3) and ``_labels.npy`` (n, 48, 6).

    A label row is class (−1: empty), left, top, right, bottom in pixels, ignored (0 or 1).
    ``<split>_masks.npy`` (n, 160, 240) has the class of every fourth pixel each way, an index into
    ``sim.world.truth.MASK_CLASSES``.
    """
    from yolox_trt_ros.sim.world.dataset import PER_WORLD

    folder.mkdir(parents=True, exist_ok=True)
    n, start = worlds * PER_WORLD, time.monotonic()
    for name, shape, dtype in (
        ('images', (n, HEIGHT, WIDTH, 3), np.uint8),
        ('labels', (n, SLOTS, 6), np.float32),
        ('masks', (n, HEIGHT // THINNED, WIDTH // THINNED), np.uint8),
    ):
        np.lib.format.open_memmap(f'{folder}/{split}_{name}.npy', 'w+', dtype, shape).flush()
    jobs = [(split, k, str(folder)) for k in range(worlds)]
    context = multiprocessing.get_context('spawn')
    with context.Pool(workers or os.cpu_count()) as pool:
        for done, _ in enumerate(pool.imap_unordered(_render, jobs), 1):
            if done % max(1, worlds // 10) == 0:
                took = time.monotonic() - start
                print(f'{split}: {done}/{worlds} worlds rendered in {took:.0f} s', flush=True)


class Pictures:
    """A rendered split, held on one device.

    Args:
        folder, split: what :func:`render` wrote.
        size: (height, width) of the network's input.
        device: holds all pictures.
        limit: use only this many pictures; 0: all.
    """

    def __init__(
        self, folder: Path, split: str, size: tuple[int, int], device: str, limit: int = 0
    ) -> None:
        images = np.load(folder / f'{split}_images.npy', mmap_mode='r')
        labels = np.load(folder / f'{split}_labels.npy')
        n = len(images) if not limit else min(limit, len(images))
        self.images = torch.empty((n, HEIGHT, WIDTH, 3), dtype=torch.uint8, device=device)
        with ThreadPoolExecutor(LOADERS) as loaders:
            for _ in loaders.map(lambda k: self._load(images, k), range(0, n, 64)):
                pass
        self.labels = torch.from_numpy(labels[:n]).to(device)
        self.size, self.device = size, device

    def _load(self, images: np.ndarray, start: int) -> None:
        there = self.images[start : start + 64]
        there.copy_(torch.from_numpy(np.array(images[start : start + len(there)])))

    def __len__(self) -> int:
        return len(self.images)

    def plain(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Return pictures letterboxed as at run time, and their labels in source pixels."""
        h, w = self.size
        scale = min(h / HEIGHT, w / WIDTH)
        picture = self.images[start:stop].permute(0, 3, 1, 2).float()
        small = nnf.interpolate(
            picture, (int(HEIGHT * scale), int(WIDTH * scale)), mode='bilinear', align_corners=False
        )
        out = torch.full((len(picture), 3, h, w), 114.0, device=self.device)
        out[:, :, : small.shape[2], : small.shape[3]] = small
        return out, self.labels[start:stop]


def augment(
    image: Tensor, labels: Tensor, chance: Tensor, zoom: Tensor, size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Flip, zoom, shift and tint pictures and move their labels along.

    Args:
        image: uint8 (b, 640, 960, 3).
        labels: (b, 48, 6) in pixels of the rendered picture.
        chance: (b, CHANCES), uniform in 0 to 1: all that is random about the result.
        zoom: 1: zoom and shift as well; 0: place the pictures as at run time.
        size: (height, width) of the network's input.

    Returns:
        float32 (b, 3, h, w), BGR, 0 to 255; labels (b, 48, 6) in input pixels.
    """
    b, (h, w) = len(image), size
    base = min(h / HEIGHT, w / WIDTH)
    scale, dx, dy, flip = _move(chance, zoom, size)
    grid = nnf.affine_grid(_source(scale, dx, dy, flip, size), [b, 3, h, w], align_corners=False)
    picture = image.permute(0, 3, 1, 2).float() - 114
    out = nnf.grid_sample(picture, grid, padding_mode='zeros', align_corners=False) + 114
    box = labels[..., 1:5]
    left = torch.where(flip[:, None], WIDTH - box[..., 2], box[..., 0])
    right = torch.where(flip[:, None], WIDTH - box[..., 0], box[..., 2])
    s = scale[:, None]
    x = torch.stack([left, right]) * s + dx[:, None]
    y = torch.stack([box[..., 1], box[..., 3]]) * s + dy[:, None]
    whole = (x[1] - x[0]) * (y[1] - y[0])
    x, y = x.clamp(0, w), y.clamp(0, h)
    wide, high = x[1] - x[0], y[1] - y[0]
    poor = (wide * high < 0.25 * whole) | (high < HEIGHT * MIN_HEIGHT * base * 0.8)
    class_id = torch.where((wide < 2) | (high < 3), -1.0, labels[..., 0])
    ignored = torch.maximum(labels[..., 5], poor.float())
    moved = torch.stack([class_id, x[0], y[0], x[1], y[1], ignored], -1)
    return _tint(out, chance[:, 5:, None, None, None]), moved


def moved_masks(
    masks: Tensor, chance: Tensor, zoom: Tensor, size: tuple[int, int], stride: int
) -> Tensor:
    """Return the masks of pictures that :func:`augment` moves by the same numbers.

    Args:
        masks: uint8 (b, 160, 240), see :func:`render`.
        chance, zoom, size: as there.
        stride: input pixels of a cell of the result.

    Returns:
        long (b, h / stride, w / stride); 255 outside of the picture.
    """
    h, w = size[0] // stride, size[1] // stride
    theta = _source(*_move(chance, zoom, size), size)
    grid = nnf.affine_grid(theta, [len(masks), 1, h, w], align_corners=False)
    shifted = masks[:, None].float() - 255  # what lies outside becomes 0, then 255
    return (nnf.grid_sample(shifted, grid, 'nearest', align_corners=False) + 255)[:, 0].long()


def _move(
    chance: Tensor, zoom: Tensor, size: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return how pictures are placed: scale, left and top in input pixels, whether mirrored."""
    h, w = size
    still = chance[:, 0] < UNMOVED
    factor = 1 + zoom * torch.where(still, 0.0, _between(chance[:, 1], *ZOOM) - 1)
    scale = min(h / HEIGHT, w / WIDTH) * factor
    dx = torch.where(still, 0.0, chance[:, 2] * (w - WIDTH * scale)) * zoom
    dy = torch.where(still, 0.0, chance[:, 3] * (h - HEIGHT * scale)) * zoom
    return scale, dx, dy, chance[:, 4] < 0.5


def _source(scale: Tensor, dx: Tensor, dy: Tensor, flip: Tensor, size: tuple[int, int]) -> Tensor:
    """Return, as ``affine_grid`` wants it, where each output pixel comes from, in −1 to 1."""
    h, w = size
    ax, ay = w / (WIDTH * scale), h / (HEIGHT * scale)
    bx = (w - 2 * dx) / (WIDTH * scale) - 1
    by = (h - 2 * dy) / (HEIGHT * scale) - 1
    sign, zero = torch.where(flip, -1.0, 1.0), torch.zeros_like(ax)
    return torch.stack([sign * ax, zero, sign * bx, zero, ay, by], 1).view(-1, 2, 3)


def _tint(picture: Tensor, chance: Tensor) -> Tensor:
    gain = _between(chance[:, 0], 0.75, 1.3) * _between(chance[:, 1:4, 0], 0.93, 1.07)
    grey = picture.mean(1, keepdim=True)
    picture = grey + (picture - grey) * _between(chance[:, 4], 0.6, 1.4)
    middle = picture.mean((1, 2, 3), keepdim=True)
    picture = middle + (picture - middle) * _between(chance[:, 5], 0.8, 1.2)
    return (picture * gain).clamp(0, 255)


def _between(chance: Tensor, low: float, high: float) -> Tensor:
    return low + (high - low) * chance


if __name__ == '__main__':
    render(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
