"""The best queries of a DETR, as exports with its post-processing give them.

Labels, corners and scores come out, the corners scaled by an input for the image's size. Which
tensors inside the graph are the queries' boxes and logits is found out by running its end: each
row has to be one of the queries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from yolox_trt_ros.detect.graph.dequantise import NotFollowedError
from yolox_trt_ros.detect.graph.model_graph import ModelGraph
from yolox_trt_ros.detect.heads.dense.match import TOLERANCE, named_outputs, random_maps, sigmoid
from yolox_trt_ros.detect.heads.final.columns import Columns, possible_columns, rows_of
from yolox_trt_ros.detect.heads.final.match import units_of
from yolox_trt_ros.detect.heads.final.readings import close_to

LATEST = 16
"""Tensors inside the graph, from its end on, that are tried as boxes and as logits."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """What outputs of the best queries hold.

    Attributes:
        names: of the outputs.
        outputs: of a trial, for their shapes and types.
        columns: where boxes, scores and classes stand.
        unit: input pixels across and down that 1 stands for.
        classes: how many.
        most: the largest number of a query's box.
    """

    names: tuple[str, ...]
    outputs: tuple[np.ndarray, ...]
    columns: Columns
    unit: tuple[float, float]
    classes: int
    most: float


def ranked_queries(graph: ModelGraph) -> Ranked:
    """Return what outputs hold that are the best queries.

    Raises:
        NotFollowedError: they are none; says why.
    """
    names = _lists(graph)
    boxes, logits = _inside(graph, names)
    end = graph.end([*names, *boxes, *logits])
    values = {n: v * v.dtype.type(3) for n, v in random_maps(end.maps).items()}
    found = end.run(values)
    outputs = found[: len(names)]
    size, batch = (graph.input.height, graph.input.width), graph.input.batch or 1
    some = dict(zip((*boxes, *logits), found[len(names) :], strict=True))
    for columns in possible_columns(outputs):
        rows = rows_of(outputs, columns, batch)
        for unit, pixels in units_of(rows, size):
            for box, logit in ((b, x) for x in logits for b in boxes):
                if len(rows) and _explained(some[box][0], some[logit][0], pixels, size):
                    most = float(np.abs(some[box]).max())
                    classes = some[logit].shape[2]
                    return Ranked(tuple(names), tuple(outputs), columns, unit, classes, most)
    raise NotFollowedError(
        f'{", ".join(names)} are not the best of its queries as corners in pixels of the input'
    )


def _lists(graph: ModelGraph) -> list[str]:
    """Return the outputs with a box, a score and a class for each query, in the file's order."""
    shapes = graph.outputs()
    every = named_outputs(graph)
    if len(every) == 2 and {len(shapes[n]) for n in every} == {1, 2}:  # rows, and their number
        return every
    named = [n for n in every if len(shapes[n]) in (2, 3)]
    boxes = [n for n in named if shapes[n][2:] == (4,)]
    lists = [n for n in named if boxes and shapes[n] == shapes[boxes[0]][:2]]
    if len(boxes) != 1 or len(lists) != 2:
        listed = ', '.join(f'{n} {list(shape)}' for n, shape in shapes.items())
        raise NotFollowedError(f'its outputs are {listed}')
    return [n for n in named if n in (*boxes, *lists)]


def _inside(graph: ModelGraph, names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return tensors that may be the queries' boxes, and what may be their logits."""
    shapes = graph.tensors.shapes
    nodes = list(reversed(graph.model.graph.node))
    squashed = [n.input[0] for n in nodes if n.op_type == 'Sigmoid']
    logits = [n for n in squashed if len(shapes.get(n, ())) == 3][:LATEST]
    queries = {shapes[n][1] for n in logits}
    made = (o for n in nodes for o in n.output if o not in names)
    boxes = [o for o in made if _of_queries(shapes.get(o, ()), queries)][:LATEST]
    if not boxes or not logits:
        raise NotFollowedError('no boxes and logits of queries stand before its outputs')
    return boxes, logits


def _of_queries(shape: tuple[int, ...], queries: set[int]) -> bool:
    return len(shape) == 3 and shape[2] == 4 and shape[1] in queries


def _explained(
    boxes: np.ndarray, logits: np.ndarray, rows: np.ndarray, size: tuple[int, int]
) -> bool:
    """Return whether each row is a query: its corners in input pixels, its score and its class."""
    if len(boxes) != len(logits) or boxes.dtype.kind != 'f' or logits.dtype.kind != 'f':
        return False
    scores = sigmoid(logits.astype(np.float64))
    centre, half = boxes[:, :2].astype(np.float64), boxes[:, 2:].astype(np.float64) / 2
    across_down = np.array([size[1], size[0]] * 2, np.float64)
    corners = np.concatenate((centre - half, centre + half), axis=1) * across_down
    return all(_is_one_of(row, corners, scores) for row in rows)


def _is_one_of(row: np.ndarray, corners: np.ndarray, scores: np.ndarray) -> bool:
    class_id = int(row[5])
    if not 0 <= class_id < scores.shape[1]:
        return False
    near = np.abs(scores[:, class_id] - row[4]) < TOLERANCE
    return bool(close_to(corners[near], row[:4]).any())
