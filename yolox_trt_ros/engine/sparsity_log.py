"""How many layers of an engine use 2:4 sparse kernels, read from TensorRT's build log.

The forms of the lines:

- ``(Sparsity) Layers eligible for sparse math: a, b`` and ``(Sparsity) TRT inference plan picked
  sparse implementation for layers: b`` (8.x; seen in the libraries of 8.6.0);
- ``(Sparsity) Found 2 layer(s) eligible to use sparse tactics: a, b`` and ``(Sparsity) Chose 1
  layer(s) using sparse tactics: b`` (10.x, public logs).

They may come several times, once for each choice of kernels; the last ones count.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_MARK = '(Sparsity)'
_CAN = re.compile(
    r'\(Sparsity\) (?:Layers eligible for sparse math'
    r'|Found (?P<count>\d+) layer\(s\) eligible to use sparse tactics):?(?P<names>.*)$'
)
_DO = re.compile(
    r'\(Sparsity\) (?:TRT inference plan picked sparse implementation for layers'
    r'|Chose (?P<count>\d+) layer\(s\) using sparse tactics):?(?P<names>.*)$'
)


@dataclass(frozen=True, slots=True)
class SparseKernels:
    """What a build says of 2:4 sparsity.

    Attributes:
        possible: layers whose weights are 2:4 sparse and that have a sparse kernel.
        used: layers whose sparse kernel was the quicker one.
        layers: their names, as far as the log has them.
    """

    possible: int
    used: int
    layers: tuple[str, ...] = ()


def logs_sparsity(message: str) -> bool:
    """Return whether a log line may speak of sparse kernels."""
    return _MARK in message


def parse_sparsity(lines: Iterable[str]) -> SparseKernels | None:
    """Return what a build log says of sparse kernels; None: nothing, as where nobody asked.

    Args:
        lines: as TensorRT gives them to a logger, or with trtexec's time stamps before.
    """
    can: int | None = None
    do = 0
    layers: tuple[str, ...] = ()
    for line in lines:
        if match := _CAN.search(line):
            can = int(match['count'] or len(_names(match['names'])))
            do, layers = 0, ()
        elif match := _DO.search(line):
            layers = _names(match['names'])
            do = int(match['count'] or len(layers))
    return None if can is None else SparseKernels(can, do, layers)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for part in text.split(', ') if (name := part.strip()))
