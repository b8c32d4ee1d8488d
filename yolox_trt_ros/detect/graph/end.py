"""The end of a detector's graph, from the head's convolutions to its outputs, ready to be run.

What an exporter put behind the head (sigmoids, decoding, in-place writes, casts, quantisation) is
not guessed from the names of operators: :class:`GraphEnd` runs it on maps of one's own choice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from yolox_trt_ros.detect.graph.dequantise import (
    COARSEST,
    EXPORT,
    Dequantiser,
    NotFollowedError,
    OtherEndError,
)
from yolox_trt_ros.detect.graph.tensors import read_by
from yolox_trt_ros.detect.graph.wiring import LOOKED_THROUGH, Wiring

_ONLY_SHAPE = ('Shape', 'Size')
_AS_MANY_AS_FOUND = ('NonMaxSuppression', 'NonZero')
_BEFORE = '__before'
_MOST_NODES = 5000
"""Behind a head there are some hundred, in-place writes included."""


@dataclass(frozen=True, slots=True)
class MapFacts:
    """What a graph says of one map.

    Attributes:
        channels: how many it has.
        source: the tensor that its convolution reads.
        names: of its tensor, its convolution and its weights.
        squashed: whether a sigmoid stands between it and the outputs; None: not known.
    """

    channels: int
    source: str
    names: tuple[str, ...]
    squashed: bool | None = None


@dataclass(frozen=True, slots=True)
class HeadMap:
    """What one convolution of the head gives out.

    Attributes:
        name: of the tensor.
        shape: [batch, channels, height, width].
        dtype: float32 or float16.
        facts: what distinguishes it from its neighbours.
    """

    name: str
    shape: tuple[int, ...]
    dtype: Any
    facts: MapFacts


class GraphEnd:
    """Everything between the head's convolutions and some outputs.

    Args:
        model: ``onnx.ModelProto``.
        outputs: names of the outputs.
        shapes: of tensors, where they are known.
        types: ``TensorProto.DataType`` of tensors.

    Attributes:
        maps: convolutions that are met first on the way back from the outputs.
        operators: kinds of operators on the way, each once, in the graph's order.

    Raises:
        NotFollowedError: the graph's end cannot be taken out of it; says why.
    """

    def __init__(
        self,
        model: Any,
        outputs: Sequence[str],
        shapes: Mapping[str, tuple[int, ...]],
        types: Mapping[str, int],
    ) -> None:
        self._model, self._outputs, self._shapes = model, list(outputs), shapes
        self._graph = Wiring(model.graph, shapes)
        self._lists = _lists(model.graph)
        # Where sizes are computed from the input's, it is fed as well: black.
        self._black = _black_images(model.graph, shapes, types)
        names, kept = self._walk()
        self.operators = list(dict.fromkeys(n.op_type for n in kept if n.op_type != 'Constant'))
        self._nodes, self._constants, feeds = self._rewritten(names, kept, types)
        self.maps = [self._map(name, source, shapes, types) for name, source in feeds]

    def run(self, values: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Return the outputs for maps of given values, whatever the image.

        Raises:
            NotFollowedError: the nodes do not run on them.
        """
        import onnx

        used = {name for node in self._nodes for name in read_by(node)}
        feeds = {name: v for name, v in (self._black | dict(values)).items() if name in used}
        graph = onnx.helper.make_graph(
            self._nodes,
            'end',
            [
                onnx.helper.make_tensor_value_info(
                    name, onnx.helper.np_dtype_to_tensor_dtype(value.dtype), value.shape
                )
                for name, value in feeds.items()
            ],
            [onnx.ValueInfoProto(name=_out(name)) for name in self._outputs],
            self._constants,
        )
        model = onnx.helper.make_model(
            graph,
            opset_imports=self._model.opset_import,
            functions=self._model.functions,
            ir_version=self._model.ir_version,
        )
        try:
            return [np.asarray(v) for v in _evaluate(model, feeds)]
        except Exception as error:  # ONNX Runtime's errors share no other base class
            raise NotFollowedError(f'its end does not run by itself ({error})') from error

    def _walk(self) -> tuple[list[str], list[Any]]:
        """Return the convolutions' outputs in the order met, and the nodes behind them."""
        convolutions: list[str] = []
        seen: set[str] = set()
        kept: set[int] = set()
        waiting = list(reversed(self._outputs))
        while waiting:
            name = waiting.pop()
            node = self._graph.producer.get(name)
            if node is None or name in seen:
                continue
            seen.add(name)
            if self._graph.convolution(name) is not None:
                convolutions.append(name)
                continue
            kept.add(id(node))
            if len(kept) > _MOST_NODES:
                raise NotFollowedError(f'more than {_MOST_NODES} nodes follow its head')
            waiting += [] if self._is_size(node) else reversed(read_by(node))
        return convolutions, [n for n in self._model.graph.node if id(n) in kept]

    def _rewritten(
        self, names: Sequence[str], kept: Sequence[Any], types: Mapping[str, int]
    ) -> tuple[list[Any], list[Any], list[tuple[str, Any]]]:
        """Return nodes, constants and maps of a graph that computes in floating point."""
        from onnx import helper

        feeds: list[tuple[str, Any]] = []
        dequantiser = Dequantiser(self._graph.value)
        nodes: list[Any] = []
        for name in names:
            node = self._graph.convolution(name)
            if node.op_type == 'QLinearConv':
                dequantiser.quantised(name, node.input[6], node.input[7])
            activation = next((a.s.decode() for a in node.attribute if a.name == 'activation'), '')
            if activation:
                nodes.append(helper.make_node(activation, [f'{name}{_BEFORE}'], [name]))
            feeds.append((f'{name}{_BEFORE}' if activation else name, node))
        for node in kept:
            if self._is_size(node):
                nodes.append(self._size(node))
            else:
                nodes += dequantiser.rewritten(node)
        for name in self._outputs:
            if dequantiser.is_quantised(name):
                raise OtherEndError(f'its output {name} holds quantised numbers: {EXPORT}')
            if (step := dequantiser.step(name)) > COARSEST:
                raise OtherEndError(
                    f'its output {name} is stored in steps of {step:g}, which no score survives: '
                    f'{EXPORT}, or keep the head in float'
                )
            nodes.append(helper.make_node('Identity', [name], [_out(name)]))
        wanted = {name for node in nodes for name in read_by(node)}
        constants = [w for w in self._model.graph.initializer if w.name in wanted]
        if any(w.external_data for w in constants):
            raise NotFollowedError('constants of its end lie in another file')
        return nodes, constants, feeds

    def _is_size(self, node: Any) -> bool:
        """Return whether a node gives a size that follows from the input's."""
        return node.op_type in _ONLY_SHAPE and node.input[0] not in self._lists

    def _size(self, node: Any) -> Any:
        """Return a Shape or Size as a constant: what it reads may lie before the head."""
        from onnx import helper, numpy_helper

        shape = self._shapes.get(node.input[0])
        if shape is None:
            raise NotFollowedError(f'the shape of {node.input[0]} does not follow from the input’s')
        given = {a.name: a.i for a in node.attribute}
        some = shape[given.get('start', 0) : given.get('end')]
        value = np.array(some if node.op_type == 'Shape' else np.prod(shape, dtype=int), np.int64)
        return helper.make_node('Constant', [], node.output, value=numpy_helper.from_array(value))

    def _map(
        self,
        name: str,
        node: Any,
        shapes: Mapping[str, tuple[int, ...]],
        types: Mapping[str, int],
    ) -> HeadMap:
        import onnx

        tensor = name.removesuffix(_BEFORE)
        shape = shapes.get(tensor) or shapes.get(node.output[0]) or ()
        kind = types.get(tensor) or self._graph.weight_type(node)
        half = kind == onnx.TensorProto.FLOAT16
        channels = shape[1] if len(shape) == 4 else 0
        names = (tensor, node.name, node.output[0], *node.input[1:])
        facts = MapFacts(channels, self._graph.origin(node.input[0]), names, self._squashed(name))
        return HeadMap(name, shape, np.float16 if half else np.float32, facts)

    def _squashed(self, name: str) -> bool | None:
        """Return whether the first operator that changes a map's values is a sigmoid."""
        for _ in range(16):
            readers = [node for node in self._nodes if name in node.input]
            kinds = {node.op_type for node in readers}
            if kinds == {'Sigmoid'} or len(readers) != 1:
                return kinds == {'Sigmoid'}
            if readers[0].op_type not in LOOKED_THROUGH:
                return False
            name = readers[0].output[0]
        return None


