"""A run: steps, validations, checkpoints, until it is done or no longer gets better."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from yolox_trt_ros.core.interruption import held_back
from yolox_trt_ros.training.learning.memory import checkpointed
from yolox_trt_ros.training.learning.precision import Precision, largest_gradients
from yolox_trt_ros.training.learning.schedule import rate
from yolox_trt_ros.training.learning.step import TrainingStep
from yolox_trt_ros.training.pictures.order import Held, Order, Read
from yolox_trt_ros.training.pictures.rows import LetterboxedPictures
from yolox_trt_ros.training.runs.checkpoint import save_best, save_last
from yolox_trt_ros.training.runs.history import History
from yolox_trt_ros.training.runs.ranks import Ranks
from yolox_trt_ros.training.runs.settings import Settings
from yolox_trt_ros.training.runs.validate import validate

LOG_STEPS = 20
SAVE_S = 120.0
SPEED_STEPS = (10, 40)
"""Between these steps the speed is measured that decides how many fit in --minutes."""
L1_SHARE = 0.7
"""Of a run, after which the L1 loss counts."""
Progress = Callable[[int, int, dict[str, Any]], None]
"""Is told the step, how many there are, and the latest figures."""


@dataclass
class Advance:
    """How far a run is.

    Attributes:
        step: steps done.
        steps: in all.
        best: mAP50-95 of the best validation so far.
        best_step: when that was.
        worse: validations since.
        seconds: that training took, without waiting between resumed parts.
    """

    step: int
    steps: int
    best: float = -1.0
    best_step: int = 0
    worse: int = 0
    seconds: float = 0.0


class Trainer:
    """A run in one process of it.

    Args:
        settings: what is asked for.
        network: with the weights that it begins with, on the CPU.
        data: what is learned from, and what is validated with.
        ranks: this process.
        folder: of the run; the first rank writes.
        workers: processes that read pictures.
        source: holds or reads the training pictures.
        state: of :func:`runs.checkpoint.load_last`, to go on; None: from the beginning.
        progress: shows how far it is.
    """

    def __init__(
        self,
        settings: Settings,
        network: torch.nn.Module,
        data: tuple[LetterboxedPictures, LetterboxedPictures],
        ranks: Ranks,
        folder: Path,
        workers: int,
        source: Held | Read,
        state: dict[str, Any] | None,
        progress: Progress,
    ) -> None:
        settings.check_ranks(ranks.count)
        train, self._val = data
        self.settings, self._ranks, self._folder = settings, ranks, folder
        self._order = Order(len(train), settings.batch, settings.seed, ranks.rank, ranks.count)
        self._source, self._workers, self._progress = source, workers, progress
        steps = settings.epochs * self._order.steps_an_epoch
        self.place = Advance(**state['place']) if state else Advance(0, steps)
        precision = Precision(ranks.device, settings.precision)
        frozen = settings.batch_norm == 'frozen'
        plain, wrapped = ranks.wrapped(network, settings.batch_norm)
        self.step = TrainingStep(
            plain, wrapped, settings.spec.size, ranks.device, precision, settings.parts, frozen,
            steps,
        )  # fmt: skip
        if state:
            self.step.load(state)
        if settings.checkpointing:
            checkpointed(plain)
        self._history = History(folder, self.place.step) if ranks.first else None

    @property
    def network(self) -> torch.nn.Module:
        """Return the average of the weights, in evaluation mode."""
        return self.step.average.network

    def run(self) -> Advance:
        """Train to the end, write checkpoints and history; return how far it came.

        Raises:
            KeyboardInterrupt: it was asked to end; the last checkpoint is of the last step.
        """
        try:
            self._run()
        except KeyboardInterrupt:
            self._save()
            raise
        finally:
            if self._history:
                self._history.close()
        return self.place

    def _run(self) -> None:
        place, started = self.place, time.monotonic()
        lap, lap_step, saved = started, place.step, started
        before = place.seconds
        self._since = place.step, started
        batches = self._source.batches(self._order, place.step, place.steps)
        while place.step < place.steps:
            with held_back():
                losses = self._one(next(batches))
                place.step += 1
                place.seconds = before + time.monotonic() - started
            done = place.step == place.steps
            if place.step in SPEED_STEPS and self.settings.minutes:
                self._afford()
                done = place.step >= place.steps
            if place.step % LOG_STEPS == 0 or done or place.step <= 3:
                now = time.monotonic()
                pace = (place.step - lap_step) * self.settings.batch / max(1e-9, now - lap)
                lap, lap_step = now, place.step
                self._log(losses, pace)
            each = self._order.steps_an_epoch * self.settings.every
            if place.step % each == 0 or done:
                if self._validate():
                    break
                lap, lap_step = time.monotonic(), place.step
            if time.monotonic() - saved > SAVE_S:
                self._save()
                saved = time.monotonic()
        self._save()

    def _one(self, batch: Any) -> dict[str, torch.Tensor]:
        settings, place = self.settings, self.place
        done = place.step / place.steps
        how = settings.augmentation
        if done >= 1 - settings.plain:
            how = how.at_the_end()
        # A run of few steps is warm after a tenth of them.
        warmup = max(1, min(settings.warmup, place.steps // 10))
        speed = settings.rate * rate(place.step, place.steps, warmup)
        chance = self._order.chances(place.step).to(self._ranks.device)
        return self.step.run(batch, chance, how, speed, float(done >= L1_SHARE))

    def _afford(self) -> None:
        """Take fewer steps if all of them do not fit in the time."""
        place = self.place
        if self._ranks.device.startswith('cuda'):
            torch.cuda.synchronize()
        now, (since_step, since) = time.monotonic(), self._since
        if place.step == SPEED_STEPS[0]:
            self._since = place.step, now
            return
        each = (now - since) / (place.step - since_step)
        left = 60 * self.settings.minutes - place.seconds
        steps = min(place.steps, place.step + max(1, int(left / each)))
        place.steps = int(self._ranks.agreed(steps))

    def _log(self, losses: dict[str, torch.Tensor], pace: float) -> None:
        """Write the losses of a step, and what else is known; speed in pictures a second."""
        if not self._history:
            return
        place = self.place
        values: dict[str, Any] = {name: float(v) for name, v in losses.items()}
        values |= {
            'epoch': place.step / self._order.steps_an_epoch,
            'rate': self.step.optimiser.param_groups[0]['lr'],
            'images_s': pace,
            'seconds': place.seconds,
        }
        if self._ranks.device.startswith('cuda'):
            values['memory_gib'] = torch.cuda.max_memory_allocated() / (1 << 30)
        if self.settings.precision == 'fp16':
            precision = self.step.precision
            values |= {'scale': precision.scale, 'skipped': precision.skipped}
        values['largest_gradients'] = largest_gradients(self.step.network.named_parameters())
        self._history.add('train', place.step, values)
        self._progress(place.step, place.steps, values)

    def _validate(self) -> bool:
        """Measure the average of the weights; say whether the run ends, for nothing gets better."""
        place, step = self.place, self.step
        found = validate(self.network, self._val, self._ranks, step.precision, self._workers)
        map_ = found['map50_95'] or 0.0
        if map_ > place.best:
            place.best, place.best_step, place.worse = map_, place.step, 0
            if self._ranks.first:
                save_best(self._folder, self.best_content())
        else:
            place.worse += 1
        values = {
            'map50': found['map50'],
            'map50_95': found['map50_95'],
            'ap50': {name: row['ap50'] for name, row in found['per_class'].items()},
            'ap50_95': {name: row['ap50_95'] for name, row in found['per_class'].items()},
            'epoch': place.step / self._order.steps_an_epoch,
            'seconds': place.seconds,
        }
        if self._history:
            self._history.add('val', place.step, values)
            self._progress(place.step, place.steps, {'kind': 'val', **values})
        return bool(self.settings.patience and place.worse >= self.settings.patience)

    def best_content(self) -> dict[str, Any]:
        """Return what the best checkpoint holds: the average as it is now."""
        return {
            'spec': self.settings.spec.to_json(),
            'average': {k: v.cpu() for k, v in self.network.state_dict().items()},
            'step': self.place.step,
            'map50_95': self.place.best,
        }

    def _save(self) -> None:
        if self._ranks.first:
            save_last(
                self._folder,
                {
                    'spec': self.settings.spec.to_json(),
                    'settings': self.settings.to_json(),
                    'place': dict(vars(self.place)),
                    **self.step.state(),
                },
            )
