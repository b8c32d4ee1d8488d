"""Convert a float32 model to float16, for a strongly typed TensorRT."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from yolox_trt_ros.core.errors import MissingDependencyError


def to_half(model: Any, *, float32_borders: bool = False) -> Any:
    """Return the model with float16 weights and activations.

    Numbers that float16 cannot hold are moved to its nearest, as every conversion does.

    Args:
        model: ``onnx.ModelProto`` with float32 weights; it is changed.
        float32_borders: leave inputs and outputs in float32, with a Cast each.

    Raises:
        MissingDependencyError: ONNX Runtime, whose converter this is, is not installed.
    """
    try:
        from onnxruntime.transformers.float16 import convert_float_to_float16
        from onnxruntime.transformers.onnx_model import OnnxModel
    except ImportError as error:
        raise MissingDependencyError(
            'converting a model to float16 needs ONNX Runtime: pip install onnxruntime'
        ) from error
    half = convert_float_to_float16(model, keep_io_types=float32_borders)
    _drop_repeated_nodes(half.graph)
    # Of a constant that several nodes read, the converter writes two types; all can be inferred.
    del half.graph.value_info[:]
    OnnxModel.graph_topological_sort(half.graph)  # the Casts come last, ONNX asks for them in place
    return half


def _drop_repeated_nodes(graph: Any) -> None:
    """Keep one of several nodes that write the same output.

    The converter adds a Cast for each reader of a constant that has to stay in float32, all of them
    under one name: two Resize nodes with one scale make an invalid graph.
    """
    seen: dict[str, Any] = {}
    for node in list(graph.node):
        first = seen.setdefault(node.output[0], node)
        if first is not node and first == node:
            graph.node.remove(node)


def narrow_weights(model: Any, names: Collection[str]) -> None:
    """Store float32 constants as float16 with a Cast behind each; runtimes fold it at load.

    Args:
        model: changed; it computes in float32 as before.
        names: of the constants. Numbers that float16 cannot hold are moved to its nearest.
    """
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for tensor in model.graph.initializer:
        if tensor.name not in names:
            continue
        name = tensor.name
        narrow = numpy_helper.to_array(tensor).astype('float16')
        tensor.CopyFrom(numpy_helper.from_array(narrow, f'{name}_fp16'))
        casts.append(
            helper.make_node('Cast', [tensor.name], [name], f'{name}_cast', to=TensorProto.FLOAT)
        )
    nodes = casts + list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def widen_weights(model: Any) -> list[str]:
    """Replace float16 weights that the model widens at every run by float32 ones.

    Files are stored so to be small. TensorRT before 10, and a DLA, take constant weights only.

    Returns:
        Their names, for :func:`narrow_weights`.
    """
    from onnx import numpy_helper

    graph = model.graph
    weights = {weight.name: weight for weight in graph.initializer}
    casts = [n for n in graph.node if n.op_type == 'Cast' and n.input[0] in weights]
    for cast in casts:
        wide = numpy_helper.to_array(weights[cast.input[0]]).astype('float32')
        graph.initializer.append(numpy_helper.from_array(wide, cast.output[0]))
        graph.node.remove(cast)
    used = {name for node in graph.node for name in node.input}
    for weight in list(weights.values()):
        if weight.name not in used:
            graph.initializer.remove(weight)
    return [cast.output[0] for cast in casts]
