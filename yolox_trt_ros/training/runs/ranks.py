"""The processes of a run: one, or those that ``torchrun`` started, one a GPU."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from torch import nn

from yolox_trt_ros.core.errors import ConfigError

WAIT = timedelta(minutes=30)
"""Longest time that a rank waits for another: one that reads a large data set takes minutes."""


@dataclass(frozen=True)
class Ranks:
    """This process among those of a run.

    Attributes:
        rank: its number.
        count: how many there are.
        device: that it trains on.
    """

    rank: int
    count: int
    device: str

    @property
    def first(self) -> bool:
        """Return whether it is the one that writes and prints."""
        return self.rank == 0

    def wrapped(self, network: nn.Module, batch_norm: str) -> tuple[nn.Module, nn.Module]:
        """Return a network on the device, and the same with DDP around it, if there are several.

        Raises:
            ConfigError: synchronised batch norms are asked for on a CPU, which has none.
        """
        if self.count > 1 and batch_norm == 'sync':
            if not self.device.startswith('cuda'):
                raise ConfigError('--batch-norm sync needs GPUs; on CPUs choose own or frozen')
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
        network = network.to(self.device, memory_format=torch.channels_last)
        if self.count == 1:
            return network, network
        ids = [torch.device(self.device).index] if self.device.startswith('cuda') else None
        wrapped = nn.parallel.DistributedDataParallel(
            network, device_ids=ids, broadcast_buffers=False, gradient_as_bucket_view=True
        )
        return network, wrapped

    def share(self, count: int) -> range:
        """Return this rank's part of so many things."""
        return range(self.rank * count // self.count, (self.rank + 1) * count // self.count)

    def gathered(self, mine: list[Any]) -> list[Any]:
        """Return what all ranks have, in their order; each gets it."""
        if self.count == 1:
            return mine
        every: list[list[Any]] = [[] for _ in range(self.count)]
        dist.all_gather_object(every, mine)
        return [one for part in every for one in part]

    def agreed(self, value: Any) -> Any:
        """Return what the first rank has."""
        if self.count == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, 0)
        return box[0]


@contextlib.contextmanager
def joined(device: str) -> Iterator[Ranks]:
    """Join the processes that ``torchrun`` started, if it did.

    Args:
        device: ``cuda`` or ``cpu``; empty: a GPU where there is one.

    Raises:
        ConfigError: a GPU is asked for, and there is none for this process.
    """
    device = device or ('cuda' if torch.cuda.is_available() else 'cpu')
    kind = device.split(':')[0]
    if kind == 'cuda' and not torch.cuda.is_available():
        raise ConfigError('--device cuda: PyTorch sees no GPU; --device cpu is for small tests')
    count = int(os.environ.get('WORLD_SIZE', '1'))
    if count == 1:
        yield Ranks(0, 1, 'cuda:0' if device == 'cuda' else device)
        return
    local = int(os.environ['LOCAL_RANK'])
    if kind == 'cuda':
        if local >= torch.cuda.device_count():
            raise ConfigError(
                f'rank {local} of this machine has no GPU of its own: there are '
                f'{torch.cuda.device_count()}'
            )
        torch.cuda.set_device(local)
    dist.init_process_group('nccl' if kind == 'cuda' else 'gloo', timeout=WAIT)
    try:
        yield Ranks(dist.get_rank(), count, f'cuda:{local}' if kind == 'cuda' else 'cpu')
    finally:
        dist.destroy_process_group()


def start_ranks(count: int, arguments: Sequence[str]) -> NoReturn:
    """Become ``torchrun`` with so many processes of the same command on this machine.

    Args:
        count: processes.
        arguments: of the command line, after the module's name.
    """
    program = [
        sys.executable, '-m', 'torch.distributed.run', '--standalone',
        f'--nproc_per_node={count}', '-m', 'yolox_trt_ros', *arguments,
    ]  # fmt: skip
    sys.stdout.flush()
    os.execv(sys.executable, program)
