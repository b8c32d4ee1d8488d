"""What a running fleet shows: images a second, busy detectors, what is left, what failed."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from yolox_trt_ros.cli.console import Console
from yolox_trt_ros.core.printing import one_line
from yolox_trt_ros.fleet.results import FAILED, OK, PARTIAL

MOST_SAID = 20
"""Failures that are said one by one; the page and the table have all."""


class FleetProgress:
    """Counts rows of segments as they come, and shows a line; a context manager.

    Args:
        segments: that are to run.
        workers: that run them.

    Attributes:
        totals: ``images``, ``unread``, ``detections``, and segments by status.
    """

    def __init__(self, segments: int, workers: int) -> None:
        self.console = Console(stderr=True)
        self.totals: Counter[str] = Counter()
        self._workers = workers
        self._detect_s, self._begun = 0.0, time.monotonic()
        self._bar = Progress(
            TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(),
            TextColumn('segments, {task.fields[said]}'), TimeRemainingColumn(),
            console=self.console, transient=True,
        )  # fmt: skip
        self._task = self._bar.add_task('detecting', total=segments, said='starting')

    def __enter__(self) -> FleetProgress:
        self._bar.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.__exit__(None, None, None)

    @property
    def seconds(self) -> float:
        """Return how long it runs."""
        return time.monotonic() - self._begun

    def add(self, row: Mapping[str, Any]) -> None:
        """Count a segment that was written."""
        self.totals.update({name: row[name] for name in ('images', 'unread', 'detections')})
        self.totals[row['status']] += 1
        self._detect_s += row['detect_s']
        if row['status'] == FAILED and self.totals[FAILED] <= MOST_SAID:
            bag = f'{one_line(row["bag"])}, segment {row["segment"]}'
            self.console.print(f'failed: {bag}: {one_line(row["reason"])}', highlight=False)
        self._bar.update(self._task, advance=1, said=self.said())

    def said(self) -> str:
        """Return the line in words."""
        rate = self.totals['images'] / max(self.seconds, 1e-9)
        busy = self._detect_s / max(self.seconds, 1e-9) / self._workers
        words = f'{rate:.1f} images/s, detectors busy {min(busy, 1.0):.0%}'
        if self.totals[FAILED]:
            words += f', {self.totals[FAILED]} failed'
        return words

    def summary(self) -> str:
        """Return what was done."""
        totals = self.totals
        done = totals[OK] + totals[PARTIAL]
        words = (
            f'{done} segments, {totals["images"]:,} images, {totals["detections"]:,} detections '
            f'in {self.seconds:.1f} s ({self.said()})'
        )
        if totals[PARTIAL]:
            words += (
                f'; {totals[PARTIAL]} segments with losses, {totals["unread"]:,} images unreadable'
            )
        return words
