"""Put one layer of a version into the model that it is a version of.

What a layer of the version makes of the model's own tensors is its own error, without that of the
layers before it; what the rest of the model makes of that is what the error does to the outputs.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from yolox_trt_ros.core.errors import MissingDependencyError, ModelError
from yolox_trt_ros.engine.compare import layer_pairs
from yolox_trt_ros.engine.graph import Graph, element_types
from yolox_trt_ros.engine.onnx_run import OnnxRun

try:
    import onnx
    import onnxruntime as ort
    from onnx import helper
except ImportError as error:
    raise MissingDependencyError(
        'running a model here needs ONNX Runtime: pip install onnx onnxruntime'
    ) from error

if TYPE_CHECKING:
    from onnx import ModelProto

Tensors = Mapping[str, np.ndarray]


class Subgraph:
    """What of a graph lies between some tensors and others.

    Args:
        model: any ONNX.
        given: tensors that it may be given.
        wanted: tensors to compute.

    Attributes:
        inputs: those of the given ones that it needs.
    """

    def __init__(self, model: ModelProto, given: Collection[str], wanted: Sequence[str]) -> None:
        self._wanted = list(wanted)
        self._computed = [name for name in wanted if name not in given]
        makers = {name: node for node in model.graph.node for name in node.output}
        needed: set[str] = set()
        waiting = list(self._computed)
        while waiting:
            name = waiting.pop()
            if name in needed:
                continue
            needed.add(name)
            if name not in given and name in makers:
                waiting += [x for x in makers[name].input if x]
        self.inputs = sorted(needed & set(given))
        if not self._computed:
            return
        types = element_types(model)
        cut = onnx.ModelProto()
        cut.CopyFrom(model)
        graph = cut.graph
        nodes = [n for n in graph.node if (needed - set(given)) & set(n.output)]
        values = [w for w in graph.initializer if w.name in needed]
        kinds = {name: types.get(name, onnx.TensorProto.FLOAT) for name in self.inputs}
        made = helper.make_graph(
            nodes, 'part',
            [helper.make_tensor_value_info(name, kind, None) for name, kind in kinds.items()],
            [onnx.ValueInfoProto(name=name) for name in self._computed],
            values,
        )  # fmt: skip
        graph.CopyFrom(made)
        self._kinds = {k: helper.tensor_dtype_to_np_dtype(v) for k, v in kinds.items()}
        options = ort.SessionOptions()
        options.log_severity_level = 3
        # Whoever fuses must not round by the way, or leave roundings out.
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            self._session = ort.InferenceSession(
                cut.SerializeToString(), options, providers=['CPUExecutionProvider']
            )
        except Exception as error:
            raise ModelError(f'ONNX Runtime cannot load a part of the model: {error}') from error

    def __call__(self, tensors: Tensors) -> list[np.ndarray]:
        """Return the wanted tensors, float32, from the given ones."""
        found: dict[str, np.ndarray] = {}
        if self._computed:
            fed = {name: tensors[name].astype(kind) for name, kind in self._kinds.items()}
            found = dict(zip(self._computed, self._session.run(None, fed), strict=True))
        return [(found[x] if x in found else tensors[x]).astype(np.float32) for x in self._wanted]


class Substitution:
    """Puts layers of a version into a model.

    Args:
        reference: the model.
        other: a version of it.
        outputs: of the reference that are looked at.

    Attributes:
        layers: tensors of the reference that a layer gives out and the version has too, in order.
        wanted: the outputs.
    """

    def __init__(self, reference: ModelProto, other: ModelProto, outputs: Sequence[str]) -> None:
        self._reference, self._other, self.wanted = reference, other, list(outputs)
        self._graph = Graph(reference)
        self._pairs = layer_pairs(reference, other)
        self._back = {counterpart: name for name, counterpart in self._pairs.items()}
        self._back[Graph(other).image] = self._graph.image
        self.layers = list(self._pairs)
        self._run = OnnxRun(reference, [*self.layers, *outputs], literal=True)

    def tensors(self, picture: np.ndarray) -> dict[str, np.ndarray]:
        """Return the reference's layers and outputs on float32 (3, height, width)."""
        batch = self._run.shape[0] if isinstance(self._run.shape[0], int) else 1
        images = np.repeat(picture[None], batch, axis=0)
        return {**self._run(images), self._graph.image: images}

    def own(self, layer: str, pictures: Sequence[Tensors]) -> list[np.ndarray]:
        """Return what the version's layer makes of the reference's tensors, picture by picture."""
        counterpart = self._pairs[layer]
        given = set(self._back) - {counterpart}
        part = Subgraph(self._other, given, [counterpart])
        return [part({x: tensors[self._back[x]] for x in part.inputs})[0] for tensors in pictures]

    def sources(self, layer: str) -> list[str]:
        """Return the layers of the reference that a layer reads."""
        given = {*self.layers, self._graph.image} - {layer}
        return [
            x for x in Subgraph(self._reference, given, [layer]).inputs if x != self._graph.image
        ]

    def outputs(
        self, layer: str, values: Sequence[np.ndarray], pictures: Sequence[Tensors]
    ) -> list[list[np.ndarray]]:
        """Return the reference's outputs with other values of one layer, picture by picture."""
        after = self._after(layer)
        given = {self._graph.image, layer, *(x for x in self.layers if x not in after)}
        part = Subgraph(self._reference, given, self.wanted)
        return [
            part({**tensors, layer: value}) for value, tensors in zip(values, pictures, strict=True)
        ]

    def _after(self, tensor: str) -> set[str]:
        """Return all tensors that depend on one."""
        found: set[str] = set()
        waiting = [tensor]
        while waiting:
            for node in self._graph.consumers.get(waiting.pop(), []):
                new = set(node.output) - found
                found |= new
                waiting += new
        return found
