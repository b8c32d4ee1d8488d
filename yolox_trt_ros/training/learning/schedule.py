"""The optimiser, and the learning rate of each step."""

from __future__ import annotations

import math

import torch
from torch import nn

LAST_SHARE = 0.02
"""The learning rate of the last step, as a share of the highest."""
DECAY = 0.03


def optimiser_of(network: nn.Module, device: str) -> torch.optim.AdamW:
    """Return AdamW for a network; weights of convolutions decay, biases and batch norms do not."""
    weights = [w for w in network.parameters() if w.requires_grad]
    groups = [
        {'params': [w for w in weights if w.ndim < 2], 'weight_decay': 0.0},
        {'params': [w for w in weights if w.ndim >= 2], 'weight_decay': DECAY},
    ]
    return torch.optim.AdamW(groups, lr=0.0, fused=device.startswith('cuda') or None)


def rate(step: int, steps: int, warmup: int) -> float:
    """Return the learning rate of a step as a share of the highest: warm-up, then cosine."""
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return LAST_SHARE + (1 - LAST_SHARE) * (1 + math.cos(math.pi * min(1.0, done))) / 2
