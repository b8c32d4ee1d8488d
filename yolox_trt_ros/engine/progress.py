"""How far a build is, from the nested phases that TensorRT reports."""

from __future__ import annotations

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
