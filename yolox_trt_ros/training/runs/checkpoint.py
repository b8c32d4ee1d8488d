"""Checkpoints of a run: the last one, to go on exactly, and the best one, to use."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch

from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.output_files import write_whole
from yolox_trt_ros.core.printing import one_line
from yolox_trt_ros.training.networks.weights import BEST, LAST, load_checkpoint


def save_last(folder: Path, content: dict[str, Any]) -> None:
    """Write what a run needs to go on; a run that is killed meanwhile keeps the one before.

    Raises:
        YoloxTrtRosError: it cannot be written.
    """
    _save(folder / LAST, content)


def save_best(folder: Path, content: dict[str, Any]) -> None:
    """Write the average of the weights with its spec.

    Raises:
        YoloxTrtRosError: it cannot be written.
    """
    _save(folder / BEST, content)


def _save(file: Path, content: dict[str, Any]) -> None:
    stream = io.BytesIO()
    torch.save(content, stream)
    write_whole(file, stream.getvalue(), durable=True)


def load_last(folder: Path) -> dict[str, Any]:
    """Return what :func:`save_last` wrote.

    Raises:
        ConfigError: there is none, or it is of another kind.
    """
    file = folder / LAST
    if not file.is_file():
        raise ConfigError(f'--resume: expected {one_line(file)}, which is not there')
    content = load_checkpoint(file)
    if 'settings' not in content or 'optimiser' not in content:
        raise ConfigError(f'{one_line(file)}: expected the checkpoint of a run that can go on')
    return content
