"""Which pictures a step takes, and all that is random about it: from the seed and the step alone.

So a run that is resumed goes on as it would have, and several ranks take their shares of the very
batches that one takes alone.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from yolox_trt_ros.training.pictures.augment import CHANCES
from yolox_trt_ros.training.pictures.rows import LetterboxedPictures, stacked

Batch = tuple[Tensor, Tensor, Tensor]


class Order:
    """Endless batches of indices; each picture once before any comes again.

    Args:
        pictures: how many there are.
        batch: pictures of a step, all ranks together.
        seed: another one gives another order.
        rank, ranks: this process, of so many.
    """

    def __init__(self, pictures: int, batch: int, seed: int, rank: int = 0, ranks: int = 1) -> None:
        self._pictures, self._batch, self._seed = pictures, batch, seed
        each = batch // ranks
        self._mine = slice(rank * each, (rank + 1) * each)

    @property
    def steps_an_epoch(self) -> int:
        """Return after how many steps every picture has come once."""
        return max(1, self._pictures // self._batch)

    def indices(self, step: int) -> np.ndarray:
        """Return this rank's pictures of a step, int64 (batch / ranks,)."""
        epoch, place = divmod(step, self.steps_an_epoch)
        rows = np.random.default_rng((self._seed, epoch)).permutation(self._pictures)
        start = place * self._batch
        # A data set smaller than a batch fills it up with its own pictures again.
        return np.resize(rows[start : start + self._batch], self._batch)[self._mine]

    def chances(self, step: int) -> Tensor:
        """Return this rank's random numbers of a step, float32 (batch / ranks, CHANCES)."""
        random = np.random.default_rng((self._seed, step, 1))
        drawn = random.random((self._batch, CHANCES), np.float32)[self._mine]
        return torch.from_numpy(np.ascontiguousarray(drawn))


class _Steps:
    """The batches of indices from one step to another, for a loader."""

    def __init__(self, order: Order, start: int, stop: int) -> None:
        self._order, self._start, self._stop = order, start, stop

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self._start, self._stop):
            yield self._order.indices(step).tolist()

    def __len__(self) -> int:
        return self._stop - self._start


def _worker(_: int) -> None:
    """Begin a process that reads: Ctrl-C is for the training to answer, cores are for others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)


class Held:
    """All pictures on one device, read once.

    Args:
        pictures: to hold.
        device: where.
        workers: processes that read.
    """

    def __init__(self, pictures: LetterboxedPictures, device: str, workers: int) -> None:
        n, (h, w) = len(pictures), pictures.size
        self.images = torch.empty((n, h, w, 3), dtype=torch.uint8, device=device)
        self.labels = torch.empty((n, pictures.slots, 6), device=device)
        self.seen = torch.empty((n, 3), device=device)
        chunks = [list(range(k, min(k + 32, n))) for k in range(0, n, 32)]
        loader = DataLoader(
            pictures, batch_sampler=chunks, num_workers=workers, collate_fn=stacked,
            worker_init_fn=_worker,
        )  # fmt: skip
        start = 0
        for batch in loader:
            rows = slice(start, start + len(batch[0]))
            for mine, read in zip((self.images, self.labels, self.seen), batch, strict=True):
                mine[rows] = read.to(device)
            start = rows.stop

    def batches(self, order: Order, start: int, stop: int) -> Iterator[Batch]:
        """Yield the batches of steps."""
        for step in range(start, stop):
            index = torch.from_numpy(order.indices(step)).to(self.images.device)
            yield self.images[index], self.labels[index], self.seen[index]


class Read:
    """Pictures that are read when they are wanted.

    Args:
        pictures: to read.
        device: where they go.
        workers: processes that read.
    """

    def __init__(self, pictures: LetterboxedPictures, device: str, workers: int) -> None:
        self._pictures, self._device, self._workers = pictures, device, workers

    def batches(self, order: Order, start: int, stop: int) -> Iterator[Batch]:
        """Yield the batches of steps."""
        cuda = self._device.startswith('cuda')
        loader = DataLoader(
            self._pictures,
            batch_sampler=_Steps(order, start, stop),
            num_workers=self._workers,
            collate_fn=stacked,
            worker_init_fn=_worker,
            pin_memory=cuda,
            prefetch_factor=4 if self._workers else None,
        )
        for images, labels, seen in loader:
            yield tuple(x.to(self._device, non_blocking=cuda) for x in (images, labels, seen))


def held_bytes(pictures: LetterboxedPictures) -> int:
    """Return how much memory :class:`Held` takes."""
    height, width = pictures.size
    return len(pictures) * height * width * 3
