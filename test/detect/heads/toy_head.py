"""A family of heads from outside the package: final boxes, as networks without suppression give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from yolox_trt_ros.core.head import Candidates, Decode, HeadSpec
from yolox_trt_ros.core.model import InputSpec, Thresholds
from yolox_trt_ros.detect.graph.model_graph import ModelGraph
from yolox_trt_ros.detect.heads.family import Family, NotThisHeadError


@dataclass(frozen=True, slots=True)
class ToyHead(HeadSpec):
    """One output [batch, boxes, 6]: corners as fractions of the input, class, score."""

    family: ClassVar[str] = 'toy'
    suppressed: ClassVar[bool] = True

    boxes: int

    def shapes(self, image: InputSpec) -> list[tuple[int, ...]]:
        return [(self.boxes, 6)]

    def decoder(self, image: InputSpec) -> Decode:
        size = np.array([image.width, image.height] * 2, np.float32)

        def decode(outputs: Sequence[np.ndarray], index: int, limits: Thresholds) -> Candidates:
            rows = outputs[0][index]
            rows = rows[rows[:, 5] > limits.score]
            return Candidates(rows[:, :4] * size, rows[:, 5], rows[:, 4].astype(int))

        return decode


class Toy(Family):
    def match(self, graph: ModelGraph) -> ToyHead:
        ((name, shape),) = list(graph.outputs().items())[:1]
        if len(shape) != 3 or shape[2] != 6:
            raise NotThisHeadError(
                f'not a toy: expected an output [batch, boxes, 6], got {name} {list(shape)}'
            )
        return ToyHead((name,), 2, shape[1])


FAMILIES = {'toy': Toy()}
