"""Compare two models tensor by tensor on the same pictures, to see where accuracy goes."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from yolox_trt_ros.core.errors import ModelError
from yolox_trt_ros.core.text_files import member, parse_json
from yolox_trt_ros.engine.graph import Graph
from yolox_trt_ros.engine.onnx_run import OnnxRun
from yolox_trt_ros.engine.surgery import RENAMED_KEY

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto


Run = Callable[[np.ndarray], Mapping[str, np.ndarray]]
Inner = Literal['layers', 'all', 'none']
INNER: tuple[Inner, ...] = ('layers', 'all', 'none')

ACTIVATIONS = ('Clip', 'HardSigmoid', 'LeakyRelu', 'Relu', 'Sigmoid', 'Tanh')
"""TensorRT computes them within the layer that they follow; SiLU's product as well."""


@dataclass(frozen=True, slots=True)
class TensorDifference:
    """How one tensor of two models differs, over all pictures.

    Attributes:
        name: in the reference.
        op: of the layer that makes it.
        cosine: of the angle between the two, seen as vectors; 1 is the same direction.
        largest: difference of one number.
        sqnr_db: signal to quantisation noise, 10·log10(Σ reference² / Σ difference²); infinite
            where nothing differs.
    """

    name: str
    op: str
    cosine: float
    largest: float
    sqnr_db: float


@dataclass(slots=True)
class _Sums:
    reference: float = 0.0
    other: float = 0.0
    product: float = 0.0
    noise: float = 0.0
    largest: float = 0.0

    def add(self, reference: np.ndarray, other: np.ndarray) -> None:
        a, b = (v.astype(np.float64).reshape(-1) for v in (reference, other))
        difference = a - b
        self.reference += float(a @ a)
        self.other += float(b @ b)
        self.product += float(a @ b)
        self.noise += float(difference @ difference)
        self.largest = max(self.largest, float(np.abs(difference).max(initial=0.0)))

    def difference(self, name: str, op: str) -> TensorDifference:
        length = math.sqrt(self.reference * self.other)
        cosine = self.product / length if length else float(self.reference == self.other)
        sqnr = math.inf
        if self.noise:
            sqnr = 10 * math.log10(self.reference / self.noise) if self.reference else -math.inf
        return TensorDifference(name, op, cosine, self.largest, sqnr)


def compare_models(
    reference: ModelProto, other: ModelProto, pictures: Iterable[np.ndarray]
) -> tuple[list[TensorDifference], int]:
    """Return how each tensor that both models have differs, worst first, and how many have no pair.

    Tensors match by name; those that ``optimize`` renamed by their former names, which it wrote
    into the model. Both run operator by operator, so that a tensor is what the graph says.

    Args:
        reference: usually the FP32 model.
        other: its FP16, INT8 or optimised version.
        pictures: float32 (3, height, width).

    Returns:
        Differences by ``sqnr_db``, lowest first; and how many tensors of ``other`` have no
        counterpart.

    Raises:
        ModelError: no tensor of one is in the other, or their inputs or shapes differ.
    """
    here, there = Graph(reference), Graph(other)
    pairs, unmatched = _pairs(reference, here, other, there)
    run = OnnxRun(other, list(pairs.values()), literal=True)
    return _compared(reference, pairs, lambda p: run(_batch(p, run)), pictures), unmatched


def inner_tensors(reference: ModelProto, other: ModelProto, inner: Inner) -> tuple[str, ...]:
    """Return the tensors to mark in an engine of ``other``, so that they can be compared.

    Args:
        reference: that they will be compared with: it has a counterpart of each.
        other: what the engine is built from.
        inner: ``layers``: what a layer of TensorRT's gives out, its activation included, so that
            the marks break few fusions; ``all``: every tensor; ``none``: the outputs alone.

    Raises:
        ModelError: no tensor of one is in the other.
    """
    graph = Graph(other)
    pairs, _ = _pairs(reference, Graph(reference), other, graph)
    chosen = [name for name in pairs.values() if name not in graph.outputs]
    if inner == 'layers':
        return tuple(name for name in chosen if not _within_a_layer(graph, name))
    return tuple(chosen) if inner == 'all' else ()