def _black_images(
    graph: Any, shapes: Mapping[str, tuple[int, ...]], types: Mapping[str, int]
) -> dict[str, np.ndarray]:
    from onnx import helper

    weights = {w.name for w in graph.initializer}
    return {
        i.name: np.zeros(shapes[i.name], helper.tensor_dtype_to_np_dtype(types[i.name]))
        for i in graph.input
        if i.name not in weights and i.name in shapes
    }


def _lists(graph: Any) -> set[str]:
    """Return the tensors whose size hangs on what the image shows."""
    found: set[str] = set()
    for node in graph.node:
        if node.op_type in _AS_MANY_AS_FOUND or not found.isdisjoint(node.input):
            found |= set(node.output)
    return found


def _out(name: str) -> str:
    return f'{name}__out'


def _evaluate(model: Any, feeds: Mapping[str, np.ndarray]) -> list[Any]:
    """Run a small graph in ONNX Runtime, or where that is missing in ONNX's own evaluator."""
    try:
        import onnxruntime as ort
    except ImportError:
        from onnx.reference import ReferenceEvaluator

        return list(ReferenceEvaluator(model).run(None, dict(feeds)))
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4  # what is found out here is no error
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=['CPUExecutionProvider']
    )
    return list(session.run(None, dict(feeds)))
