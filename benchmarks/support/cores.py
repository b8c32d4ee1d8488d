"""Cores of a machine, divided between what is measured and everything else."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from yolox_trt_ros.core.errors import ConfigError


@contextmanager
def on_cores(cores: Iterable[int]) -> Iterator[None]:
    """Run on some cores for a while; a process that is started meanwhile stays there."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@dataclass(frozen=True, slots=True)
class Cores:
    """Which cores are whose.

    Attributes:
        detector: the detector's.
        others: for everything else.
    """

    detector: int
    others: tuple[int, ...]

    @classmethod
    def divide(cls, detector: int | None) -> Cores:
        """Return the cores of this process, one of them the detector's.

        Raises:
            ConfigError: there are no two, or the chosen one is not among them.
        """
        here = sorted(os.sched_getaffinity(0))
        if len(here) < 2:
            raise ConfigError('this needs two cores: one for the detector, one for all the rest')
        chosen = here[0] if detector is None else detector
        if chosen not in here:
            raise ConfigError(f'--detector-core: expected one of {here}, got {chosen}')
        return cls(chosen, tuple(core for core in here if core != chosen))

    def others_busy_s(self) -> float:
        """Return the seconds in which the other cores did not idle, since the machine started."""
        ticks = 0
        for line in Path('/proc/stat').read_text().splitlines():
            name, *fields = line.split()
            if name in {f'cpu{core}' for core in self.others}:
                ticks += sum(map(int, fields[:8])) - int(fields[3]) - int(fields[4])
        return ticks / os.sysconf('SC_CLK_TCK')
