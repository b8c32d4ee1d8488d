"""Read an ONNX file: its graph, its input, and the shape of every tensor."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yolox_trt_ros.core.errors import ModelError
from yolox_trt_ros.core.model import InputSpec, InputType
from yolox_trt_ros.core.model_file import first_line
from yolox_trt_ros.core.model_limits import (
    SUPPRESSING,
    all_nodes,
    check_input_size,
    largest_tensor_bytes,
)
from yolox_trt_ros.detect.description import feeding
from yolox_trt_ros.detect.graph.external_constants import load_constants
from yolox_trt_ros.detect.graph.further_inputs import further_inputs
from yolox_trt_ros.detect.graph.plugins import plugin_shapes, with_plugins_named
from yolox_trt_ros.detect.graph.shape_values import fold_shapes
from yolox_trt_ros.detect.graph.suppression import bound_suppressed
from yolox_trt_ros.detect.graph.trial import TrialError, measured_shapes
from yolox_trt_ros.onnx_files import open_onnx

SMALL = 4096
"""Bytes of a constant that may be a shape; larger ones are weights, whose values do not matter."""

INPUT_TYPES: dict[str, InputType] = {
    'FLOAT': 'float32',
    'FLOAT16': 'float16',
    'UINT8': 'uint8',
}


@dataclass(frozen=True, slots=True)
class Tensors:
    """Shapes and types as far as they follow from the input's shape.

    Attributes:
        shapes: of tensors whose every dimension is known.
        types: ``TensorProto.DataType`` numbers.
    """

    shapes: dict[str, tuple[int, ...]]
    types: dict[str, int]


def read_model(path: Path) -> Any:
    """Return the checked ``onnx.ModelProto`` of a file.

    Of what lies in a file beside it only constants are there: not the convolutions' weights.

    Raises:
        ModelError: it is no ONNX file that can be run safely; says what it is instead.
        MissingDependencyError: the ``onnx`` package is not installed.
    """
    model = open_onnx(path)
    load_constants(path, model)
    try:
        import onnx

        onnx.checker.check_model(with_plugins_named(_without_weights(model)))
    except Exception as error:
        raise ModelError(
            f'{path}: expected an ONNX model, got one that ONNX’s own checker refuses: '
            f'{first_line(error)}'
        ) from error
    return model


def input_spec(path: Path, model: Any, given: Mapping[str, Any]) -> InputSpec:
    """Return how a model is fed.

    Args:
        path: its file.
        model: the ``onnx.ModelProto`` in it.
        given: what its description says, see :func:`detect.description.description_of`.

    Raises:
        ModelError: it has another input, an open size, a type that is not fed, or a size that no
            machine holds; or the description scales pixels for a model that takes them as they are.
    """
    import onnx

    weights = {w.name for w in model.graph.initializer}
    inputs = [i for i in model.graph.input if i.name not in weights]
    images = [i for i in inputs if len(declared_shape(i)) == 4]
    shape = declared_shape(images[0]) if len(images) == 1 else []
    if not shape or shape[1] != 3:
        found = ', '.join(f'{i.name} {_dims(i)}' for i in inputs)
        raise ModelError(
            f'{path}: expected one image input [batch, 3, height, width], got {found or "none"}'
            + _input_hint(shape)
        )
    (image,) = images
    if not (shape[2] > 0 and shape[3] > 0):
        raise ModelError(
            f'{path}: its input {image.name} {_dims(image)} leaves height and width open, expected '
            f'a fixed size: `python -m yolox_trt_ros optimize {path.name} --size 640x640 --output '
            'fixed.onnx` makes a model with one'
        )
    number = image.type.tensor_type.elem_type
    kinds = onnx.TensorProto.DataType
    kind = kinds.Name(number) if number in kinds.values() else f'of unknown type {number}'
    if kind not in INPUT_TYPES:
        raise ModelError(
            f'{path}: its input {image.name} is {kind.lower()}, expected float32, float16 or uint8'
        )
    dtype = INPUT_TYPES[kind]
    check_input_size(path, shape, {'float32': 4, 'float16': 2, 'uint8': 1}[dtype])
    changed = [key for key in ('scale', 'mean', 'std') if key in given]
    if dtype == 'uint8' and changed:
        raise ModelError(
            f'{path}: {changed[0]}: its input is uint8 and takes pixels as they are, 0 to 255: '
            f'remove {", ".join(changed)}'
        )
    further = further_inputs(path, [i for i in inputs if i is not image], given, shape)
    return InputSpec(
        image.name, shape[0], shape[2], shape[3], dtype, **feeding(given), further=further
    )


def infer_tensors(path: Path, model: Any, image: InputSpec) -> Tensors:
    """Return the shapes of all tensors that the outputs need.

    They follow from the input's, or are the largest that a suppression leaves; where neither is
    known, the model is run once within limits.

    Raises:
        ModelError: a tensor is larger than this machine can hold, or running it takes too much.
    """
    small = with_plugins_named(_without_weights(model))
    sizes = (image.batch or 1, 3, image.height, image.width)
    _fix_sizes(small, image.name, sizes)
    limit = largest_tensor_bytes()
    shapes, types = _inferred(small)
    while any(n not in shapes for n in _needed(model)) and (
        fold_shapes(small, shapes) or bound_suppressed(small, shapes, limit)
    ):
        shapes, types = _inferred(small)
    shapes |= plugin_shapes(model, image.batch or 1)
    _check_sizes(path, shapes, limit)
    unknown = [name for name in _needed(model) if name not in shapes]
    if unknown:
        try:
            shapes |= measured_shapes(path, sizes, unknown, limit, image.constants(sizes[0]))
        except TrialError as error:
            raise ModelError(
                f'{path}: how large its tensors get ({unknown[0]}) only running it shows, and '
                f'{error}'
            ) from error
    return Tensors(shapes, types)


def _fix_sizes(model: Any, image: str, sizes: Sequence[int]) -> None:
    """Write the input's size into a graph, and drop what exporters noted for another one."""
    del model.graph.value_info[:]
    for value in model.graph.input:
        if value.name == image:
            for dim, size in zip(value.type.tensor_type.shape.dim, sizes, strict=True):
                dim.dim_value = size
    for value in model.graph.output:
        value.type.tensor_type.ClearField('shape')


