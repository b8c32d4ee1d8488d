"""Find the batch that fits in the memory that there is: ``--memory-gib``."""

from __future__ import annotations

from dataclasses import replace

import torch

from yolox_trt_ros.training.learning.memory import (
    GIB,
    checkpointed,
    fitting,
    kept_bytes,
)
from yolox_trt_ros.training.learning.precision import Precision
from yolox_trt_ros.training.learning.step import TrainingStep
from yolox_trt_ros.training.pictures.augment import CHANCES
from yolox_trt_ros.training.pictures.rows import PAD
from yolox_trt_ros.training.runs.ranks import Ranks
from yolox_trt_ros.training.runs.settings import Settings

SLOTS = 50


def fitted(settings: Settings, ranks: Ranks, gib: float) -> tuple[Settings, str]:
    """Return settings whose step fits in so much memory, and a sentence about it.

    The batch of a step stays: it is taken in parts, their gradients are added up.

    Raises:
        ConfigError: not even one picture fits.
    """
    share = settings.batch // ranks.count
    limit = int(gib * GIB)

    def measure(batch: int, checkpointing: bool) -> int:
        return step_bytes(settings, ranks.device, batch, checkpointing)

    fit = fitting(measure, limit, share)
    parts = -(-share // fit.batch)
    while share % parts:
        parts += 1
    how = 'measured' if ranks.device.startswith('cuda') else 'estimated'
    twice = ', stages computed twice' if fit.checkpointing else ''
    said = (
        f'memory: {share // parts} pictures at once{twice}, {parts} times a step: '
        f'{fit.bytes / GIB:.2f} of {gib:g} GiB ({how})'
    )
    return replace(settings, parts=parts, checkpointing=fit.checkpointing), said


def step_bytes(settings: Settings, device: str, batch: int, checkpointing: bool) -> int:
    """Return what a step with so many pictures takes: measured on a GPU, else estimated."""
    network = settings.spec.build().to(device, memory_format=torch.channels_last)
    precision = Precision(device, settings.precision)
    step = TrainingStep(network, network, settings.spec.size, device, precision, 1, False, 100)
    if checkpointing:
        checkpointed(network)
    images = torch.full((batch, *settings.spec.size, 3), PAD, dtype=torch.uint8, device=device)
    labels = torch.full((batch, SLOTS, 6), -1.0, device=device)
    labels[:, 0] = torch.tensor([0, 8, 8, 24, 24, 0.0], device=device)
    seen = torch.tensor([*settings.spec.size, 1.0], device=device).repeat(batch, 1)
    chance = torch.rand(batch, CHANCES, device=device)

    def once() -> None:
        step.run((images, labels, seen), chance, settings.augmentation, 1e-4, 1.0)

    if not device.startswith('cuda'):
        return kept_bytes(network, once)
    torch.cuda.reset_peak_memory_stats(device)
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated(device) - sum(w.nbytes for w in network.parameters())
    for _ in range(2):
        once()
    torch.cuda.synchronize(device)
    used = torch.cuda.max_memory_reserved(device) - before
    return used
