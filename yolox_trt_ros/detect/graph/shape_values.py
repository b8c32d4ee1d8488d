"""Fold what a graph computes from shapes: with a fixed input it is constant."""

from __future__ import annotations

from typing import Any

import numpy as np

MOST_NUMBERS = 64
"""Of a value: shapes and indices into them are short."""

_FOLDED = {
    'Add', 'Cast', 'Ceil', 'Concat', 'ConstantOfShape', 'Div', 'Equal', 'Floor', 'Gather',
    'Identity', 'Mul', 'Reshape', 'Slice', 'Squeeze', 'Sub', 'Unsqueeze', 'Where',
}  # fmt: skip


def fold_shapes(model: Any, shapes: dict[str, tuple[int, ...]]) -> bool:
    """Turn nodes that compute short numbers from known shapes into constants.

    Args:
        model: ``onnx.ModelProto``; its nodes are replaced in place.
        shapes: of tensors, as far as they are known.

    Returns:
        Whether any node was folded: then further shapes may follow.
    """
    from onnx import helper, numpy_helper

    graph, known = model.graph, short_weights(model)
    nodes, folded = [], False
    for node in graph.node:
        value = _value(node, known, shapes, model.opset_import)
        if value is None or value.size > MOST_NUMBERS:
            nodes.append(node)
            continue
        known[node.output[0]] = value
        if node.op_type != 'Constant':
            folded = True
            node = helper.make_node(
                'Constant', [], node.output, value=numpy_helper.from_array(value)
            )
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    return folded


def short_weights(model: Any) -> dict[str, np.ndarray]:
    """Return the graph's weights that may be shapes or indices into them."""
    from onnx import numpy_helper

    return {
        w.name: numpy_helper.to_array(w)
        for w in model.graph.initializer
        if int(np.prod(w.dims)) <= MOST_NUMBERS
    }


def short_constants(model: Any) -> dict[str, np.ndarray]:
    """Return the graph's short weights and what its nodes give that hold a constant."""
    made = {n.output[0]: _value(n, {}, {}, ()) for n in model.graph.node if n.op_type == 'Constant'}
    short = {k: v for k, v in made.items() if v is not None and v.size <= MOST_NUMBERS}
    return short_weights(model) | short


def _value(
    node: Any, known: dict[str, np.ndarray], shapes: dict[str, tuple[int, ...]], opsets: Any
) -> np.ndarray | None:
    from onnx import numpy_helper
    from onnx.reference import ReferenceEvaluator

    if node.op_type == 'Constant':
        tensor = next((a.t for a in node.attribute if a.name == 'value'), None)
        return None if tensor is None else numpy_helper.to_array(tensor)
    if node.op_type == 'Shape' and not node.attribute and node.input[0] in shapes:
        return np.array(shapes[node.input[0]], np.int64)
    names = [name for name in node.input if name]
    if node.op_type not in _FOLDED or node.domain or not all(name in known for name in names):
        return None
    if node.op_type == 'ConstantOfShape' and np.prod(known[names[0]], dtype=float) > MOST_NUMBERS:
        return None  # it would be made first, however large
    try:
        opset = {o.domain: o.version for o in opsets}
        runner = ReferenceEvaluator(node, opsets=opset)
        results: Any = runner.run(None, {name: known[name] for name in names})
        return np.asarray(results[0])
    except Exception:  # the shape is then found by running the model
        return None
