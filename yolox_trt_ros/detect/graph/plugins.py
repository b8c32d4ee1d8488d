"""TensorRT's plug-in EfficientNMS_TRT, which ONNX does not know and no other runtime runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

PLUGIN = 'EfficientNMS_TRT'
DOMAIN = 'TRT'
MOST_BOXES = 100
"""Where the node does not say how many."""


def plugins(model: Any) -> Iterator[Any]:
    """Yield the plug-in's nodes of an ``onnx.ModelProto``."""
    return (node for node in model.graph.node if node.op_type == PLUGIN)


def with_plugins_named(model: Any) -> Any:
    """Return a model whose plug-ins stand in a domain of their own, changed in place.

    Exporters leave them in ONNX's own domain, or import none; TensorRT takes either.
    """
    for node in plugins(model):
        node.domain = node.domain or DOMAIN
        if node.domain not in [o.domain for o in model.opset_import]:
            model.opset_import.add(domain=node.domain, version=1)
    return model


def plugin_shapes(model: Any, batch: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of counts, boxes, scores and classes, as the plug-in documents them."""
    shapes: dict[str, tuple[int, ...]] = {}
    for node in plugins(model):
        given = {a.name: a.i for a in node.attribute}
        most = given.get('max_output_boxes', MOST_BOXES)
        own = (batch, 1), (batch, most, 4), (batch, most), (batch, most)
        shapes |= dict(zip(node.output, own, strict=False))
    return shapes
