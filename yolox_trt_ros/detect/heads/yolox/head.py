"""The YOLOX head: what its outputs mean, and how CPU and CUDA kernels read them.

Conventions are YOLOX's own (``decode_outputs`` in yolox/models/yolo_head.py, ``multiclass_nms`` in
yolox/utils/demo_utils.py): score = objectness × class probability; class-aware suppression decides
each class on its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.head import Candidates, CudaReader, HeadSpec
from yolox_trt_ros.core.model import InputSpec, Thresholds

Scores = Literal['probability', 'logit']
Boxes = Literal['grid', 'pixel']

FARTHEST = 1e6
"""Input pixels; far beyond any image, and its square still is a float32."""

MAX_LEVELS = 4
"""kLevels in yolox.cu."""
LEVEL = np.dtype(
    [
        ('box', 'u8'),
        ('objectness', 'u8'),
        ('classes', 'u8'),
        ('first', 'i4'),
        ('cells', 'i4'),
        ('columns', 'i4'),
        ('stride', 'f4'),
    ],
    align=True,
)
HEAD = np.dtype(
    [
        ('level', LEVEL, MAX_LEVELS),
        ('levels', 'i4'),
        ('anchors', 'i4'),
        ('classes', 'i4'),
        ('logits', 'i4'),
        ('grid', 'i4'),
    ],
    align=True,
)


@dataclass(frozen=True, slots=True)
class YoloxHead(HeadSpec):
    """The head of one YOLOX.

    Attributes:
        outputs: one [batch, anchors, 5 + classes], anchors level by level, row by row; or box,
            objectness and class map [batch, 4 | 1 | classes, h, w] of each level in turn.
        strides: of the levels, in the outputs' order.
        scores: ``probability`` if the model ends in sigmoids, ``logit`` if not.
        boxes: ``grid``: centre offset in cells and log size in strides; ``pixel``: centre and size
            in input pixels, decoded by the model itself.
        maps: tensors in the graph: box, objectness and class map of each level in turn; () where
            that is not known.
        unbatched: whether the one output is of one image and has no axis for it.
    """

    family: ClassVar[str] = 'yolox'

    strides: tuple[int, ...]
    scores: Scores
    boxes: Boxes
    maps: tuple[str, ...] = ()
    unbatched: bool = False

    @property
    def per_level(self) -> bool:
        """Return whether the outputs are maps."""
        return len(self.outputs) > 1

    def grids(self, image: InputSpec) -> list[tuple[int, int]]:
        """Return (rows, columns) of each level's grid."""
        return [(image.height // s, image.width // s) for s in self.strides]

    def anchors(self, image: InputSpec) -> int:
        """Return how many anchors the head has."""
        return sum(rows * columns for rows, columns in self.grids(image))

    def shapes(self, image: InputSpec) -> list[tuple[int, ...]]:
        """Return the shape of each output for one image."""
        if not self.per_level:
            return [(self.anchors(image), 5 + self.classes)]
        return [(channels, *g) for g in self.grids(image) for channels in (4, 1, self.classes)]

    def batched(self, image: InputSpec, batch: int) -> list[tuple[int, ...]]:
        """Return the shape of each output for a batch."""
        shapes = self.shapes(image)
        return shapes if self.unbatched else [(batch, *shape) for shape in shapes]

    def decoder(self, image: InputSpec) -> YoloxDecoder:
        """Return what finds the candidates on the CPU."""
        return YoloxDecoder(self, image)

    def cuda_reader(self, image: InputSpec, outputs: Sequence[int]) -> CudaReader:
        """Return how CUDA kernels read the outputs.

        Raises:
            ConfigError: it has more levels than the kernels are made for.
        """
        if len(self.strides) > MAX_LEVELS:
            raise ConfigError(f'expected at most {MAX_LEVELS} strides, got {len(self.strides)}')
        reader = 'Maps' if self.per_level else 'Concatenated'
        head = self._cuda_head(image, outputs)
        return CudaReader('yolox.cu', reader, head, self.anchors(image), self.bound)

    def about(self) -> dict[str, Any]:
        """Return what the YAML beside the model would say of its head."""
        return {
            'outputs': list(self.outputs),
            'strides': list(self.strides),
            'scores': self.scores,
            'boxes': self.boxes,
        }

    def branches(self) -> list[tuple[str, str]]:
        """Return box and objectness maps, each with the class map of its level."""
        maps = self.maps
        return [(maps[i], maps[i - i % 3 + 2]) for i in range(len(maps)) if i % 3 < 2]

    def bound(self, score: float) -> float:
        """Return the smallest objectness, as it stands in the output, that may reach a score.

        No class probability exceeds 1, so objectness alone rules out nearly every anchor.
        """
        if self.scores == 'probability':
            return score
        inside = 0 < score < 1
        return math.log(score / (1 - score)) if inside else math.copysign(math.inf, score - 0.5)

    def _cuda_head(self, image: InputSpec, outputs: Sequence[int]) -> np.ndarray:
        head = np.zeros(1, HEAD)
        head['levels'], head['anchors'] = len(self.strides), self.anchors(image)
        head['classes'] = self.classes
        head['logits'], head['grid'] = self.scores == 'logit', self.boxes == 'grid'
        first = 0
        for i, (rows, columns) in enumerate(self.grids(image)):
            level = head['level'][0, i : i + 1]
            maps = outputs[3 * i : 3 * i + 3] if self.per_level else [outputs[0]] * 3
            level['box'], level['objectness'], level['classes'] = maps
            level['first'], level['cells'], level['columns'] = first, rows * columns, columns
            level['stride'] = self.strides[i]
            first += rows * columns
        return head


class YoloxDecoder:
    """Finds the candidates in the outputs of one model with NumPy; grids are computed once."""

    def __init__(self, head: YoloxHead, image: InputSpec) -> None:
        self._spec = head
        cells, strides = [], []
        for stride, (rows, columns) in zip(head.strides, head.grids(image), strict=True):
            y, x = np.mgrid[:rows, :columns].astype(np.float32)
            cells.append(np.stack((x.ravel(), y.ravel()), axis=1))
            strides.append(np.full(rows * columns, stride, np.float32))
        self._cells = np.concatenate(cells)
        self._strides = np.concatenate(strides)[:, None]

    @np.errstate(over='ignore')  # of a sigmoid far off zero, or of a size that is no box's
    def __call__(
        self, outputs: Sequence[np.ndarray], index: int, thresholds: Thresholds
    ) -> Candidates:
        """Return one image's boxes whose score is above the threshold."""
        boxes, objectness, classes = self._parts(outputs, index)
        (anchors,) = np.nonzero(objectness >= self._spec.bound(thresholds.score))
        # Float16 scores would be multiplied, and compared, with three digits.
        objectness, classes = (m[anchors].astype(np.float32) for m in (objectness, classes))
        if self._spec.scores == 'logit':
            objectness, classes = _sigmoid(objectness), _sigmoid(classes)
        scores = objectness[:, None] * classes
        if thresholds.class_agnostic:
            best = scores.argmax(axis=1)
            (row,) = np.nonzero(scores[np.arange(len(best)), best] > thresholds.score)
            class_id = best[row]
        else:
            row, class_id = np.nonzero(scores > thresholds.score)
        xywh = self._decoded(boxes, anchors[row])
        # NaN, and numbers so large that an area overflows, are no boxes.
        sane = (np.abs(xywh) < FARTHEST).all(axis=1)
        xywh, score, class_id = xywh[sane], scores[row, class_id][sane], class_id[sane]
        half = xywh[:, 2:] / 2
        xyxy = np.concatenate((xywh[:, :2] - half, xywh[:, :2] + half), axis=1)
        return Candidates(xyxy, score.astype(np.float32), class_id)

    def _parts(
        self, outputs: Sequence[np.ndarray], index: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return boxes (anchors, 4), objectness (anchors,), classes (anchors, classes)."""
        if not self._spec.per_level:
            head = outputs[0] if self._spec.unbatched else outputs[0][index]
            return head[:, :4], head[:, 4], head[:, 5:]
        boxes, objectness, classes = (
            np.concatenate([m[index].reshape(m.shape[1], -1) for m in outputs[k::3]], axis=1)
            for k in range(3)
        )
        return boxes.T, objectness[0], classes.T

    def _decoded(self, boxes: np.ndarray, anchors: np.ndarray) -> np.ndarray:
        """Return centre and size of these anchors' boxes, in input pixels."""
        xywh = boxes[anchors].astype(np.float32)
        if self._spec.boxes == 'grid':
            stride = self._strides[anchors]
            xywh[:, :2] = (xywh[:, :2] + self._cells[anchors]) * stride
            xywh[:, 2:] = np.exp(xywh[:, 2:]) * stride
        return xywh


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x.astype(np.float32)))
