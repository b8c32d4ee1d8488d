"""Search the layers that are worth keeping out of INT8, by what they do to the detections.

First every convolution alone is made INT8: that ranks them. Then, with all the others in INT8, the
one of the worst whose higher precision helps most is kept, and then the next; after each step those
that were kept before are tried again without, for what they were kept for may be mended since.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from yolox_trt_ros.core.output_files import write_whole
from yolox_trt_ros.core.text_files import read_json
from yolox_trt_ros.engine.simulated_int8 import Int8Simulation
from yolox_trt_ros.evaluation.agreement import Agreement

SCREENED = 8
"""Pictures on which each convolution alone is tried."""
CHOSEN = 16
"""Pictures on which choices are made, at most."""
TRIED = 6
"""Convolutions that are tried for each step, the worst ones."""
HELPS = 0.003
"""Loss of detections by which a convolution has to help to be kept."""
SHARE = 0.05
"""Of the multiply-adds that may be kept out of INT8 together."""

Progress = Callable[[Iterable[Any], str], Iterable[Any]]


Version = tuple[str, tuple[str, ...]]
"""Method of the ranges, and the convolutions that are kept out of INT8."""


@dataclass(frozen=True, slots=True)
class SearchStep:
    """One state of the search.

    Attributes:
        method: of the ranges.
        kept: convolutions in higher precision, by their outputs.
        loss: of detections, see :class:`Agreement`.
        share: of the multiply-adds that are INT8.
    """

    method: str
    kept: tuple[str, ...]
    loss: float
    share: float


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """What a search found.

    Attributes:
        alone: loss where this convolution alone is INT8, worst first.
        steps: from all in INT8 to the last choice.
        pictures: that choices were made on.
    """

    alone: dict[str, float]
    steps: tuple[SearchStep, ...]
    pictures: int

    def best(self) -> SearchStep:
        """Return the choice: the lowest loss, of nearly equal ones the one that keeps least."""
        lowest = min(step.loss for step in self.steps)
        return next(step for step in self.steps if step.loss <= lowest + HELPS / 3)


@dataclass(slots=True)
class Trials:
    """Losses of versions, each computed once and remembered in a file, so that work resumes.

    Args:
        simulations: make versions, by the method of their ranges.
        agreement: judges them.
        about: of model, ranges and pictures: losses of others do not count.
        file: remembers what was tried; None: nothing does.
    """

    simulations: Mapping[str, Int8Simulation]
    agreement: Agreement
    about: str = ''
    file: Path | None = None
    known: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not (self.file and self.file.is_file()):
            return
        content = read_json(self.file)
        losses = content.get('losses')
        if content.get('about') == self.about and isinstance(losses, dict):
            self.known = {key: loss for key, loss in losses.items() if isinstance(loss, float)}

    def losses(
        self, versions: Sequence[Version], count: int, title: str, progress: Progress
    ) -> list[float]:
        """Return the loss of each version on the first pictures; several run at a time."""
        keys = [f'{count} {method} {_digest(kept)}' for method, kept in versions]
        new = {k: v for k, v in zip(keys, versions, strict=True) if k not in self.known}

        def tried(key: str) -> tuple[str, float]:
            method, kept = new[key]
            return key, self.agreement.loss(self.simulations[method].version(kept), count)

        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            pending = [pool.submit(tried, key) for key in new]
            try:
                for one in progress(pending, title) if pending else ():
                    key, loss = one.result()
                    self.known[key] = loss
            finally:
                pool.shutdown(cancel_futures=True)
                if self.file and new:
                    content = {'about': self.about, 'losses': self.known}
                    write_whole(self.file, json.dumps(content, indent=1) + '\n')
        return [self.known[key] for key in keys]


def _digest(kept: Iterable[str]) -> str:
    return hashlib.sha256('\n'.join(sorted(kept)).encode()).hexdigest()[:24]


class Search:
    """Finds the convolutions that are worth keeping out of INT8, and the method of the ranges.

    Args:
        trials: of one model.
        work: multiply-adds by convolution.
        progress: shows how far it is.
    """

    def __init__(self, trials: Trials, work: Mapping[str, int], progress: Progress) -> None:
        self._trials, self._work, self._progress = trials, work, progress
        self._methods = list(trials.simulations)
        self.layers = next(iter(trials.simulations.values())).layers
        self._count = min(CHOSEN, len(trials.agreement.pictures))
        self._always: frozenset[str] = frozenset()
        self._whole = sum(work[layer] for layer in self.layers)

    def run(self, most: int | None, always: Sequence[str] = ()) -> Sensitivity:
        """Return what is found.

        Args:
            most: convolutions that may be kept; None: as many as help, within :data:`SHARE`.
            always: convolutions that are kept whatever they do; they count as well.
        """
        self._always = frozenset(always)
        step = self._best_method(tuple(always), 'all others in INT8')
        few = min(SCREENED, self._count)
        others = [tuple(o for o in self.layers if o != layer) for layer in self.layers]
        versions = [(step.method, kept) for kept in others]
        alone = self._trials.losses(versions, few, 'each layer alone in INT8', self._progress)
        order = [self.layers[i] for i in np.argsort([-loss for loss in alone], kind='stable')]
        steps = [step]
        while most is None or len(step.kept) < most:
            step = self._next(step, order)
            if steps[-1].loss - step.loss < HELPS:
                break
            steps.append(step)
        ranked = dict(sorted(zip(self.layers, alone, strict=True), key=lambda row: -row[1]))
        return Sensitivity(ranked, tuple(steps), self._count)

    def _next(self, step: SearchStep, order: Sequence[str]) -> SearchStep:
        """Return the best step that keeps one more; the same where there is no room for one."""
        room = [
            layer
            for layer in order
            if layer not in step.kept
            and sum(self._work[k] for k in (*step.kept, layer)) <= SHARE * self._whole
        ]
        versions = [(step.method, (*step.kept, layer)) for layer in room[:TRIED]]
        if not versions:
            return step
        found = self._losses(versions, f'{len(step.kept) + 1} kept')
        kept = versions[int(np.argmin(found))][1]
        return self._without_needless(self._best_method(kept, 'methods'))

    def _best_method(self, kept: tuple[str, ...], title: str) -> SearchStep:
        found = self._losses([(method, kept) for method in self._methods], title)
        best = int(np.argmin(found))
        return self._step(self._methods[best], kept, found[best])

    def _without_needless(self, step: SearchStep) -> SearchStep:
        """Return a step without an earlier convolution that no longer helps."""
        earlier = [one for one in step.kept[:-1] if one not in self._always]
        versions = [(step.method, tuple(k for k in step.kept if k != one)) for one in earlier]
        found = self._losses(versions, 'checked again') if versions else [np.inf]
        best = int(np.argmin(found))
        if found[best] > step.loss + HELPS / 3:
            return step
        return self._step(step.method, versions[best][1], found[best])

    def _step(self, method: str, kept: tuple[str, ...], loss: float) -> SearchStep:
        left_out = sum(self._work[layer] for layer in kept)
        return SearchStep(method, kept, loss, 1 - left_out / self._whole)

    def _losses(self, versions: Sequence[Version], title: str) -> list[float]:
        return self._trials.losses(versions, self._count, title, self._progress)
