"""What a run has seen so far: a line of JSON each, and the same for TensorBoard."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from yolox_trt_ros.core.errors import MissingDependencyError
from yolox_trt_ros.core.output_files import write_whole
from yolox_trt_ros.core.text_files import parse_json, read_text

FILE, BOARD = 'history.jsonl', 'tensorboard'
MOST_BYTES = 1 << 30
Entry = dict[str, Any]


class History:
    """Writes entries as they come.

    Args:
        folder: of the run.
        step: where the run goes on; what was written after it is dropped.

    Raises:
        MissingDependencyError: tensorboardX is not installed.
    """

    def __init__(self, folder: Path, step: int) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ImportError as error:
            raise MissingDependencyError(
                'training writes TensorBoard files: pip install tensorboardX'
            ) from error
        self._file = folder / FILE
        kept = [entry for entry in read_history(folder) if entry['step'] <= step] if step else []
        write_whole(self._file, ''.join(json.dumps(entry) + '\n' for entry in kept))
        self._stream = self._file.open('a', encoding='utf-8')
        self._board = SummaryWriter(
            str(folder / BOARD), purge_step=step + 1 if step else None, flush_secs=30
        )

    def add(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        """Write an entry.

        Args:
            kind: ``train`` or ``val``.
            step: after which it is so.
            values: numbers, and tables of numbers.
        """
        self._stream.write(json.dumps({'kind': kind, 'step': step, **values}) + '\n')
        self._stream.flush()
        for name, value in values.items():
            if isinstance(value, (int, float)):
                self._board.add_scalar(f'{kind}/{name}', value, step)
            elif isinstance(value, dict):
                for key, number in value.items():
                    if isinstance(number, (int, float)):
                        self._board.add_scalar(f'{kind}_{name}/{key}', number, step)

    def close(self) -> None:
        """End the files."""
        self._stream.close()
        self._board.close()


def read_history(folder: Path) -> list[Entry]:
    """Return the entries of a run; a line that was not finished is left out.

    Raises:
        ConfigError: the file cannot be read, or a line but the last is damaged.
    """
    file = folder / FILE
    text = read_text(file, most_bytes=MOST_BYTES, what='the history of a run')
    lines = text.split('\n')[:-1]  # what follows the last end of a line was cut off
    return [parse_json(line, f'{file}: line {k}') for k, line in enumerate(lines, 1)]


def peaks(history: list[Entry]) -> dict[str, tuple[float, int]]:
    """Return the best AP50 of each class, and of all (``mAP50``, ``mAP50-95``), and at which step.

    Classes peak at different times, and mAP often long before the loss stops falling.
    """
    best: dict[str, tuple[float, int]] = {}
    for entry in history:
        if entry['kind'] != 'val':
            continue
        values = {'mAP50': entry['map50'], 'mAP50-95': entry['map50_95'], **entry['ap50']}
        for name, value in values.items():
            if value is not None and value > best.get(name, (-1.0, 0))[0]:
                best[name] = (value, entry['step'])
    return best
