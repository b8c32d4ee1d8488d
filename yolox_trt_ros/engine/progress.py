"""How far a build is, from the nested phases that TensorRT reports or from its log."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass

Progress = Callable[[float, str], None]
"""Called with the fraction done, 0 to 1 and never falling, and what is being done."""


@dataclass(slots=True)
class _Phase:
    parent: str | None
    steps: int
    done: int = 0


class Phases:
    """Open phases of a build; any thread may report.

    A phase has steps and may contain phases; a contained phase fills the step that its parent is
    at. TensorRT does not say beforehand which phases come, so a fraction is an estimate: it is
    exact about the order and silent about the time.

    Args:
        report: called whenever the fraction has grown by a noticeable amount.
    """

    NOTICEABLE = 0.002

    def __init__(self, report: Progress) -> None:
        self._report = report
        self._open: dict[str, _Phase] = {}
        self._most = 0.0
        self._lock = threading.Lock()

    def start(self, name: str, parent: str | None, steps: int) -> None:
        """Note that a phase begins."""
        with self._lock:
            self._open[name] = _Phase(parent, max(1, steps))
            self._report_progress(name)

    def step(self, name: str, step: int) -> None:
        """Note that a phase's step, counted from 0, is done."""
        with self._lock:
            phase = self._open.get(name)
            if phase is not None:
                phase.done = min(phase.steps, max(phase.done, step + 1))
                self._report_progress(name)

    def finish(self, name: str) -> None:
        """Note that a phase is over, whether or not all its steps were reported."""
        with self._lock:
            phase = self._open.pop(name, None)
            outer = self._open.get(phase.parent or '') if phase else None
            if outer is None:
                return
            # Some phases report their own steps, others only through the phases they contain.
            outer.done = min(outer.steps - 1, outer.done + 1)
            self._report_progress(name)

    def _report_progress(self, name: str) -> None:
        fraction = self._fraction()
        if fraction >= self._most + self.NOTICEABLE:
            self._most = fraction
            self._report(fraction, name)

    def _fraction(self) -> float:
        inner: dict[str | None, list[tuple[str, _Phase]]] = {}
        for name, phase in self._open.items():
            known = phase.parent if phase.parent in self._open else None
            inner.setdefault(known, []).append((name, phase))

        def of(name: str, phase: _Phase) -> float:
            within = max((of(*child) for child in inner.get(name, [])), default=0.0)
            return min(1.0, (phase.done + min(within, 0.99)) / phase.steps)

        return max((of(*root) for root in inner.get(None, [])), default=0.0)


class LogProgress:
    """How far a build is, by the log of a TensorRT without a progress monitor (8.5, 8.6).

    Nearly all of a build is the choice of kernels, layer by layer: the log counts the layers before
    and names each one. How long a layer takes, it does not say; the number of kernels that were
    timed shows that the build goes on. The forms of the lines are those of TensorRT 8.6.

    Args:
        report: called at every layer, and now and then in between.
        profiles: optimisation profiles; the layers are gone through for each of them.
    """

    EVERY = 25
    """Timed kernels between two reports."""
    CHOICE = 0.03, 0.95
    """Fractions at which the choice of kernels begins and ends."""
    _LAYERS = re.compile(r'After .*: (\d+) layers\s*$')
    _LAYER = re.compile(r'=+ Computing costs for\s*(.*?)\s*=*$')
    _KERNELS = re.compile(r'-+ Timing Runner: (.*?)(?: \(\w+(?:\[\w+\])?\))?\s*-*$')
    _PICTURES = re.compile(r'Calibrated batch (\d+)')

    def __init__(self, report: Progress, profiles: int = 1) -> None:
        self._report, self._profiles = report, profiles
        self._layers = self._done = self._kernels = 0
        self._name = ''
        self._most = 0.0
        self._lock = threading.Lock()

    def heard(self, line: str) -> None:
        """Note a line of the log; any thread may call."""
        with self._lock:
            if match := self._LAYER.search(line):
                self._done += 1
                self._kernels, self._name = 0, match[1]
                self._report_layer()
            elif match := self._KERNELS.search(line):
                self._kernels += 1
                self._name = self._name or match[1]
                if self._kernels % self.EVERY == 0:
                    self._report_layer()
            elif match := self._LAYERS.search(line):
                self._layers = int(match[1]) * self._profiles
            elif match := self._PICTURES.search(line):
                self._tell(0.0, f'calibrated with {int(match[1]) + 1} batches')
            elif 'Formats and tactics selection completed' in line:
                self._tell(self.CHOICE[1], 'kernels are chosen')

    def _report_layer(self) -> None:
        begin, end = self.CHOICE
        total = max(self._layers, self._done)
        kernels = f', {self._kernels} kernels timed' if self._kernels else ''
        self._tell(
            begin + (end - begin) * (self._done - 1) / total,
            f'layer {self._done} of {total}: {self._name[:60]}{kernels}',
        )

    def _tell(self, fraction: float, phase: str) -> None:
        self._most = max(self._most, fraction)
        self._report(self._most, phase)
