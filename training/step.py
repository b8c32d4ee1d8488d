"""One training step: network and loss are CUDA graphs, labels are assigned on the CPU in between.

The network is small: run operation by operation, a GPU waits for Python most of the time.
"""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor, nn

from training.assign import AssignmentPool
from training.data import CHANCES, Pictures, augment
from yolox_trt_ros.training.learning.loss import YoloxLoss
from yolox_trt_ros.training.networks.edge import EdgeYolox
from yolox_trt_ros.training.networks.maps import decode

BEFORE_CAPTURE = 12
"""Steps run one by one first: they compile, and choose kernels and workspaces."""
CLIP = 35.0
MIXED = True
"""Convolutions compute in bfloat16; the loss and the assignment always in FP32."""


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


class Replayed:
    """Work that is done a few times as it is, then captured as a CUDA graph and replayed.

    What shares a memory pool has to be called in turn, always in the same order.
    """

    def __init__(self, work: Callable[[], None], pool: tuple[int, int]) -> None:
        self._work, self._pool, self._done = work, pool, 0
        self._graph = torch.cuda.CUDAGraph()

    def __call__(self) -> None:
        if self._done < BEFORE_CAPTURE:
            self._work()
        else:
            if self._done == BEFORE_CAPTURE:
                stream = torch.cuda.current_stream()
                with torch.cuda.graph(self._graph, pool=self._pool, stream=stream):
                    self._work()
            self._graph.replay()
        self._done += 1


class Part:
    """A share of a batch: while its labels are assigned, the GPU works on another part.

    Args:
        step: which it is a part of.
        rows: its pictures' rows in the batch.
    """

    def __init__(self, step: Step, rows: slice) -> None:
        pool, device = step.pool, step.data.device
        self._step, self._rows = step, rows
        self._host = [a[rows] for a in (pool.predicted, pool.labels, pool.label_of, pool.overlap)]
        self._label_of, self._overlap = (torch.empty_like(a, device=device) for a in self._host[2:])
        self.index = torch.zeros(len(self._overlap), dtype=torch.long, device=device)
        self.chance = torch.zeros(len(self._overlap), CHANCES, device=device)
        self.losses: dict[str, Tensor] = {}
        self.gradients: list[Tensor] = []
        self._predict, self._learn = step.graph(self._forward), step.graph(self._backward)
        self._copied = torch.cuda.Event() if device.startswith('cuda') else None

    def predict(self) -> None:
        """Begin: augment the pictures, run the network, bring the predictions to the CPU."""
        self._predict()
        self._host[0].copy_(self._predicted.detach(), non_blocking=True)
        self._host[1].copy_(self._labels, non_blocking=True)
        if self._copied:
            self._copied.record()

    def learn(self) -> None:
        """Have the labels assigned, and find the gradient."""
        if self._copied:
            self._copied.synchronize()
        self._step.pool.assign(self._rows.start, self._rows.stop)
        self._label_of.copy_(self._host[2], non_blocking=True)
        self._overlap.copy_(self._host[3], non_blocking=True)
        self._learn()

    def _forward(self) -> None:
        # Taken outside of the compiled part: a split holds more pixels than 32 bits count.
        step, data = self._step, self._step.data
        picture, labels = data.images[self.index], data.labels[self.index]
        picture, self._labels = step.augment(picture, labels, self.chance, step.zoom, data.size)
        self._predicted, self._raw = step.predict(picture)

    def _backward(self) -> None:
        losses = self._step.loss(
            self._predicted, self._raw, self._labels, self._label_of, self._overlap, self._step.l1
        )
        weights = self._step.weights
        gradients = torch.autograd.grad(losses['total'], weights)
        self.gradients = [_laid_out_as(w, g) for w, g in zip(weights, gradients, strict=True)]
        self.losses = {name: value.detach() for name, value in losses.items()}


def _laid_out_as(weight: Tensor, gradient: Tensor) -> Tensor:
    """Return the gradient with the weight's strides, which the fused optimiser asks for."""
    if gradient.stride() == weight.stride():
        return gradient
    return torch.empty_like(weight, requires_grad=False).copy_(gradient)


