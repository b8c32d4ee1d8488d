"""Memory of a training step: how much a batch takes, and which batch fits in a limit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.training.learning.batchnorm import still

GIB = 1 << 30
SPARE = 0.9
"""Share of the limit that is planned with: allocators need some room."""


@dataclass(frozen=True)
class Fit:
    """A step that fits.

    Attributes:
        batch: pictures at once.
        checkpointing: whether stages are computed twice instead of kept.
        bytes: that it is expected to take.
    """

    batch: int
    checkpointing: bool
    bytes: int


def fitting(measure: Callable[[int, bool], int], limit: int, most: int) -> Fit:
    """Return the largest batch that fits, a power of two or the most that is wanted.

    Args:
        measure: bytes that a step with so many pictures takes, with checkpointing or without;
            raises ``torch.OutOfMemoryError`` where there is no such memory at all.
        limit: bytes.
        most: pictures that are wanted at once.

    Raises:
        ConfigError: not even one picture fits.
    """
    found = None
    for checkpointing in (False, True):
        batch = most
        while batch:
            try:
                used = measure(batch, checkpointing)
            except torch.OutOfMemoryError:
                used = limit + 1
            if used <= SPARE * limit:
                break
            # Twice the part that is too much is tried first: halves go down fast.
            batch = 1 << (batch - 1).bit_length() - 1 if batch > 1 else 0
        if batch == most or (batch and checkpointing):
            return Fit(batch, checkpointing, used)
        if batch:
            found = Fit(batch, checkpointing, used)
        # A small part is slow, and its batch norms know little: computing twice costs less.
        if found and found.batch >= 8:
            return found
    if found is None:
        raise ConfigError(
            f'--memory-gib: a step with one picture takes more than {limit / GIB:.2f} GiB: choose '
            'a smaller --size or --design'
        )
    return found


def kept_bytes(network: nn.Module, step: Callable[[], Any]) -> int:
    """Return what a step needs where nobody counts memory: weights, and what backward keeps.

    Weights count six times: themselves, gradient, AdamW's two moments, the average, and a copy.
    """
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        step()
    weights = sum(w.nbytes for w in network.parameters())
    return 6 * weights + sum(kept.values())


def checkpointed(network: nn.Module) -> int:
    """Let a network compute its stages twice instead of keeping what is in them; return how many.

    Batch norms move their statistics the first time only.
    """
    count = 0
    for module in network.modules():
        for child in module.children():
            if isinstance(child, nn.Sequential) and len(child) > 1:
                _compute_twice(child)
                count += 1
    return count


def _compute_twice(module: nn.Module) -> None:
    plain = module.forward

    def contexts() -> tuple[Any, Any]:
        return torch.autograd.set_grad_enabled(True), still(module)

    def forward(x: Tensor) -> Tensor:
        if not (module.training and torch.is_grad_enabled()):
            return plain(x)
        return checkpoint(
            plain, x, use_reentrant=False, context_fn=contexts, preserve_rng_state=False
        )

    module.forward = forward
