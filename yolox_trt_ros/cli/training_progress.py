"""Progress of a training: a bar where there is a terminal, lines in any case."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any

from yolox_trt_ros.cli.console import Console
from yolox_trt_ros.core.printing import one_line

LOSSES = ('total', 'iou', 'obj', 'cls')


class TrainingProgress:
    """Prints for one process of a training; others are silent.

    Args:
        active: whether this one prints.
    """

    def __init__(self, active: bool) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        self._active = active
        self._bar = Progress(
            MofNCompleteColumn(),
            BarColumn(),
            TimeRemainingColumn(),
            TextColumn('{task.fields[figures]}', markup=False),
            console=Console(stderr=True),
            transient=True,
            disable=not active or not sys.stderr.isatty(),
        )
        self._task = self._bar.add_task('', total=None, figures='')

    def __enter__(self) -> TrainingProgress:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def say(self, text: str) -> None:
        """Print a line."""
        if self._active:
            print(one_line(text), flush=True)

    def update(self, step: int, steps: int, values: dict[str, Any]) -> None:
        """Show the figures of a step, or print those of a validation.

        Args:
            step, steps: done, and in all.
            values: what the history gets.
        """
        if not self._active:
            return
        if values.get('kind') == 'val':
            classes = ', '.join(f'{name} {_points(ap)}' for name, ap in values['ap50'].items())
            self.say(
                f'step {step}/{steps} epoch {values["epoch"]:.1f} {values["seconds"] / 60:.1f} min '
                f'mAP50-95 {_points(values["map50_95"])} mAP50 {_points(values["map50"])} '
                f'({classes})'
            )
            return
        self._bar.update(self._task, completed=step, total=steps, figures=_figures(values))


def _figures(values: dict[str, Any]) -> str:
    parts = [f'{name} {values[name]:.3g}' for name in LOSSES]
    parts.append(f'{values["images_s"]:.0f} images/s')
    if 'memory_gib' in values:
        parts.append(f'{values["memory_gib"]:.1f} GiB')
    if 'scale' in values:
        parts.append(f'scale {values["scale"]:g}, {values["skipped"]} skipped')
    return ' · '.join(parts)


def _points(value: float | None) -> str:
    return '–' if value is None else f'{100 * value:.1f}'
