"""A model's graph as a family of heads sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from yolox_trt_ros.core.model import InputSpec
from yolox_trt_ros.detect.graph.dequantise import NotFollowedError
from yolox_trt_ros.detect.graph.end import GraphEnd
from yolox_trt_ros.detect.graph.tensors import Tensors


@dataclass(frozen=True, slots=True)
class ModelGraph:
    """What is known of a model before its head is.

    Attributes:
        path: its file.
        model: ``onnx.ModelProto``.
        input: how it is fed.
        given: what its description says, see :func:`detect.description.description_of`.
        tensors: shapes and types.
        memo: what families found out, for others that ask the same.
    """

    path: Path
    model: Any
    input: InputSpec
    given: Mapping[str, Any]
    tensors: Tensors
    memo: dict[str, Any] = field(default_factory=dict, compare=False)

    def outputs(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the outputs, () where one does not follow from the input's.

        That which the description names as class masks is none of the head's, and left out.
        """
        masks = self.given.get('segmentation')
        return {name: shape for name, shape in self.all_outputs().items() if name != masks}

    def all_outputs(self) -> dict[str, tuple[int, ...]]:
        """Return the same of all outputs."""
        return {o.name: self.tensors.shapes.get(o.name, ()) for o in self.model.graph.output}

    def end(self, names: Sequence[str]) -> GraphEnd:
        """Return what stands between the last convolutions and these outputs.

        Raises:
            NotFollowedError: it cannot be taken out of the graph.
        """
        end = GraphEnd(self.model, names, self.tensors.shapes, self.tensors.types)
        for m in end.maps:
            if not m.shape or 0 in m.shape:
                raise NotFollowedError(f'the shape of {m.name} does not follow from the input’s')
        return end