class Step:
    """What a batch of pictures does to a network.

    Args:
        network: on the device.
        data: the pictures.
        pool: assigns labels; its batch is the number of pictures that a step takes.
        eager: neither compile nor capture.
        parts: of a batch, each normalised by itself; the gradient is their mean.
        zeros: where weights may differ from zero, 1 or 0, by their names; the others stay zero.

    Attributes:
        losses: of the latest step, the mean of its parts.
    """

    def __init__(
        self,
        network: EdgeYolox,
        data: Pictures,
        pool: AssignmentPool,
        eager: bool,
        parts: int,
        zeros: Mapping[str, Tensor] | None = None,
    ) -> None:
        device, batch = data.device, len(pool.predicted)
        if batch % parts:
            raise ValueError(f'batch: expected a multiple of {parts}, got {batch}')
        self.average = Average(network, device)
        self.data, self.pool, self.parts = data, pool, parts
        self.losses: dict[str, Tensor] = {}
        self.l1, self.zoom, self._rate = (torch.zeros((), device=device) for _ in range(3))
        self._network, self._device = network, device
        self.weights = list(network.parameters())
        names = [name for name, _ in network.named_parameters()]
        self._zeros = [(names.index(name), mask) for name, mask in (zeros or {}).items()]
        groups = [
            {'params': [p for p in self.weights if p.ndim < 2], 'weight_decay': 0.0},
            {'params': [p for p in self.weights if p.ndim >= 2], 'weight_decay': 0.03},
        ]
        cuda = device.startswith('cuda')
        self._optimiser = torch.optim.AdamW(groups, lr=self._rate, fused=True, capturable=cuda)
        torch.backends.cudnn.benchmark = True
        self._stream = torch.cuda.Stream() if cuda else None
        self._graphs = torch.cuda.graph_pool_handle() if cuda and not eager else None
        self.augment, self.predict = augment, self._forward
        self.loss = YoloxLoss(data.size, device).__call__
        if not eager:
            self.augment = torch.compile(augment, dynamic=False)
            self.predict = torch.compile(self._forward, dynamic=False)
            self.loss = torch.compile(self.loss, dynamic=False)
        each = batch // parts
        self._parts = [Part(self, slice(k, k + each)) for k in range(0, batch, each)]
        self._finish = self.graph(self._update)

    def graph(self, work: Callable[[], None]) -> Callable[[], None]:
        """Return the work, or what captures and replays it."""
        return Replayed(work, self._graphs) if self._graphs else work

    def run(
        self, index: Tensor, random: torch.Generator, rate: float, l1: float, zoom: float
    ) -> None:
        """Train on the pictures of an index.

        Args:
            index: (batch,), of the pictures.
            random: draws the augmentation.
            rate: of learning.
            l1, zoom: weight of the L1 loss; 1 or 0: with or without zoom and shift.

        Raises:
            RuntimeError: a process that assigns labels has ended.
        """
        with self._aside():
            for part, its_index in zip(self._parts, index.chunk(self.parts), strict=True):
                part.index.copy_(its_index)
                part.chance.uniform_(generator=random)
            for group in self._optimiser.param_groups:
                group['lr'].fill_(rate)
            self.l1.fill_(l1)
            self.zoom.fill_(zoom)
            self.average.advance()
            for part in self._parts:
                part.predict()
            for part in self._parts:
                part.learn()
            self._finish()

    @contextlib.contextmanager
    def _aside(self) -> Iterator[None]:
        """Work on a stream of its own: the one that everyone uses cannot be captured."""
        if self._stream is None:
            yield
            return
        outside = torch.cuda.current_stream()
        self._stream.wait_stream(outside)
        with torch.cuda.stream(self._stream):
            yield
        outside.wait_stream(self._stream)

    def _update(self) -> None:
        total = self._parts[0].gradients
        for part in self._parts[1:]:
            torch._foreach_add_(total, part.gradients)
        torch._foreach_div_(total, self.parts)
        if self._zeros:  # without a gradient, a weight that is zero has no decay either
            torch._foreach_mul_([total[k] for k, _ in self._zeros], [m for _, m in self._zeros])
        for weight, gradient in zip(self.weights, total, strict=True):
            weight.grad = gradient
        nn.utils.clip_grad_norm_(self.weights, CLIP)
        self._optimiser.step()
        self.average.update()
        self.losses = {
            name: torch.stack([part.losses[name] for part in self._parts]).mean()
            for name in self._parts[0].losses
        }

    def _forward(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(self._device.split(':')[0], torch.bfloat16, enabled=MIXED):
            maps = self._network(picture.contiguous(memory_format=torch.channels_last))
        raw = torch.cat([m[0].flatten(2) for m in maps], 2).permute(0, 2, 1).float()
        return decode(maps), raw
