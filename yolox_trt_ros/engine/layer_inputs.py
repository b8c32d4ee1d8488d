"""What convolutions read on pictures, as the sums of squares that their weights meet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from yolox_trt_ros.core.errors import ModelError
from yolox_trt_ros.engine.graph import Graph
from yolox_trt_ros.engine.onnx_run import OnnxRun

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

PLACES = 256
"""Of a picture, at most, where the input of a convolution is looked at."""


@dataclass(frozen=True, slots=True)
class _Window:
    """How a convolution walks over its input."""

    kernel: tuple[int, int]
    strides: tuple[int, int]
    pads: tuple[int, int, int, int]
    dilations: tuple[int, int]

    def _places(self, axis: int, size: int) -> int:
        """Return how many places there are along an axis."""
        reach = self.dilations[axis] * (self.kernel[axis] - 1) + 1
        return (size + self.pads[axis] + self.pads[axis + 2] - reach) // self.strides[axis] + 1

    def patches(self, x: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Return what the kernel sees at random places, (places, n).

        Args:
            x: (channels, height, width).
            random: chooses the places.
        """
        shape = [self._places(axis, x.shape[axis + 1]) for axis in range(2)]
        at = random.integers(0, shape[0] * shape[1], min(PLACES, shape[0] * shape[1]))
        inside, index = [], []
        for axis, place in enumerate(np.divmod(at, shape[1])):
            pixel = np.arange(self.kernel[axis]) * self.dilations[axis] - self.pads[axis]
            there = place[:, None] * self.strides[axis] + pixel[None]
            inside.append((there >= 0) & (there < x.shape[1 + axis]))
            index.append(there.clip(0, x.shape[1 + axis] - 1))
        seen = x[:, index[0][:, :, None], index[1][:, None, :]]
        seen = np.where(inside[0][:, :, None] & inside[1][:, None, :], seen, 0)
        return seen.transpose(1, 2, 3, 0).reshape(len(at), -1)


def hessians(
    model: ModelProto, outputs: Sequence[str], pictures: Iterable[np.ndarray]
) -> dict[str, np.ndarray]:
    """Return Σ x xᵀ of what each convolution's weights meet, float32 (n, n), by its output.

    A column is a pixel of the kernel and a channel, pixels first; borders are zero. Of each
    picture :data:`PLACES` random places count, always the same ones.

    Args:
        model: any ONNX with one input.
        outputs: of the convolutions, two-dimensional and without groups.
        pictures: float32 (3, height, width).

    Raises:
        ModelError: ONNX Runtime cannot run the model, a convolution is not two-dimensional, or its
            input is not finite.
    """
    graph = Graph(model)
    windows = {name: _window(graph, graph.producer[name]) for name in outputs}
    inputs = {name: graph.producer[name].input[0] for name in outputs}
    inner = [name for name in dict.fromkeys(inputs.values()) if name != graph.image]
    run = OnnxRun(model, inner, literal=True)
    batch = run.shape[0] if isinstance(run.shape[0], int) else 1
    random = np.random.default_rng(0)
    found: dict[str, np.ndarray] = {}
    for picture in pictures:
        tensors = run(np.repeat(picture[None], batch, axis=0))
        tensors[graph.image] = picture[None]
        for name, window in windows.items():
            seen = window.patches(tensors[inputs[name]][0], random)
            if not np.isfinite(seen).all():
                raise ModelError(f'convolution {name}: reads numbers that are not finite')
            if name not in found:
                found[name] = np.zeros((seen.shape[1], seen.shape[1]), np.float32)
            found[name] += seen.T @ seen
    return found


def _window(graph: Graph, node: NodeProto) -> _Window:
    weights = graph.constant(node.input[1])
    given = {a.name: tuple(a.ints) for a in node.attribute if a.ints}
    automatic = any(a.name == 'auto_pad' and a.s not in (b'', b'NOTSET') for a in node.attribute)
    if weights is None or weights.ndim != 4 or automatic:
        raise ModelError(
            f'convolution {node.name}: expected two dimensions, constant weights and pads as '
            'numbers; name it under --dense, or leave the pictures out'
        )
    rows, columns = weights.shape[2:]
    return _Window(
        (rows, columns),
        given.get('strides', (1, 1)),
        given.get('pads', (0, 0, 0, 0)),
        given.get('dilations', (1, 1)),
    )
