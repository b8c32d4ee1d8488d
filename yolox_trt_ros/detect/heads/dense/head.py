"""A dense head: where boxes and scores of each anchor stand, and what their numbers mean."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np

from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.head import CudaReader, HeadSpec
from yolox_trt_ros.core.model import InputSpec

Coding = Literal['centre', 'corners', 'distances', 'grid', 'anchors']
Scores = Literal['probability', 'logit', 'softmax']

MAX_LEVELS = 16
"""kLevels in dense.cu."""
TENSOR = np.dtype(
    [('data', 'u8'), ('image', 'i8'), ('offset', 'i8'), ('channel', 'i4'), ('anchor', 'i4')],
    align=True,
)
LEVEL = np.dtype(
    [
        ('box', TENSOR),
        ('objectness', TENSOR),
        ('scores', TENSOR),
        ('first', 'i4'),
        ('anchors', 'i4'),
        ('columns', 'i4'),
        ('stride', 'f4', 2),
        ('size', 'f4', 2),
        ('reach', 'f4'),
    ],
    align=True,
)
HEAD = np.dtype(
    [
        ('level', LEVEL, MAX_LEVELS),
        ('levels', 'i4'),
        ('anchors', 'i4'),
        ('classes', 'i4'),
        ('scores', 'i4'),
        ('objectness', 'i4'),
        ('bins', 'i4'),
        ('pixels', 'i4'),
        ('exponential', 'i4'),
        ('squashed', 'i4'),
        ('offset', 'f4'),
        ('unit', 'f4', 2),
        ('labels', TENSOR),
        ('count', 'u8'),
        ('label_type', 'i4'),
        ('count_type', 'i4'),
    ],
    align=True,
)
_READERS = {
    'centre': 'Centre',
    'corners': 'Corners',
    'distances': 'Distances',
    'grid': 'Grid',
    'anchors': 'Anchors',
}
_SCORES = ('probability', 'logit', 'softmax')


@dataclass(frozen=True, slots=True)
class OutputLayout:
    """How one output lies in memory.

    Attributes:
        shape: without the batch.
        channels_last: whether the numbers of an anchor lie side by side, and not the anchors.
    """

    shape: tuple[int, ...]
    channels_last: bool

    def steps(self, channels: int) -> tuple[int, int]:
        """Return numbers between neighbouring channels and between neighbouring anchors."""
        if self.channels_last:
            return 1, channels
        return math.prod(self.shape) // channels, 1


@dataclass(frozen=True, slots=True)
class Place:
    """Where one kind of number stands.

    Attributes:
        output: which.
        channels: that the output has for each anchor.
        channel: the first of this kind.
        anchor: the first of the level.
    """

    output: int
    channels: int
    channel: int = 0
    anchor: int = 0


@dataclass(frozen=True, slots=True)
class AnchorSet:
    """Anchors that share a grid; of decoded boxes, all anchors.

    Attributes:
        anchors: how many.
        box, scores: where they stand.
        objectness: likewise; None: there is none.
        columns: of its grid; 0: boxes need none.
        stride: input pixels per cell, across and down.
        size: of its anchor box, input pixels; of families that have some.
        reach: by what the offset from the cell is stretched about its middle; likewise.
    """

    anchors: int
    box: Place
    scores: Place
    objectness: Place | None = None
    columns: int = 0
    stride: tuple[float, float] = (1.0, 1.0)
    size: tuple[float, float] = (0.0, 0.0)
    reach: float = 1.0


@dataclass(frozen=True, slots=True)
class Boxes:
    """What the four numbers of a box mean, or 4 × ``bins``.

    Attributes:
        coding: ``centre``: centre and size; ``corners``: left, top, right, bottom; ``distances``:
            of these sides from a point in the cell; ``grid``: YOLOX's offset and log size in cells;
            ``anchors``: offset in the cell and factor of the level's anchor box.
        unit: of ``centre`` and ``corners``: input pixels across and down that 1 stands for.
        bins: more than 1: each distance is the mean of a distribution over 0, 1, 2, ….
        pixels: of ``distances``: whether they count input pixels, not cells.
        exponential: of ``anchors``: whether a factor is the exponential of the number; else it is
            four times its square.
        squashed: of ``anchors``: whether a sigmoid is still to be taken.
        offset: of the point in its cell.
    """

    coding: Coding
    unit: tuple[float, float] = (1.0, 1.0)
    bins: int = 1
    pixels: bool = False
    exponential: bool = False
    squashed: bool = False
    offset: float = 0.5


@dataclass(frozen=True, slots=True)
class DenseHead(HeadSpec):
    """The head of one model; each family has a subclass with its name and how it is fed.

    Attributes:
        layouts: of the outputs.
        levels: in the order of their anchors.
        boxes: what their numbers mean.
        scores: ``probability`` or ``logit`` of each class; ``softmax``: logits, one class more than
            there are, the last is nothing, and an anchor has its best class only.
        unbatched: whether the outputs are of one image and have no axis for it.
        maps: pairs of tensors in the graph, of boxes and of classes, see ``branches``.
        further: numbers of each anchor that are no detection's, such as a mask's.
    """

    family: ClassVar[str] = 'dense'

    layouts: tuple[OutputLayout, ...]
    levels: tuple[AnchorSet, ...]
    boxes: Boxes
    scores: Scores
    unbatched: bool = False
    maps: tuple[tuple[str, str], ...] = ()
    further: int = 0

    @property
    def anchors(self) -> int:
        """Return how many boxes it may find."""
        return sum(level.anchors for level in self.levels)

    @property
    def has_objectness(self) -> bool:
        """Return whether a score is objectness × class score."""
        return self.levels[0].objectness is not None

    def shapes(self, image: InputSpec) -> list[tuple[int, ...]]:
        """Return the shape of each output for one image."""
        return [layout.shape for layout in self.layouts]

    def batched(self, image: InputSpec, batch: int) -> list[tuple[int, ...]]:
        """Return the shape of each output for a batch."""
        shapes = self.shapes(image)
        return shapes if self.unbatched else [(batch, *shape) for shape in shapes]

    def decoder(self, image: InputSpec) -> Any:
        """Return what finds the candidates on the CPU."""
        from yolox_trt_ros.detect.heads.dense.decoder import DenseDecoder

        return DenseDecoder(self)

    def about(self) -> dict[str, Any]:
        """Return what the YAML beside the model would say of its head."""
        about: dict[str, Any] = {'outputs': list(self.outputs), 'head': self.family}
        if self.boxes.coding == 'anchors':
            about['anchors'] = [float(n) for level in self.levels for n in level.size]
        return about

    def branches(self) -> list[tuple[str, str]]:
        """Return box and class maps of each level."""
        return list(self.maps)

    def remarks(self) -> list[str]:
        """Return what of the outputs is left out."""
        more = f'{self.further} further numbers of each box are left out'
        return [more] if self.further else []

    def bound(self, score: float) -> float:
        """Return the smallest objectness, or best class score, that may reach a score.

        As it stands in the output. A softmax needs all of them: nothing rules an anchor out.
        """
        if self.scores == 'softmax':
            return -math.inf
        if self.scores == 'probability':
            return score
        inside = 0 < score < 1
        return math.log(score / (1 - score)) if inside else math.copysign(math.inf, score - 0.5)

    def cuda_reader(self, image: InputSpec, outputs: Sequence[int]) -> CudaReader:
        """Return how CUDA kernels read the outputs.

        Raises:
            ConfigError: it has more levels than the kernels are made for.
        """
        if len(self.levels) > MAX_LEVELS:
            raise ConfigError(f'expected at most {MAX_LEVELS} levels, got {len(self.levels)}')
        head = np.zeros(1, HEAD)
        head['levels'], head['anchors'] = len(self.levels), self.anchors
        head['classes'], head['scores'] = self.classes, _SCORES.index(self.scores)
        head['objectness'] = self.has_objectness
        for name in ('bins', 'pixels', 'exponential', 'squashed', 'offset', 'unit'):
            head[name] = getattr(self.boxes, name)
        first = 0
        for i, level in enumerate(self.levels):
            record = head['level'][0, i : i + 1]
            record['first'], record['anchors'], record['columns'] = (
                first,
                level.anchors,
                level.columns,
            )
            record['stride'], record['size'] = level.stride, level.size
            record['reach'] = level.reach
            places = {'box': level.box, 'scores': level.scores, 'objectness': level.objectness}
            for name, place in places.items():
                if place is not None:
                    record[name] = self._tensor(place, outputs)
            first += level.anchors
        reader = _READERS[self.boxes.coding]
        return CudaReader('dense.cu', reader, head, self.anchors, self.bound)

    def _tensor(self, place: Place, outputs: Sequence[int]) -> Any:
        layout = self.layouts[place.output]
        channel, anchor = layout.steps(place.channels)
        tensor = np.zeros(1, TENSOR)
        tensor['data'], tensor['image'] = outputs[place.output], math.prod(layout.shape)
        tensor['offset'] = place.channel * channel + place.anchor * anchor
        tensor['channel'], tensor['anchor'] = channel, anchor
        return tensor


def in_fractions(boxes: Boxes, image: InputSpec) -> Boxes:
    """Return boxes that are fractions of the input."""
    return replace(boxes, unit=(float(image.width), float(image.height)))