def _inferred(model: Any) -> tuple[dict[str, tuple[int, ...]], dict[str, int]]:
    import onnx

    try:
        graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    except Exception:  # shapes are then found by running it
        graph = model.graph
    shapes, types = {}, {}
    for value in [*graph.value_info, *graph.output, *graph.input]:
        tensor = value.type.tensor_type
        types[value.name] = tensor.elem_type
        if tensor.HasField('shape') and all(d.HasField('dim_value') for d in tensor.shape.dim):
            shapes[value.name] = tuple(declared_shape(value))
    return shapes, types


def declared_shape(value: Any) -> list[int]:
    """Return the dimensions that a ``ValueInfoProto`` gives; 0 where it leaves one open."""
    return [max(0, d.dim_value) for d in value.type.tensor_type.shape.dim]


def described(values: Sequence[Any]) -> str:
    """Return names and shapes of inputs or outputs for a message."""
    return ', '.join(f'{value.name} {_dims(value)}' for value in values)


def _needed(model: Any) -> list[str]:
    """Return the tensors that the outputs depend on, in the graph's order."""
    needed = {value.name for value in model.graph.output}
    for node in reversed(model.graph.node):
        if needed & set(node.output):
            needed |= set(read_by(node))
    made = [name for node in model.graph.node for name in node.output if name]
    return [name for name in made if name in needed]


def read_by(node: Any) -> list[str]:
    """Return what a node reads, its branches included."""
    names = [name for name in node.input if name]
    for attribute in node.attribute:
        graphs = [attribute.g] if attribute.HasField('g') else []
        for graph in [*graphs, *attribute.graphs]:
            made = {name for inner in graph.node for name in inner.output}
            read = [name for inner in graph.node for name in read_by(inner)]
            names += [n for n in [*read, *(o.name for o in graph.output)] if n not in made]
    return names


def check_suppression(path: Path, model: Any) -> None:
    """Refuse a model that suppresses boxes itself."""
    for node in all_nodes(path, model):
        if node.op_type in SUPPRESSING:
            raise ModelError(
                f'{path}: suppresses boxes inside its graph ({node.op_type}; outputs '
                f'{described(model.graph.output)}): expected the head’s own output, for this '
                'program decodes and suppresses: export the model without NMS'
            )


def _check_sizes(path: Path, shapes: dict[str, tuple[int, ...]], limit: int) -> None:
    for name, shape in shapes.items():
        if 4 * math.prod(shape) > limit:
            raise ModelError(
                f'{path}: its tensor {name} {list(shape)} takes {4 * math.prod(shape) >> 20} MiB, '
                f'more than this machine can hold ({limit >> 20} MiB for one): refused'
            )


def _without_weights(model: Any) -> Any:
    """Return the graph with large weights turned into inputs of their shape."""
    import onnx

    graph = onnx.GraphProto()
    graph.name = model.graph.name or 'graph'
    graph.node.extend(model.graph.node)
    graph.output.extend(model.graph.output)
    for value in graph.output:  # it may be left open, which the checker does not know
        value.type.tensor_type.shape.SetInParent()
    named = {value.name for value in model.graph.input}
    graph.input.extend(model.graph.input)
    for weight in model.graph.initializer:
        if weight.external_data or weight.ByteSize() > SMALL:
            if weight.name not in named:
                graph.input.append(
                    onnx.helper.make_tensor_value_info(weight.name, weight.data_type, weight.dims)
                )
        else:
            graph.initializer.append(weight)
    small = onnx.ModelProto()
    small.graph.CopyFrom(graph)
    small.ir_version = model.ir_version
    small.opset_import.extend(model.opset_import)
    small.functions.extend(model.functions)
    return small


def _dims(value: Any) -> str:
    """Return a shape with the names of open dimensions."""
    dims = value.type.tensor_type.shape.dim
    return f'[{", ".join(str(d.dim_value or d.dim_param or "?") for d in dims)}]'


def _input_hint(shape: Sequence[int]) -> str:
    if len(shape) == 4 and shape[3] == 3:
        return ' (channels last): export it with channels first'
    if len(shape) == 4 and shape[1] == 1:
        return ': a model for grey images'
    return ''
