"""ONNX files: damaged bytes, graphs that are none, that never end or fit into no memory."""

from __future__ import annotations

import json
import logging
import random
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import onnx
from harness import Target
from mutation import NUMBERS, TEXTS, altered, damaged
from onnx import TensorProto, helper

sys.path.append(str(Path(__file__).resolve().parents[1]))

from tiny_models import LABELS, write_yolox

from yolox_trt_ros.core.errors import ModelError
from yolox_trt_ros.detect.model import load_model_spec

OPERATORS = (
    'Conv', 'Loop', 'Scan', 'If', 'SequenceMap', 'Identity', 'Reshape', 'Expand', 'Tile', 'Range',
    'ConstantOfShape', 'NonZero', 'Resize', 'Pad', 'Shape', 'Gather', 'Slice', 'Concat', 'Sigmoid',
    'NonMaxSuppression', 'TopK', 'Cast', 'Unheard', '', 'Squeeze', 'MatMul', 'Optional',
    'QuantizeLinear', 'DequantizeLinear', 'RandomNormal', 'EfficientNMS_TRT', 'Split', 'Exp',
)  # fmt: skip
DESCRIPTION = {
    'labels': list(LABELS), 'strides': [8, 16, 32], 'outputs': ['output'],
    'scores': 'probability', 'boxes': 'grid', 'colour': 'bgr', 'pad': 114, 'scale': 1.0,
    'mean': [0.0, 0.0, 0.0], 'std': [1.0, 1.0, 1.0],
}  # fmt: skip
Files = dict[str, bytes]


@cache
def seeds() -> list[bytes]:
    """Return sound models of all layouts."""
    found = []
    for layout in ('concatenated', 'per_level'):
        for scores, boxes in (('probability', 'grid'), ('logit', 'pixel')):
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, 'm.onnx')
                write_yolox(path, layout=layout, scores=scores, boxes=boxes, strides=(16, 32))
                found.append(path.read_bytes())
    return found


def number(source: random.Random) -> int:
    """Return a number that fits into 64 bits."""
    return source.choice((*[n for n in NUMBERS if n < 2**63], -1, -(2**63), 3, 640))


def tensors(graph: Any) -> list[str]:
    """Return the names of what a graph computes or holds."""
    names = [name for node in graph.node for name in node.output]
    return [*names, *(w.name for w in graph.initializer), *(i.name for i in graph.input), 'none']


def alter_node(graph: Any, source: random.Random) -> None:
    """Make another operation of one, with other inputs, outputs or attributes, or no operation."""
    at = source.randrange(len(graph.node))
    node, kind = graph.node[at], source.randrange(8)
    if kind == 0:
        del graph.node[at]
    elif kind == 1:
        graph.node.add().CopyFrom(node)
    elif kind == 2:
        node.op_type = source.choice(OPERATORS)
    elif kind == 3 and node.input:
        node.input[source.randrange(len(node.input))] = source.choice(tensors(graph))
    elif kind == 4 and node.output:
        node.output[0] = source.choice((*tensors(graph), ''))
    elif kind == 5:
        node.domain = source.choice(('ai.onnx.ml', 'com.microsoft', 'x', *TEXTS[:4]))
    elif kind == 6:
        name = source.choice(('axis', 'perm', 'pads', 'strides', 'kernel_shape', 'to', 'group'))
        value = [number(source)] * source.randrange(1, 9)
        node.attribute.append(helper.make_attribute(name, source.choice((value, value[0]))))
    else:
        del node.input[:]


def alter_weight(graph: Any, source: random.Random) -> None:
    """Give a weight another shape, type, size or place, or remove it."""
    at = source.randrange(len(graph.initializer))
    weight, kind = graph.initializer[at], source.randrange(6)
    if kind == 0:
        del graph.initializer[at]
    elif kind == 1:
        weight.dims[:] = [number(source) for _ in range(source.randrange(6))]
    elif kind == 2:
        weight.data_type = source.choice((0, 1, 2, 7, 8, 9, 10, 16, 99))
    elif kind == 3:
        weight.raw_data = source.randbytes(source.choice((0, 1, 8, 24, 9000)))
    elif kind == 4:
        weight.data_location = TensorProto.EXTERNAL
        places = ('/etc/passwd', '../x', 'm.onnx', 'none.bin', '', '.')
        weight.external_data.add(key='location', value=source.choice(places))
        weight.external_data.add(key='length', value=source.choice(('9', '-1', '9' * 50, 'x')))
    else:
        weight.name = source.choice(tensors(graph))


