"""Refuse ONNX graphs with unbounded loops or with tensors that no memory holds."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from yolox_trt_ros.core.errors import ModelError

LOOPS = ('Loop', 'Scan', 'SequenceMap')
"""Operators that repeat: nothing bounds how often."""

DEEPEST = 16
"""Graphs inside graphs (branches of an If); real models have one or two."""

SUPPRESSING = (
    'NonMaxSuppression',
    'EfficientNMS_TRT',
    'EfficientNMS_ONNX_TRT',
    'EfficientNMSX_TRT',
    'BatchedNMS_TRT',
    'BatchedNMSDynamic_TRT',
    'NMS_TRT',
    'TRTBatchedNMS',
    'TRTBatchedRotatedNMS',
    'NMSRotated',
    'MMCVNMS',
    'DetectionOutput',
    'MultiClassNMS',
)
"""Operators and plug-ins that suppress boxes inside the graph."""

MAX_BATCH, MAX_SIDE = 1024, 16384
MAX_TENSOR_BYTES = 4 << 30


def check_repeats(path: Path, model: Any) -> None:
    """Refuse a graph that may run for ever.

    Args:
        path: for the message.
        model: ``onnx.ModelProto``.

    Raises:
        ModelError: names the operator.
    """
    for node in all_nodes(path, model):
        if node.op_type in LOOPS:
            raise ModelError(
                f'{path}: has a {node.op_type} ({node.name or "without a name"}), and nothing '
                'bounds how often it runs: export the model without post-processing'
            )


def all_nodes(path: Path, model: Any) -> Iterator[Any]:
    """Yield the nodes of a graph, of its branches and of its functions.

    Raises:
        ModelError: graphs lie in graphs deeper than :data:`DEEPEST`.
    """
    waiting: list[tuple[Any, int]] = [(model.graph, 0), *((f, 0) for f in model.functions)]
    while waiting:
        graph, depth = waiting.pop()
        if depth > DEEPEST:
            raise ModelError(f'{path}: its graphs are nested {depth} deep: refused')
        for node in graph.node:
            yield node
            for attribute in node.attribute:
                inner = [attribute.g] if attribute.HasField('g') else []
                waiting += [(g, depth + 1) for g in [*inner, *attribute.graphs]]


def check_input_size(path: Path, shape: Sequence[int], item_bytes: int) -> None:
    """Refuse an input that no camera program can want.

    Args:
        path: for the message.
        shape: [batch, channels, height, width]; 0: open.
        item_bytes: of one number.

    Raises:
        ModelError: with the limits.
    """
    batch, _, *sides = shape
    largest = MAX_TENSOR_BYTES // 4
    if batch > MAX_BATCH or max(sides) > MAX_SIDE or math.prod(shape) * item_bytes > largest:
        raise ModelError(
            f'{path}: an input of {list(shape)} is refused: expected at most {MAX_BATCH} images, '
            f'{MAX_SIDE} pixels a side and {largest >> 30} GiB in all'
        )


def largest_tensor_bytes() -> int:
    """Return what one tensor of a model may take on this machine: at most half of its memory."""
    memory = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
    return min(MAX_TENSOR_BYTES, memory // 2)