def layer_pairs(reference: ModelProto, other: ModelProto) -> dict[str, str]:
    """Return what layers give out, their activations included: the reference's name → the other's.

    Raises:
        ModelError: no tensor of one is in the other.
    """
    here = Graph(reference)
    pairs, _ = _pairs(reference, here, other, Graph(other))
    return {a: b for a, b in pairs.items() if not _within_a_layer(here, a)}


def compare_engine(
    reference: ModelProto,
    other: ModelProto,
    run: Run,
    names: Collection[str],
    pictures: Iterable[np.ndarray],
) -> list[TensorDifference]:
    """Return how what an engine gives out differs from the reference, worst first.

    Args:
        reference: usually the FP32 model.
        other: what the engine was built from; the same, or a version of it.
        run: returns the engine's outputs, marked tensors included, (1, …) for one picture.
        names: of those tensors.
        pictures: float32 (3, height, width).

    Raises:
        ModelError: the reference has no such tensor, or another shape.
    """
    pairs, _ = _pairs(reference, Graph(reference), other, Graph(other))
    given = {name: counterpart for name, counterpart in pairs.items() if counterpart in names}
    return _compared(reference, given, run, pictures)


def _within_a_layer(graph: Graph, name: str) -> bool:
    """Return whether nothing but an activation reads a tensor."""
    readers = graph.consumers.get(name, [])
    return bool(readers) and all(
        reader.op_type in ACTIVATIONS or _is_silu(graph, reader) for reader in readers
    )


def _is_silu(graph: Graph, product: NodeProto) -> bool:
    gates = [graph.producer[i] for i in product.input if i in graph.producer]
    return product.op_type == 'Mul' and any(
        gate.op_type == 'Sigmoid' and gate.input[0] in product.input for gate in gates
    )


def _compared(
    reference: ModelProto,
    pairs: Mapping[str, str],
    run: Run,
    pictures: Iterable[np.ndarray],
) -> list[TensorDifference]:
    graph, exact = Graph(reference), OnnxRun(reference, list(pairs), literal=True)
    sums = {name: _Sums() for name in pairs}
    for picture in pictures:
        here, there = exact(_batch(picture, exact)), run(picture)
        for name, counterpart in pairs.items():
            left, right = here[name][:1], there[counterpart][:1]
            if left.shape != right.shape:
                raise ModelError(
                    f'tensor {name}: {list(left.shape)} in the one, {list(right.shape)} in the '
                    'other: these are not versions of one model'
                )
            sums[name].add(left, right)
    found = [sums[name].difference(name, graph.producer[name].op_type) for name in pairs]
    return sorted(found, key=lambda d: d.sqnr_db)


def _batch(picture: np.ndarray, run: OnnxRun) -> np.ndarray:
    size = run.shape[0] if isinstance(run.shape[0], int) else 1
    return np.repeat(picture[None], size, axis=0)


def _pairs(
    reference: ModelProto, here: Graph, other: ModelProto, there: Graph
) -> tuple[dict[str, str], int]:
    """Return reference tensor → the other's, in the reference's order; and the unmatched ones."""
    former, formerly = _former_names(other), _former_names(reference)
    counterparts = {former.get(n, n): n for n in there.tensors if n in there.producer}
    names = {n: formerly.get(n, n) for n in here.tensors if n in here.producer}
    pairs = {n: counterparts[key] for n, key in names.items() if key in counterparts}
    if not pairs:
        raise ModelError(
            'the two models have no tensor of the same name: expected two versions of one model'
        )
    return pairs, len(counterparts) - len(pairs)


def _former_names(model: ModelProto) -> dict[str, str]:
    for entry in model.metadata_props:
        if entry.key == RENAMED_KEY:
            where = f'metadata "{RENAMED_KEY}"'
            names = parse_json(entry.value, where, ModelError)
            return {new: member(names, new, str, where, ModelError) for new in names}
    return {}
