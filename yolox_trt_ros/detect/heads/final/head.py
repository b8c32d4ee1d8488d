"""A head of final boxes: corners, a score and a class for each, and nothing is suppressed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from yolox_trt_ros.core.head import Candidates, CudaReader, Decode, HeadSpec
from yolox_trt_ros.core.model import InputSpec, Thresholds
from yolox_trt_ros.detect.heads.dense.decoder import FARTHEST
from yolox_trt_ros.detect.heads.dense.head import HEAD, TENSOR

INTEGERS = ('', 'int32', 'int64')
"""Types of class numbers and counts; the empty one is the outputs' own."""


@dataclass(frozen=True, slots=True)
class Column:
    """Where one kind of number stands: in which output, and from which column of it on."""

    output: int
    first: int = 0


@dataclass(frozen=True, slots=True)
class FinalHead(HeadSpec):
    """The head of one model.

    Attributes:
        rows: boxes of an image; -1: as many as there are.
        widths: numbers that each output has for a box; 0: it is no list of boxes but a count.
        box, score, class_id: where they stand.
        count: the output that holds how many boxes of each image are valid; None: all are.
        image: where the number of the image stands, if rows of all images follow each other.
        unit: input pixels across and down that 1 stands for.
        types: of the outputs where they are integers: ``int32`` or ``int64``.
        squeezed: outputs that have no axis for their one number.
        joined: whether the boxes of all images follow each other, as many of each as counted.
    """

    family: ClassVar[str] = 'final'
    suppressed: ClassVar[bool] = True

    rows: int
    widths: tuple[int, ...]
    box: Column
    score: Column
    class_id: Column
    count: int | None = None
    image: Column | None = None
    unit: tuple[float, float] = (1.0, 1.0)
    types: tuple[str, ...] = ()
    squeezed: tuple[bool, ...] = ()
    joined: bool = False

    def shapes(self, image: InputSpec) -> list[tuple[int, ...]]:
        """Return the shape of each output for one image."""
        shapes: list[tuple[int, ...]] = []
        for i, width in enumerate(self.widths):
            squeezed = bool(self.squeezed) and self.squeezed[i]
            if i == self.count:
                shapes.append(() if squeezed else (1,))
            else:
                shapes.append((self.rows,) if squeezed else (self.rows, width))
        return shapes

    def batched(self, image: InputSpec, batch: int) -> list[tuple[int, ...]]:
        """Return the shape of each output for a batch; -1: any number of rows."""
        if self.image is not None:
            return [(-1, width) for width in self.widths]
        if self.joined:
            return [(batch,) if i == self.count else (-1, w) for i, w in enumerate(self.widths)]
        return [(batch, *shape) for shape in self.shapes(image)]

    def integers(self) -> dict[str, str]:
        """Return the types of outputs that hold integers."""
        return {n: t for n, t in zip(self.outputs, self.types, strict=False) if t}

    def about(self) -> dict[str, Any]:
        """Return what the YAML beside the model would say of its head."""
        return {'head': self.family, 'outputs': list(self.outputs)}

    def decoder(self, image: InputSpec) -> Decode:
        """Return what finds the candidates on the CPU."""
        unit = np.array(self.unit * 2, np.float32)

        def decode(outputs: Sequence[np.ndarray], index: int, limits: Thresholds) -> Candidates:
            images = self._of_image(outputs, index)
            score = self._column(images, self.score)[:, 0].astype(np.float32)
            class_id = self._column(images, self.class_id)[:, 0]
            known = (class_id >= 0) & (class_id < self.classes)
            keep = known & (score > limits.score)
            xyxy = self._column(images, self.box, 4)[keep].astype(np.float32) * unit
            sane = (np.abs(xyxy) < FARTHEST).all(axis=1)
            return Candidates(xyxy[sane], score[keep][sane], class_id[keep][sane].astype(np.intp))

        return decode

    def cuda_reader(self, image: InputSpec, outputs: Sequence[int]) -> CudaReader:
        """Return how CUDA kernels read the outputs.

        Raises:
            ConfigError: the number of rows is open.
        """
        self.fixed(image, 1)
        head = np.zeros(1, HEAD)
        head['levels'], head['anchors'], head['classes'] = 1, self.rows, self.classes
        head['unit'] = self.unit
        record = head['level'][0, :1]
        record['anchors'] = self.rows
        record['box'] = self._tensor(self.box, outputs)
        record['scores'] = self._tensor(self.score, outputs)
        head['labels'], head['label_type'] = (
            self._tensor(self.class_id, outputs),
            self._type(self.class_id.output),
        )
        if self.count is not None:
            head['count'] = outputs[self.count]
            head['count_type'] = self._type(self.count)
        return CudaReader('dense.cu', 'Final', head, self.rows, float)

    def _type(self, output: int) -> int:
        return INTEGERS.index(self.types[output]) if self.types else 0

    def _tensor(self, column: Column, outputs: Sequence[int]) -> Any:
        tensor, width = np.zeros(1, TENSOR), self.widths[column.output]
        tensor['data'], tensor['image'] = outputs[column.output], self.rows * width
        tensor['offset'], tensor['channel'], tensor['anchor'] = column.first, 1, width
        return tensor

    def _of_image(self, outputs: Sequence[np.ndarray], index: int) -> list[np.ndarray]:
        if self.image is not None:
            rows = outputs[self.image.output]
            return [rows[rows[:, self.image.first] == index]]
        if self.joined and self.count is not None:
            counts = outputs[self.count]
            first = int(counts[:index].sum())
            return [output[first : first + int(counts[index])] for output in outputs]
        images = [output[index] for output in outputs]
        if self.count is None:
            return images
        valid = int(images[self.count].reshape(()))
        return [o if i == self.count else o[:valid] for i, o in enumerate(images)]

    def _column(self, images: Sequence[np.ndarray], column: Column, channels: int = 1) -> Any:
        rows = images[column.output].reshape(-1, self.widths[column.output])
        return rows[:, column.first : column.first + channels]
