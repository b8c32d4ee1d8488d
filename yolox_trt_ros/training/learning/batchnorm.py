"""Batch norms: their statistics are those of the data, or are frozen, and both modes agree.

On few pictures or in a short run, running means may never have moved to where the data are: then a
network is good in training and bad in use. So they are measured at the end, and both are compared.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

MODES = ('own', 'sync', 'frozen')
"""Each rank's own statistics; those of all ranks; those that the weights came with."""


def norms(network: nn.Module) -> list[nn.Module]:
    """Return a network's batch norms."""
    return [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]


def freeze(network: nn.Module) -> None:
    """Let the batch norms use the statistics that they have, in training too."""
    for module in norms(network):
        module.eval()


@contextlib.contextmanager
def still(network: nn.Module) -> Iterator[None]:
    """Let nothing move the running statistics."""
    kept = [(m, m.momentum) for m in norms(network)]
    for module, _ in kept:
        module.momentum = 0.0
    try:
        yield
    finally:
        for module, momentum in kept:
            module.momentum = momentum


@torch.no_grad()
def measure(network: nn.Module, pictures: Iterable[Tensor]) -> None:
    """Give the batch norms the means and variances of pictures, each batch with the same weight.

    What the network computes changes to what it computed in training.

    Args:
        network: changed; stays in evaluation mode.
        pictures: float32 (b, 3, h, w), of the run's batches.
    """
    kept = [(m, m.momentum) for m in norms(network)]
    for module, _ in kept:
        module.reset_running_stats()
        module.momentum = None  # PyTorch's cumulative average
    network.train()
    for picture in pictures:
        network(picture)
    network.eval()
    for module, momentum in kept:
        module.momentum = momentum


@torch.no_grad()
def settle(network: nn.Module, pictures: Iterable[Tensor]) -> None:
    """Give the batch norms the means and variances of pictures; what they compute stays.

    Args:
        network: with batch norms without effect, on the pictures' device.
        pictures: float32 (b, 3, h, w).
    """
    sums: dict[nn.Module, list[Tensor]] = {}

    def note(module: nn.Module, given: Tensor) -> None:
        x = given.double()
        found = [x.mean((0, 2, 3)), (x * x).mean((0, 2, 3)), torch.ones((), device=x.device)]
        known = sums.get(module)
        sums[module] = (
            found if known is None else [a + b for a, b in zip(known, found, strict=True)]
        )

    hooks = [
        m.register_forward_pre_hook(lambda module, inputs: note(module, inputs[0]))
        for m in norms(network)
    ]
    network.eval()
    for batch in pictures:
        network(batch)
    for hook in hooks:
        hook.remove()
    for module, (mean, square, count) in sums.items():
        _replace(module, (mean / count).float(), (square / count).float())


def _replace(bn: nn.Module, mean: Tensor, square: Tensor) -> None:
    """Set a batch norm's statistics, and its weights so that it computes what it did."""
    scale = bn.weight / (bn.running_var + bn.eps).sqrt()
    shift = bn.bias - bn.running_mean * scale
    bn.running_mean.copy_(mean)
    bn.running_var.copy_((square - mean**2).clamp(min=0))
    bn.weight.copy_(scale * (bn.running_var + bn.eps).sqrt())
    bn.bias.copy_(shift + mean * scale)
