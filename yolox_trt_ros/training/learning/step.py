"""One training step: augment, forward, assign, lose, backward, change the weights."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from yolox_trt_ros.training.learning import batchnorm
from yolox_trt_ros.training.learning.assign import Assigner
from yolox_trt_ros.training.learning.average import Average
from yolox_trt_ros.training.learning.loss import YoloxLoss
from yolox_trt_ros.training.learning.precision import Precision
from yolox_trt_ros.training.learning.schedule import optimiser_of
from yolox_trt_ros.training.networks.maps import decode, raw_boxes
from yolox_trt_ros.training.pictures.augment import Augmentation, augment
from yolox_trt_ros.training.pictures.order import Batch


class Objective:
    """The loss of a network on pictures.

    Args:
        size: (height, width) of the input.
        device: that trains.
        precision: of the network.
    """

    def __init__(self, size: tuple[int, int], device: str, precision: Precision) -> None:
        self._assign, self._loss = Assigner(size, device), YoloxLoss(size, device)
        self._precision, self._shared = precision, dist.is_initialized()

    def alone(self) -> Objective:
        """Return the same for one rank that does not wait for the others."""
        mine = copy.copy(self)
        mine._shared = False
        return mine

    def __call__(
        self, network: nn.Module, picture: Tensor, labels: Tensor, l1: float
    ) -> dict[str, Tensor]:
        """Return the losses, ``total`` among them; the same for all ranks as for one.

        Args:
            network: that is trained.
            picture: float32 (b, 3, h, w).
            labels: (b, n, 6) in input pixels.
            l1: weight of the L1 loss.
        """
        with self._precision.forward():
            maps = network(picture.contiguous(memory_format=torch.channels_last))
        predicted, raw = decode(maps), raw_boxes(maps)
        label_of, overlap = self._assign(predicted, labels)
        count = (label_of >= 0).sum().float()
        ranks = 1
        if self._shared:
            # Ranks' gradients are averaged: with this, a rank with many labels counts for more.
            dist.all_reduce(count)
            ranks = dist.get_world_size()
        count = count.clamp(min=1) / ranks
        return self._loss(predicted, raw, labels, label_of, overlap, l1, count)


class TrainingStep:
    """What a batch of pictures does to a network.

    Args:
        network: on the device; what is trained, without DDP around it.
        wrapped: the same, or DDP around it.
        size, device, precision: as of :class:`Objective`.
        parts: of a batch; each is normalised by itself, the gradient is their mean.
        frozen: whether batch norms keep their statistics.
        steps: of the whole run.
    """

    def __init__(
        self,
        network: nn.Module,
        wrapped: nn.Module,
        size: tuple[int, int],
        device: str,
        precision: Precision,
        parts: int,
        frozen: bool,
        steps: int,
    ) -> None:
        self.network, self.precision = network, precision
        self.objective = Objective(size, device, precision)
        self.optimiser = optimiser_of(network, device)
        self.average = Average(network, steps)
        self._wrapped, self._parts, self._frozen = wrapped, parts, frozen
        self._weights = [w for w in network.parameters() if w.requires_grad]

    def run(
        self, batch: Batch, chance: Tensor, how: Augmentation, rate: float, l1: float
    ) -> dict[str, Tensor]:
        """Train on a batch and return its losses.

        Args:
            batch: pictures, labels, sizes; see :mod:`pictures.rows`.
            chance: the random numbers of the augmentation.
            how: the augmentation.
            rate: of learning.
            l1: weight of the L1 loss.
        """
        self._wrapped.train()
        if self._frozen:
            batchnorm.freeze(self.network)
        for group in self.optimiser.param_groups:
            group['lr'] = rate
        self.optimiser.zero_grad(set_to_none=True)
        every: list[dict[str, Tensor]] = []
        pieces = [x.chunk(self._parts) for x in (*batch, chance)]
        count = len(pieces[0])
        for k, (images, labels, seen, random) in enumerate(zip(*pieces, strict=True)):
            with _without_exchange(self._wrapped, k + 1 < count):
                picture, moved = augment(images, labels, seen, random, how)
                losses = self.objective(self._wrapped, picture, moved, l1)
                self.precision.backward(losses['total'] / count)
            every.append({name: value.detach() for name, value in losses.items()})
        if self.precision.step(self.optimiser, self._weights):
            self.average.update()
        return _mean(every)

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {
            'network': self.network.state_dict(),
            'average': self.average.network.state_dict(),
            'updates': self.average.updates,
            'optimiser': self.optimiser.state_dict(),
            'precision': self.precision.state(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take what :meth:`state` gave."""
        self.network.load_state_dict(state['network'])
        self.average.network.load_state_dict(state['average'])
        self.average.updates = int(state['updates'])
        self.optimiser.load_state_dict(state['optimiser'])
        self.precision.load(state['precision'])


def _without_exchange(network: nn.Module, wanted: bool) -> Any:
    """Return a context in which DDP keeps the gradients to itself, if that is wanted."""
    no_sync = getattr(network, 'no_sync', None)
    return no_sync() if wanted and no_sync else torch.enable_grad()


def _mean(every: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack([one[name] for one in every]).mean() for name in every[0]}
