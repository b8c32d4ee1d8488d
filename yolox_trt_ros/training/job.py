"""A training from end to end: data, weights, run, statistics, models."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from yolox_trt_ros.core.output_files import write_whole
from yolox_trt_ros.core.printing import one_line
from yolox_trt_ros.datasets.labelled import LabelledData
from yolox_trt_ros.training.learning import batchnorm
from yolox_trt_ros.training.networks.maps import gflops
from yolox_trt_ros.training.networks.weights import BEST, Source, carry, load_checkpoint
from yolox_trt_ros.training.pictures.order import Held, Order, Read, held_bytes
from yolox_trt_ros.training.pictures.rows import LetterboxedPictures
from yolox_trt_ros.training.results.agreement import ModeLosses, agreed, plain_batches
from yolox_trt_ros.training.results.finish import Finished, finish, write_card
from yolox_trt_ros.training.runs.checkpoint import load_last, save_best
from yolox_trt_ros.training.runs.ranks import Ranks
from yolox_trt_ros.training.runs.settings import Settings
from yolox_trt_ros.training.runs.trainer import Advance, Progress, Trainer

HELD_SHARE = 0.4
"""Of the free memory, which pictures may take."""
FACTS = 'run.json'
Say = Callable[[str], None]


@dataclass(frozen=True)
class TrainingJob:
    """What is trained, with what, and where the results go.

    Attributes:
        settings: of the run.
        train, val: the data.
        labels: COCO file of the validation pictures.
        folder: of the run.
        source: weights to begin with; None: new ones, or those of the run that goes on.
        resume: go on with the folder's last checkpoint.
        workers: processes that read pictures.
        hold: keep all pictures in the device's memory: auto, yes or no.
        quantize: make INT8 models at the end.
    """

    settings: Settings
    train: LabelledData
    val: LabelledData
    labels: Path
    folder: Path
    source: Source | None
    resume: bool
    workers: int
    hold: str
    quantize: bool


def train(job: TrainingJob, ranks: Ranks, say: Say, progress: Progress) -> Finished | None:
    """Train, and write everything that comes of it; only the first rank returns it.

    Args:
        job: what is asked for.
        ranks: this process.
        say: prints a line.
        progress: shows how far it is.
    """
    settings, spec = job.settings, job.settings.spec
    torch.manual_seed(settings.seed)
    pictures = LetterboxedPictures(job.train, spec.size), LetterboxedPictures(job.val, spec.size)
    if pictures[0].crowded:
        say(
            f'{pictures[0].crowded} pictures have more than {pictures[0].slots} labels: the '
            'smallest are left out'
        )
    held = _holds(job, pictures[0], ranks)
    source = (Held if held else Read)(pictures[0], ranks.device, job.workers)
    state = load_last(job.folder) if job.resume else None
    network = _begin(job, ranks, source, len(pictures[0]), say)
    trainer = Trainer(
        settings, network, pictures, ranks, job.folder, job.workers, source, state, progress
    )
    place = trainer.run()
    say(
        f'{place.step} steps in {place.seconds / 60:.1f} minutes; best mAP50-95 '
        f'{100 * max(0.0, place.best):.1f} at step {place.best_step}'
    )
    if not ranks.first:
        return None
    return _end(job, trainer, place, source, len(pictures[0]), ranks, say)


def _holds(job: TrainingJob, pictures: LetterboxedPictures, ranks: Ranks) -> bool:
    if job.hold != 'auto':
        return job.hold == 'yes'
    if not ranks.device.startswith('cuda'):
        return held_bytes(pictures) < 1 << 30
    free, _ = torch.cuda.mem_get_info(ranks.device)
    return held_bytes(pictures) < HELD_SHARE * free


def _begin(
    job: TrainingJob, ranks: Ranks, source: Held | Read, count: int, say: Say
) -> torch.nn.Module:
    """Return the network that the run begins with."""
    network = job.settings.spec.build()
    if job.source is None:
        return network
    carried, fresh = carry(job.source, network, job.settings.spec.classes)
    new = f'; new: {", ".join(fresh[:4])}{" …" if len(fresh) > 4 else ""}' if fresh else ''
    say(f'{one_line(job.source.name)}: {carried} tensors carried over{new}')
    if job.source.folded:
        network.to(ranks.device)
        order = Order(count, min(16, count), job.settings.seed)
        batches = plain_batches(source, order, ranks.device)
        batchnorm.settle(network, (picture for picture, _ in batches))
    return network


def _end(
    job: TrainingJob,
    trainer: Trainer,
    place: Advance,
    source: Held | Read,
    count: int,
    ranks: Ranks,
    say: Say,
) -> Finished:
    settings, spec = job.settings, job.settings.spec
    best = load_checkpoint(job.folder / BEST) if place.best >= 0 else trainer.best_content()
    network = trainer.network
    network.load_state_dict(best['average'])
    order = Order(count, min(settings.batch, count), settings.seed)
    batches = list(plain_batches(source, order, ranks.device, 4))
    # One rank alone from here on: the objective must not wait for the others.
    objective = trainer.step.objective.alone()
    before, after = agreed(network, objective, batches)
    say(_about(before, after))
    if after is not before:
        save_best(job.folder, {**best, 'average': network.state_dict()})
    facts = facts_of(job, place, network, ranks, after)
    write_whole(job.folder / FACTS, json.dumps(facts, indent=1) + '\n')
    finished = finish(network, spec, job.folder, job.train, job.val, job.labels, job.quantize, say)
    say(f'written: {write_card(job.folder, facts, finished)}')
    return finished


def _about(before: ModeLosses, after: ModeLosses) -> str:
    losses = f'loss of the same pictures in training mode {before.training:.3f}'
    if after is before:
        return f'{losses}, in use {before.use:.3f}: the batch norms’ statistics are right'
    verdict = 'now they agree' if after.good else 'they still differ: train longer, or freeze them'
    return (
        f'{losses}, in use {before.use:.3f}: the batch norms’ running statistics were not those '
        f'of the pictures; measured again, in use {after.use:.3f}: {verdict}'
    )


def facts_of(
    job: TrainingJob, place: Advance, network: torch.nn.Module, ranks: Ranks, agreement: ModeLosses
) -> dict[str, Any]:
    """Return what the card and the page say of a run, as plain data."""
    size = job.settings.spec.size
    cuda = ranks.device.startswith('cuda')
    return {
        'settings': replace(job.settings).to_json(),
        'data': job.train.name,
        'train': len(job.train.images),
        'val': len(job.val.images),
        'steps': place.step,
        'best_step': place.best_step,
        'map50_95': place.best,
        'minutes': place.seconds / 60,
        'ranks': ranks.count,
        'device': torch.cuda.get_device_name() if cuda else 'CPU',
        'torch': torch.__version__,
        'parameters': sum(w.numel() for w in network.parameters()),
        'gflops': gflops(network, size),
        'agreement': [agreement.training, agreement.use],
    }