def alter_border(graph: Any, source: random.Random) -> None:
    """Give an input or output another shape, type or name, add one, or remove it."""
    values = source.choice((graph.input, graph.output))
    if not values:
        return
    at = source.randrange(len(values))
    kind, shape = source.randrange(6), values[at].type.tensor_type.shape
    if kind == 0:
        del values[at]
    elif kind == 1:
        values.add().CopyFrom(values[at])
    elif kind == 2:
        values[at].name = source.choice(tensors(graph))
    elif kind == 3:
        values[at].type.tensor_type.elem_type = source.choice((0, 1, 2, 7, 10, 16, 99))
    elif shape.dim:
        dim = shape.dim[source.randrange(len(shape.dim))]
        if source.random() < 0.2:
            dim.dim_param = source.choice(TEXTS[:6])
        else:
            dim.dim_value = number(source)


def alter_around(model: Any, source: random.Random) -> None:
    """Alter versions and metadata, nest graphs, or define functions."""
    kind = source.randrange(5)
    if kind == 0:
        model.opset_import[0].version = number(source)
    elif kind == 1:
        model.ir_version = number(source)
    elif kind == 2:
        text = json.dumps(altered(DESCRIPTION, source), default=repr)
        helper.set_model_props(model, {'yolox_trt_ros': text})
    elif kind == 3:
        inner = helper.make_graph([], 'inner', [], [])
        for _ in range(source.choice((1, 3, 40))):
            node = helper.make_node('If', ['none'], ['x'], then_branch=inner, else_branch=inner)
            inner = helper.make_graph([node], 'inner', [], []) if _ < 5 else inner
        model.graph.node.append(helper.make_node('If', ['none'], ['y'], then_branch=inner))
    else:
        function = model.functions.add(name='Unheard', domain=source.choice(('', 'x')))
        function.node.append(helper.make_node('Unheard', ['a'], ['b']))
        function.opset_import.add(domain='', version=18)


def make_graph(source: random.Random) -> Files:
    """Return a model with altered parts, and perhaps the YAML beside it."""
    model = onnx.load_model_from_string(source.choice(seeds()))
    for _ in range(source.choice((1, 1, 1, 2, 5))):
        if model.graph.node and model.graph.initializer:
            source.choice((
                lambda: alter_node(model.graph, source),
                lambda: alter_node(model.graph, source),
                lambda: alter_weight(model.graph, source),
                lambda: alter_border(model.graph, source),
                lambda: alter_around(model, source),
            ))()  # fmt: skip
    files = {'m.onnx': model.SerializeToString()}
    if source.random() < 0.2:
        content: Any = altered(DESCRIPTION, source)
        files['m.yaml'] = json.dumps(content, default=repr).encode('utf-8', 'surrogatepass')
    return files


def make_bytes(source: random.Random) -> Files:
    """Return a model whose bytes are damaged."""
    return {'m.onnx': damaged(source.choice(seeds()), source)}


def read_model(files: Files) -> None:
    """Find out what a model is."""
    memory = '/dev/shm' if Path('/dev/shm').is_dir() else None
    with tempfile.TemporaryDirectory(prefix='fuzz_model_', dir=memory) as folder:
        for name, content in {**files, 'labels.txt': '\n'.join(LABELS).encode()}.items():
            Path(folder, name).write_bytes(content)
        spec = load_model_spec(Path(folder, 'm.onnx'))
        assert spec.input.height > 0 and spec.head.classes, 'a model without a size'


def quiet() -> None:
    """Let warnings of the package go nowhere."""
    logging.getLogger('yolox_trt_ros').setLevel(logging.CRITICAL)


def target(name: str, make: Callable[[random.Random], Files], share: float) -> Target:
    """Return a target; one trial of a model in a process of its own may take two minutes."""
    return Target(name, make, read_model, (ModelError,), 180.0, 4096, quiet, share=share)


TARGETS = [target('model_bytes', make_bytes, 0.002), target('model_graphs', make_graph, 0.0005)]
