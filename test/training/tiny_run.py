"""A run on shapes that takes seconds on a CPU; as a program, one that can be killed."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from shapes import CLASSES, SIZE, TINY

from yolox_trt_ros.datasets.formats import read_labelled
from yolox_trt_ros.training.networks.build import NetworkSpec
from yolox_trt_ros.training.pictures.augment import Augmentation
from yolox_trt_ros.training.pictures.order import Read
from yolox_trt_ros.training.pictures.rows import LetterboxedPictures
from yolox_trt_ros.training.runs.checkpoint import load_last
from yolox_trt_ros.training.runs.ranks import Ranks, joined
from yolox_trt_ros.training.runs.settings import Settings
from yolox_trt_ros.training.runs.trainer import Trainer

SPEC = NetworkSpec('edge_n', CLASSES, SIZE, TINY)
GENTLE = Augmentation(mosaic=0.0, rotation=0.0)


def settings(**changes: Any) -> Settings:
    """Return what a tiny run is asked to do."""
    return Settings(
        SPEC, **{'epochs': 2, 'batch': 4, 'rate': 5e-3, 'precision': 'fp32', 'every': 9, **changes}
    )


def trainer(
    folder: Path, labels: Path, wanted: Settings, resume: bool = False, ranks: Ranks | None = None,
    progress: Any = None,
) -> Trainer:  # fmt: skip
    """Return a run that reads its pictures from files."""
    torch.manual_seed(wanted.seed)
    ranks = ranks or Ranks(0, 1, 'cpu')
    folder.mkdir(exist_ok=True)
    pictures = LetterboxedPictures(read_labelled(labels), SIZE)
    state = load_last(folder) if resume else None
    return Trainer(
        wanted, wanted.spec.build(), (pictures, pictures), ranks, folder, 0,
        Read(pictures, ranks.device, 0), state, progress or (lambda *_: None),
    )  # fmt: skip


def weights(run: Trainer) -> np.ndarray:
    """Return the averaged weights in one row."""
    return np.concatenate([w.detach().numpy().ravel() for w in run.network.parameters()])


def main() -> None:
    """Train as one of the ranks that torchrun started, or alone, and say each step."""
    labels, folder, batch_norm = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    torch.set_num_threads(1)
    # Mosaics are made within a rank's own share of a batch.
    how = {'augmentation': GENTLE} if batch_norm == 'frozen' else {}
    with joined('cpu') as ranks:
        run = trainer(folder, labels, settings(batch_norm=batch_norm, **how), ranks=ranks)
        one, done = run._one, 0

        def said(batch: Any) -> Any:
            nonlocal done
            losses = one(batch)
            if ranks.count == 1:
                done += 1
                run.place.step += 1
                run._save()
                run.place.step -= 1
                print('step', done, flush=True)
            return losses

        run._one = said
        run.run()
        if ranks.first:
            np.save(folder / 'weights.npy', weights(run))


if __name__ == '__main__':
    main()
