"""Where boxes, scores and classes stand in outputs of final boxes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from yolox_trt_ros.detect.heads.final.head import Column

MOST_COLUMNS = 7


@dataclass(frozen=True, slots=True)
class Columns:
    """A reading of outputs.

    Attributes:
        box, score, class_id: where they stand.
        count: the output with the number of valid boxes.
        image: where the number of the image stands.
        joined: whether the boxes of all images follow each other, as many of each as counted.
    """

    box: Column
    score: Column
    class_id: Column
    count: int | None = None
    image: Column | None = None
    joined: bool = False


def widths_of(outputs: Sequence[np.ndarray], rows: int) -> tuple[int, ...]:
    """Return how many numbers each output has for a box; 0: it is no list of boxes."""
    return tuple(
        (o.shape[-1] if o.ndim == 3 else 1) if o.ndim in (2, 3) and o.shape[1] == rows else 0
        for o in outputs
    )


def possible_columns(outputs: Sequence[np.ndarray]) -> Iterator[Columns]:
    """Yield the readings of outputs that shapes and types allow.

    Args:
        outputs: [batch, boxes, numbers], [batch, boxes], or a count [batch] or [batch, 1]; or one
            [boxes, 7] with the image's number first; or [boxes, 6] and a count [batch].
    """
    if len(outputs) == 1:
        yield from _of_one(outputs[0])
        return
    if sorted(o.ndim for o in outputs) == [1, 2]:
        yield from _joined(outputs)
        return
    boxes = [i for i, o in enumerate(outputs) if o.ndim == 3 and o.shape[2] in (4, 5)]
    if len(boxes) != 1:
        return
    box = boxes[0]
    rows = outputs[box].shape[1]
    lists = [i for i, o in enumerate(outputs) if i != box and o.ndim >= 2 and o.shape[1] == rows]
    counts = [i for i, o in enumerate(outputs) if o.ndim <= 2 and o.size == len(o) and i != box]
    counts = [i for i in counts if i not in lists and outputs[i].dtype.kind == 'i']
    rest = [i for i in range(len(outputs)) if i not in (box, *lists, *counts)]
    if rest or len(counts) > 1:
        return
    count = counts[0] if counts else None
    if outputs[box].shape[2] == 5 and len(lists) == 1:
        yield Columns(Column(box), Column(box, 4), Column(lists[0]), count)
    elif outputs[box].shape[2] == 4 and len(lists) == 2:
        for score, class_id in permutations(lists):
            if outputs[score].dtype.kind == 'f':
                yield Columns(Column(box), Column(score), Column(class_id), count)


def _joined(outputs: Sequence[np.ndarray]) -> Iterator[Columns]:
    count = int(outputs[1].ndim == 1)
    rows, width = 1 - count, outputs[1 - count].shape[1]
    if outputs[count].dtype.kind != 'i' or outputs[rows].dtype.kind != 'f' or width != 6:
        return
    for start in (0, 2):
        rest = [c for c in range(width) if not start <= c < start + 4]
        for score, class_id in permutations(rest):
            box, best, number = (Column(rows, first) for first in (start, score, class_id))
            yield Columns(box, best, number, count, joined=True)


def _of_one(output: np.ndarray) -> Iterator[Columns]:
    width = output.shape[-1]
    if output.dtype.kind != 'f' or not 6 <= width <= MOST_COLUMNS:
        return
    if output.ndim == 3 and width == 6:
        numbered = False
    elif output.ndim == 2 and width == 7:
        numbered = True
    else:
        return
    for start in (1, 0, 3) if numbered else (0, 2):
        rest = [c for c in range(width) if not start <= c < start + 4]
        for order in permutations(rest):
            score, class_id = order[:2]
            if numbered:
                yield Columns(
                    Column(0, start), Column(0, score), Column(0, class_id),
                    image=Column(0, order[2]),
                )  # fmt: skip
            else:
                yield Columns(Column(0, start), Column(0, score), Column(0, class_id))


def rows_of(outputs: Sequence[np.ndarray], columns: Columns, batch: int) -> np.ndarray:
    """Return the first image's valid boxes as float64 (n, 6): corners, score, class.

    None are there if the columns are not what they are taken for.
    """

    def column(place: Column, channels: int = 1) -> np.ndarray:
        output = outputs[place.output]
        image = output if columns.joined or columns.image is not None else output[0]
        whole = image.reshape(len(image), -1)
        return whole[:, place.first : place.first + channels].astype(np.float64)

    rows = np.concatenate(
        (column(columns.box, 4), column(columns.score), column(columns.class_id)), axis=1
    )
    if columns.image is not None:
        images = column(columns.image)[:, 0]
        rows = rows[images == 0] if np.isin(images, np.arange(batch)).all() else rows[:0]
    if columns.count is not None:
        counts = outputs[columns.count].reshape(-1)
        if columns.joined and counts.sum() != len(rows):
            return rows[:0]
        rows = rows[: int(counts[0])]
    rows = rows[rows[:, 4] > 0]
    whole = (rows[:, 5] == np.rint(rows[:, 5])).all()
    return rows if whole else rows[:0]
