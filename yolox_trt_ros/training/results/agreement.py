"""The end of training: batch norms measured, and both modes of the network compared."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from yolox_trt_ros.training.learning import batchnorm
from yolox_trt_ros.training.learning.step import Objective
from yolox_trt_ros.training.pictures.augment import NOTHING, augment
from yolox_trt_ros.training.pictures.order import Held, Order, Read

BATCHES = 8
WORSE = 1.1
"""Loss in use over that in training from which the two modes disagree."""


@dataclass(frozen=True)
class ModeLosses:
    """Losses of the same pictures.

    Attributes:
        training: with each batch's own statistics.
        use: with the running statistics, as the model is used.
    """

    training: float
    use: float

    @property
    def good(self) -> bool:
        """Return whether the model is about as good in use as in training."""
        return self.use <= WORSE * self.training


def plain_batches(
    source: Held | Read, order: Order, device: str, count: int = BATCHES
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield pictures as they are at run time, and their labels: the first batches of a run."""
    for step, batch in enumerate(source.batches(order, 0, count)):
        chance = order.chances(step).to(device)
        yield augment(*batch, chance, NOTHING)


@torch.no_grad()
def compare(
    network: nn.Module, objective: Objective, batches: list[tuple[Tensor, Tensor]]
) -> ModeLosses:
    """Return the losses of both modes; nothing is changed."""
    totals = []
    for training in (True, False):
        network.train(training)
        with batchnorm.still(network):
            losses = [objective(network, *batch, 0.0)['total'] for batch in batches]
        totals.append(float(torch.stack(losses).mean()))
    network.eval()
    return ModeLosses(*totals)


def agreed(
    network: nn.Module, objective: Objective, batches: list[tuple[Tensor, Tensor]]
) -> tuple[ModeLosses, ModeLosses]:
    """Return how both modes agreed, and how they do now: statistics are measured if they did not.

    Args:
        network: changed where its running statistics are not those of the pictures.
        objective: its loss.
        batches: of training pictures as they are at run time.
    """
    before = compare(network, objective, batches)
    if before.good:
        return before, before
    batchnorm.measure(network, (picture for picture, _ in batches))
    return before, compare(network, objective, batches)
