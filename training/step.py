"""One training step, compiled, captured once as a CUDA graph and replayed.

The network is small: run operation by operation, a GPU waits for Python most of the time.
"""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn

from training.data import CHANCES, Pictures, augment
from training.loss import YoloxLoss
from training.network import EdgeYolox, decode

BEFORE_CAPTURE = 12
"""Steps run one by one first: they compile, and choose kernels and workspaces."""
CLIP = 35.0


class Average:
    """Exponential moving average of a network's weights, quick at first."""

    def __init__(self, network: nn.Module, device: str, decay: float = 0.9997) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self._mine = _floats(self.network)
        self._theirs = _floats(network)
        self._decay, self._steps = decay, 0
        self._share = torch.zeros((), device=device)

    def advance(self) -> None:
        """Set the share of the coming :meth:`update`."""
        self._steps += 1
        self._share.fill_(1 - self._decay * (1 - math.exp(-self._steps / 1000)))

    @torch.no_grad()
    def update(self) -> None:
        change = torch._foreach_sub(self._theirs, self._mine)
        torch._foreach_mul_(change, self._share)
        torch._foreach_add_(self._mine, change)


def _floats(network: nn.Module) -> list[Tensor]:
    return [v.detach() for v in network.state_dict().values() if v.is_floating_point()]


class Step:
    """What a batch of pictures does to a network.

    Args:
        network: on the device.
        data: the pictures.
        batch: how many a step takes.
        eager: neither compile nor capture.
    """

    def __init__(self, network: EdgeYolox, data: Pictures, batch: int, eager: bool) -> None:
        device = data.device
        self.average = Average(network, device)
        self.losses: dict[str, Tensor] = {}
        self._network, self._data, self._device = network, data, device
        self._loss = YoloxLoss(data.size, device)
        self._index = torch.zeros(batch, dtype=torch.long, device=device)
        self._chance = torch.zeros(batch, CHANCES, device=device)
        self._rate, self._l1, self._zoom = (torch.zeros((), device=device) for _ in range(3))
        weights = list(network.parameters())
        groups = [
            {'params': [p for p in weights if p.ndim < 2], 'weight_decay': 0.0},
            {'params': [p for p in weights if p.ndim >= 2], 'weight_decay': 0.03},
        ]
        cuda = device.startswith('cuda')
        self._optimiser = torch.optim.AdamW(groups, lr=self._rate, fused=True, capturable=cuda)
        torch.backends.cudnn.benchmark = True
        self._graph = torch.cuda.CUDAGraph() if cuda and not eager else None
        self._stream = torch.cuda.Stream() if self._graph else None
        self._done = 0
        self._augment, self._losses_of = augment, self._forward
        if not eager:
            self._augment = torch.compile(augment, dynamic=False)
            self._losses_of = torch.compile(self._forward, dynamic=False)

    def run(
        self, index: Tensor, random: torch.Generator, rate: float, l1: float, zoom: float
    ) -> None:
        """Train on the pictures of an index.

        Args:
            index: (batch,), of the pictures.
            random: draws the augmentation.
            rate: of learning.
            l1, zoom: weight of the L1 loss; 1 or 0: with or without zoom and shift.
        """
        self._index.copy_(index)
        self._chance.uniform_(generator=random)
        for group in self._optimiser.param_groups:
            group['lr'].fill_(rate)
        self._l1.fill_(l1)
        self._zoom.fill_(zoom)
        self.average.advance()
        if self._graph is None or self._stream is None:
            self._work()
        elif self._done > BEFORE_CAPTURE:
            self._graph.replay()
        else:
            self._warm(self._graph, self._stream)
        self._done += 1

    def _warm(self, graph: torch.cuda.CUDAGraph, stream: torch.cuda.Stream) -> None:
        """Work on the stream that captures; at the end capture, and replay once."""
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            if self._done < BEFORE_CAPTURE:
                self._work()
        torch.cuda.current_stream().wait_stream(stream)
        if self._done == BEFORE_CAPTURE:
            with torch.cuda.graph(graph, stream=stream):
                self._work()
            graph.replay()

    def _work(self) -> None:
        # Taken outside of the compiled part: a split holds more pixels than 32 bits count.
        picture, labels = self._data.images[self._index], self._data.labels[self._index]
        picture, labels = self._augment(picture, labels, self._chance, self._zoom, self._data.size)
        losses = self._losses_of(picture, labels)
        self._optimiser.zero_grad(set_to_none=True)
        losses['total'].backward()
        nn.utils.clip_grad_norm_(self._network.parameters(), CLIP)
        self._optimiser.step()
        self.average.update()
        self.losses = {name: value.detach() for name, value in losses.items()}

    def _forward(self, picture: Tensor, labels: Tensor) -> dict[str, Tensor]:
        with torch.autocast(self._device.split(':')[0], torch.bfloat16):
            maps = self._network(picture.contiguous(memory_format=torch.channels_last))
        raw = torch.cat([m[0].flatten(2) for m in maps], 2).permute(0, 2, 1).float()
        return self._loss(decode(maps), raw, labels, self._l1)
