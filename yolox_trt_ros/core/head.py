"""The interface of a model's head, whatever family it is of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.model import InputSpec, Thresholds


@dataclass(frozen=True, slots=True)
class Candidates:
    """Boxes of one image before suppression, in any order.

    Attributes:
        xyxy: float32 (n, 4), corners in input pixels.
        score: float32 (n,), above the threshold.
        class_id: int (n,).
    """

    xyxy: np.ndarray
    score: np.ndarray
    class_id: np.ndarray


Decode = Callable[[Sequence[np.ndarray], int, Thresholds], Candidates]
"""Outputs of a batch in the order of ``HeadSpec.outputs``, which image of it, what counts."""


@dataclass(frozen=True, slots=True)
class CudaReader:
    """How CUDA kernels read a head; see ``detect/cuda/kernels/decode.cuh``.

    Attributes:
        file: in ``detect/cuda/kernels``; defines ``struct Head`` and the reader.
        reader: C++ name of the reader's template, whose argument is the outputs' type.
        head: the ``struct Head``, as a NumPy array (1,).
        anchors: how many boxes one image may have at most.
        bound: returns the smallest number that lets an anchor reach a score; the reader's
            ``first`` is compared with it.
    """

    file: str
    reader: str
    head: np.ndarray
    anchors: int
    bound: Callable[[float], float]


@dataclass(frozen=True, slots=True)
class CutMap:
    """An output of a model that ends before its head's decoding.

    Attributes:
        name: of the output.
        original: of the tensor in the model that it comes from.
    """

    name: str
    original: str


@dataclass(frozen=True, slots=True)
class HeadCut:
    """Where a graph may end, so that what follows is computed by the detector.

    Attributes:
        maps: its new outputs, in order.
        classes: how many.
        about: what the YAML beside the new model would say of its head.
        multiple: what both sides of the input have to be multiples of.
        summary: what the cut changes, for people.
        kept: outputs that stay as they are, such as class masks.
        kept_numbers: whether these are numbers of classes, of which a near one is no better.
    """

    maps: tuple[CutMap, ...]
    classes: int
    about: dict[str, Any]
    multiple: int
    summary: str
    kept: tuple[str, ...] = ()
    kept_numbers: bool = False

    @property
    def compared(self) -> tuple[CutMap, ...]:
        """Return the outputs that are to be equal but for rounding."""
        kept = () if self.kept_numbers else self.kept
        return (*self.maps, *(CutMap(name, name) for name in kept))


@dataclass(frozen=True, slots=True)
class HeadSpec(ABC):
    """What the outputs of one model mean: the conventions of its family, and its own numbers.

    Attributes:
        family: name under which :mod:`detect.heads` knows it.
        suppressed: whether the model gives final boxes, so that none suppresses another.
        fed: how the family's models are fed, as attributes of an ``InputSpec``: holds for what the
            description of a model does not say.
        asked: attributes of an ``InputSpec`` that differ among the family's models: the
            description has to say them.
        outputs: names of the outputs that are read, in the order in which they are.
        classes: how many.
    """

    family: ClassVar[str]
    suppressed: ClassVar[bool] = False
    fed: ClassVar[Mapping[str, Any]] = {}
    asked: ClassVar[tuple[str, ...]] = ()

    outputs: tuple[str, ...]
    classes: int

    @abstractmethod
    def shapes(self, image: InputSpec) -> list[tuple[int, ...]]:
        """Return the shape of each output for one image, without the batch."""

    def batched(self, image: InputSpec, batch: int) -> list[tuple[int, ...]]:
        """Return the shape of each output for a batch; -1: any number."""
        return [(batch, *shape) for shape in self.shapes(image)]

    def fixed(self, image: InputSpec, batch: int) -> list[tuple[int, ...]]:
        """Return the shape of each output for a batch, to make memory for it.

        Raises:
            ConfigError: the graph leaves one open.
        """
        shapes = self.batched(image, batch)
        if any(-1 in shape for shape in shapes):
            raise ConfigError(
                'the model leaves open how many boxes it gives, which no memory on a GPU can be '
                'made for: use a lane on cpu, or export it with a fixed number of boxes'
            )
        return shapes

    def integers(self) -> dict[str, str]:
        """Return the types of those outputs that hold integers: ``int32`` or ``int64``."""
        return {}

    @abstractmethod
    def decoder(self, image: InputSpec) -> Decode:
        """Return what finds the candidates in the outputs, on the CPU."""

    def cuda_reader(self, image: InputSpec, outputs: Sequence[int]) -> CudaReader:
        """Return how CUDA kernels read the outputs.

        Args:
            image: the model's input.
            outputs: their addresses, [max_batch, …] each.

        Raises:
            ConfigError: no kernel reads this head.
        """
        raise ConfigError(f'no CUDA kernel reads a {self.family} head yet: use a lane on cpu')

    def branches(self) -> list[tuple[str, str]]:
        """Return the head's last convolutions, to keep them in higher precision.

        Returns:
            Pairs of tensors in the graph, one of boxes and one of classes; [] where none is known.
        """
        return []

    def remarks(self) -> list[str]:
        """Return what people should know of how the outputs are read."""
        return []

    def about(self) -> dict[str, Any]:
        """Return what the YAML beside the model would say of its head."""
        return {'outputs': list(self.outputs)}
