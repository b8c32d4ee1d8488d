"""Mixed precision by torch's own AMP: bfloat16, or float16 with a loss scale that finds itself."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

PRECISIONS = ('bf16', 'fp16', 'fp32')
CLIP = 35.0
"""Longest gradient of all weights together."""
LARGEST = 5
"""Layers whose gradients are told."""
_TYPES = {'bf16': torch.bfloat16, 'fp16': torch.float16}


class Precision:
    """Computes the network in one precision, and steps so that no gradient is lost by it.

    The loss and the assignment are always in FP32.

    Args:
        device: that trains.
        name: one of :data:`PRECISIONS`.

    Attributes:
        name: of the precision.
        skipped: steps that were left out, for their gradients were not finite.
    """

    def __init__(self, device: str, name: str) -> None:
        self.name, self.skipped = name, 0
        self._kind = device.split(':')[0]
        self._scaler = torch.amp.GradScaler(self._kind, enabled=name == 'fp16')

    def forward(self) -> AbstractContextManager[Any]:
        """Return the context in which the network runs."""
        return torch.autocast(
            self._kind, _TYPES.get(self.name, torch.float32), enabled=self.name != 'fp32'
        )

    def backward(self, loss: Tensor) -> None:
        """Find the gradients of a loss, times the scale."""
        self._scaler.scale(loss).backward()

    def step(self, optimiser: torch.optim.Optimizer, weights: list[nn.Parameter]) -> bool:
        """Clip the gradients and change the weights; say whether they were changed."""
        self._scaler.unscale_(optimiser)
        nn.utils.clip_grad_norm_(weights, CLIP)
        before = self.scale
        self._scaler.step(optimiser)
        self._scaler.update()
        skipped = self.scale < before
        self.skipped += skipped
        return not skipped

    @property
    def scale(self) -> float:
        """Return the loss scale; 1 where there is none."""
        return float(self._scaler.get_scale())

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {'scaler': self._scaler.state_dict(), 'skipped': self.skipped}

    def load(self, state: dict[str, Any]) -> None:
        """Take what :meth:`state` gave."""
        self._scaler.load_state_dict(state['scaler'])
        self.skipped = int(state['skipped'])


@torch.no_grad()
def largest_gradients(named: Iterable[tuple[str, nn.Parameter]]) -> dict[str, float]:
    """Return the layers with the largest gradients and their largest magnitude, not finite first.

    Args:
        named: names and weights, after :meth:`Precision.step` (so without the scale).
    """
    there = [(name, w.grad) for name, w in named if w.grad is not None]
    if not there:
        return {}
    sizes = torch.stack(torch._foreach_norm([g for _, g in there], float('inf'))).tolist()
    rows = [(name, size) for (name, _), size in zip(there, sizes, strict=True)]
    finite = float('inf')
    rows.sort(key=lambda row: -(row[1] if row[1] == row[1] else finite))
    return dict(rows[:LARGEST])
