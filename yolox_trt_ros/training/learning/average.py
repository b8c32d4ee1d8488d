"""The exponential moving average of a network's weights, which is what a run gives out."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn

DECAY, RAMP = 0.9997, 1000
"""Share of the old average that a step keeps, and steps in which it comes near to that."""


class Average:
    """Average of the weights and of the batch norms' statistics, quick at first.

    Args:
        network: whose.
        steps: that a whole run has; a short one forgets sooner.

    Attributes:
        network: a copy that holds the average, in evaluation mode.
        updates: how many there were.
    """

    def __init__(self, network: nn.Module, steps: int) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self._mine, self._theirs = floats(self.network), floats(network)
        self.updates = 0
        # The last tenth of a run weighs two thirds in the end, as it does in a long one.
        self._decay = min(DECAY, max(0.0, 1 - 10 / max(10, steps)))
        self._ramp = min(RAMP, max(1, steps / 10))

    @torch.no_grad()
    def update(self) -> None:
        """Take the network's weights of now into the average."""
        self.updates += 1
        share = 1 - self._decay * (1 - math.exp(-self.updates / self._ramp))
        change = torch._foreach_sub(self._theirs, self._mine)
        torch._foreach_mul_(change, share)
        torch._foreach_add_(self._mine, change)


def floats(network: nn.Module) -> list[Tensor]:
    """Return everything of a network that has values between numbers."""
    return [v.detach() for v in network.state_dict().values() if v.is_floating_point()]
