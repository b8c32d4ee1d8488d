"""2:4 sparsity of convolutions: who has it, who can have it, and how it is brought about.

Of each four neighbouring input channels, at every output channel and pixel of the kernel, at most
two weights are not zero (TensorRT's developer guide, "Sparsity").
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from yolox_trt_ros.core.errors import ModelError, did_you_mean
from yolox_trt_ros.core.printing import shown
from yolox_trt_ros.engine.error_compensation import compensated
from yolox_trt_ros.engine.graph import Graph
from yolox_trt_ros.engine.layer_inputs import hessians

if TYPE_CHECKING:
    from onnx import ModelProto

FOUR, TWO = 4, 2
INPUTS, OUTPUTS = 16, 8
"""Multiples of channels that NVIDIA's own tool prunes (apex, contrib/sparsity/asp.py, "check for
NVIDIA's TC compatibility"); it leaves other layers dense."""
QUICKER_FROM = 256
"""Inputs times pixels of the kernel from which sparse kernels win, as TensorRT's developers say
(github.com/NVIDIA/TensorRT, issues 3849 and 4065)."""
STAGES = 6
"""Of error compensation: each sees the inputs that the layers before it really give."""

Progress = Callable[[Iterable[Any], str], Iterable[Any]]
"""Passes items on and shows how far it is, under a title."""


@dataclass(frozen=True, slots=True)
class SparseLayer:
    """A convolution, seen for 2:4 sparsity.

    Attributes:
        name, output: of the node; of its result.
        inputs, outputs, groups: channels.
        kernel: pixels of it.
        weights: how many.
        sparse: whether they are 2:4 already.
        refusal: why it stays dense; empty: it can be sparse.
    """

    name: str
    output: str
    inputs: int
    outputs: int
    groups: int
    kernel: tuple[int, ...]
    weights: int
    sparse: bool
    refusal: str

    @property
    def quicker(self) -> bool:
        """Whether a sparse kernel is likely to win; a rule of thumb, the build decides."""
        return not self.refusal and self.inputs * math.prod(self.kernel) > QUICKER_FROM


def is_sparse(weights: np.ndarray) -> bool:
    """Return whether weights (out, in, …) are 2:4 sparse along their input channels."""
    if weights.ndim < TWO or weights.shape[1] % FOUR:
        return False
    return bool((np.count_nonzero(_fours(weights), axis=2) <= TWO).all())


def largest_two(weights: np.ndarray) -> np.ndarray:
    """Return weights (out, in, …) with the two smallest of each four set to zero."""
    fours = _fours(weights).copy()
    smallest = np.argsort(np.abs(fours), axis=2, kind='stable')[:, :, :TWO]
    np.put_along_axis(fours, smallest, 0, axis=2)
    return fours.reshape(weights.shape)


def _fours(weights: np.ndarray) -> np.ndarray:
    out, inputs = weights.shape[:2]
    return weights.reshape(out, inputs // FOUR, FOUR, *weights.shape[2:])


def sparse_layers(model: ModelProto) -> list[SparseLayer]:
    """Return the convolutions of a model in the order of the graph.

    Args:
        model: its weights constant, see :func:`engine.half.widen_weights`.
    """
    graph = Graph(model)
    nodes = list(graph.convolutions())
    readers: dict[str, int] = {}
    for node in nodes:
        readers[node.input[1]] = readers.get(node.input[1], 0) + 1
    found = []
    for node in nodes:
        weights = graph.constant(node.input[1])
        groups = next((a.i for a in node.attribute if a.name == 'group'), 1)
        if weights is None:
            empty: tuple[int, ...] = ()
            refusal = 'its weights are computed'
            found.append(
                SparseLayer(node.name, node.output[0], 0, 0, groups, empty, 0, False, refusal)
            )
            continue
        out, inputs, *kernel = weights.shape
        found.append(
            SparseLayer(
                node.name, node.output[0], inputs, out, groups, tuple(kernel), weights.size,
                is_sparse(weights), _refusal(out, inputs, groups, readers[node.input[1]]),
            )
        )  # fmt: skip
    return found


def _refusal(outputs: int, inputs: int, groups: int, readers: int) -> str:
    if groups > 1:
        return 'groups: TensorRT has no sparse kernel for them'
    if inputs % INPUTS:
        return f'{inputs} inputs, no multiple of {INPUTS}'
    if outputs % OUTPUTS:
        return f'{outputs} outputs, no multiple of {OUTPUTS}'
    return f'{readers} layers share its weights' if readers > 1 else ''


def chosen_layers(layers: Sequence[SparseLayer], dense: Sequence[str]) -> list[SparseLayer]:
    """Return the layers to make sparse: those that can be and are not named to stay dense.

    Raises:
        ModelError: there is no layer of a name, or none is left.
    """
    known = {name for layer in layers for name in (layer.name, layer.output)}
    for name in dense:
        if name not in known:
            near = did_you_mean(name, known)
            raise ModelError(f'--dense {shown(name)}: the model has no such convolution{near}')
    found = [x for x in layers if not (x.refusal or x.name in dense or x.output in dense)]
    if not found:
        reasons = '; '.join(sorted({x.refusal for x in layers if x.refusal})) or 'all were named'
        raise ModelError(f'no convolution can be 2:4 sparse here ({reasons})')
    return found


def sparsify(
    model: ModelProto,
    layers: Sequence[SparseLayer],
    pictures: Callable[[], Iterable[np.ndarray]] | None,
    progress: Progress,
) -> dict[str, float]:
    """Make layers 2:4 sparse, in place.

    Without pictures the two weights of smallest magnitude go. With pictures those go whose loss
    the other weights of the output channel can best make good, and these change accordingly.

    Args:
        model: its weights constant.
        layers: of :func:`chosen_layers`.
        pictures: returns float32 inputs (3, height, width), the same ones at each call.
        progress: shows how far it is.

    Returns:
        For each layer, by its output, the share of its result's energy that is lost, 0 to 1; with
        pictures only.
    """
    graph, lost = Graph(model), dict[str, float]()
    names = {x.output: graph.producer[x.output].input[1] for x in layers}
    if pictures is None:
        for name in names.values():
            graph.set_constant(name, largest_two(_weights(graph, name)))
        return lost
    each = math.ceil(len(layers) / STAGES)
    stages = [layers[k : k + each] for k in range(0, len(layers), each)]
    for k, stage in enumerate(stages, 1):
        title = f'inputs, stage {k} of {len(stages)}'
        found = hessians(model, [x.output for x in stage], progress(pictures(), title))
        for layer in progress(stage, f'weights, stage {k} of {len(stages)}'):
            name = names[layer.output]
            sparse, part = compensated(_weights(graph, name), found.pop(layer.output))
            graph.set_constant(name, sparse)
            lost[layer.output] = part
    return lost


def _weights(graph: Graph, name: str) -> np.ndarray:
    values = graph.constant(name)
    assert values is not None, name  # sparse_layers refuses it
    return values
