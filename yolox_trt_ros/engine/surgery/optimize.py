"""The steps of the surgery on a model, in order."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from yolox_trt_ros.core.errors import MissingDependencyError, ModelError
from yolox_trt_ros.core.head import HeadCut
from yolox_trt_ros.engine.surgery import RENAMED_KEY
from yolox_trt_ros.engine.surgery.rules import (
    FocusToConv,
    SiluToRelu6,
    UpsampleByWholeFactors,
    WidePoolToChain,
)

try:
    from onnxscript import ir, optimizer
    from onnxscript.rewriter import RewriteRuleSet
except ImportError as error:
    raise MissingDependencyError(
        'rewriting a model needs the package "onnxscript": pip install onnxscript'
    ) from error

if TYPE_CHECKING:
    from onnx import ModelProto

for _library in ('onnxscript', 'onnx_ir'):  # they report every single rewrite
    logging.getLogger(_library).setLevel(logging.WARNING)

OLDEST_OPSET = 11
EXACT = {
    'Focus and convolution → one convolution': FocusToConv,
    'wide max pools → chains of 5x5': WidePoolToChain,
    'resizes → whole factors': UpsampleByWholeFactors,
}
ALL_SIZES = 2**62


@dataclass(frozen=True, slots=True)
class Surgery:
    """A model before and after.

    Attributes:
        shape: of the input at which ``same`` computes what the original computes.
        same: all exact rewrites, head cut.
        final: ``same`` at the batch, size and activation that were asked for.
        cut: where the graph ends now.
        counts: how often each rewrite was made.
        asked: shape of ``final``'s input.
    """

    shape: tuple[int, int, int, int]
    same: ModelProto
    final: ModelProto
    cut: HeadCut
    counts: Mapping[str, int]
    asked: tuple[int, int, int, int]


def operate(
    original: ModelProto,
    cut: Callable[[ModelProto], HeadCut],
    batch: int = 0,
    size: tuple[int, int] | None = None,
    relu6: bool = False,
) -> Surgery:
    """Return a model whose layers a DLA runs, with what proves that it is the same network.

    Args:
        original: of opset 11 or later; not changed.
        cut: returns where a graph may end, see :func:`detect.model.head_cut`.
        batch: images of one inference; 0: what the model says, 1 if it leaves that open.
        size: (height, width) of the input; None: the model's own.
        relu6: replace SiLU by ReLU6, which is another function.

    Raises:
        ModelError: no head that can be cut, too old an opset, or dimensions are open and not given.
    """
    model = ir.from_proto(original)
    opset = model.opset_imports.get('', 0)
    if opset < OLDEST_OPSET:
        raise ModelError(
            f'ONNX opset {opset}: expected {OLDEST_OPSET} or later; export the model again'
        )
    image = _image(model)
    own = _close_dimensions(image, batch, size)
    _set_input(model, own)
    _tidy(model)
    counts = {what: rule.rule().apply_to_model(model) for what, rule in EXACT.items()}
    head = cut(ir.to_proto(model))
    _end_in(model, head)
    model.metadata_props[RENAMED_KEY] = json.dumps({m.name: m.original for m in head.maps})
    _tidy(model)
    same = ir.to_proto(model)
    if relu6:
        rules = RewriteRuleSet([SiluToRelu6.rule()], commute=True)
        counts['SiLU → ReLU6'] = rules.apply_to_model(model)
    height, width = size or own[2:]
    asked = (batch or own[0], own[1], height, width)
    if asked != own:
        _check_size(asked, head.multiple)
        _set_input(model, asked)
    _tidy(model)
    return Surgery(own, same, ir.to_proto(model), head, counts, asked)


def _image(model: ir.Model) -> ir.Value:
    images = [i for i in model.graph.inputs if i.name not in model.graph.initializers]
    if len(images) != 1 or images[0].shape is None or len(images[0].shape) != 4:
        found = ', '.join(f'{i.name} {i.shape}' for i in images)
        raise ModelError(f'expected one image input [batch, 3, height, width], got {found}')
    return images[0]


def _close_dimensions(
    image: ir.Value, batch: int, size: tuple[int, int] | None
) -> tuple[int, int, int, int]:
    """Return the input's shape, with what was asked for only where the model leaves it open."""
    assert image.shape is not None
    asked = (batch or 1, 3, *(size or (0, 0)))
    known = [d if isinstance(d, int) and d > 0 else asked[i] for i, d in enumerate(image.shape)]
    if not all(known):
        raise ModelError(
            f'input {image.name} {image.shape} leaves its size open: give it, --size 640x640'
        )
    return (known[0], known[1], known[2], known[3])


def _check_size(asked: tuple[int, ...], multiple: int) -> None:
    if any(side < multiple or side % multiple for side in asked[2:]):
        raise ModelError(
            f'size {asked[2]}x{asked[3]}: expected multiples of {multiple}, the coarsest stride'
        )


def _end_in(model: ir.Model, cut: HeadCut) -> None:
    """Make the maps the graph's outputs; what followed them falls away."""
    graph = model.graph
    values = {value.name: value for node in graph for value in node.outputs}
    for name in {m.name for m in cut.maps} & set(values) - {m.original for m in cut.maps}:
        values[name].name = f'{name}_before'
    outputs = [values[m.original] for m in cut.maps]
    kept = [values[name] for name in cut.kept]
    graph.outputs.clear()
    graph.outputs.extend([*outputs, *kept])
    for value, m in zip(outputs, cut.maps, strict=True):
        value.name = m.name


def _set_input(model: ir.Model, shape: tuple[int, ...]) -> None:
    """Set the input's shape and infer all others again."""
    for node in model.graph:
        for value in node.outputs:
            value.shape = None
    _image(model).shape = ir.Shape(shape)
    ir.passes.common.ShapeInferencePass()(model)


def _tidy(model: ir.Model) -> None:
    """Fold constants, merge equal layers, drop what nothing needs, name what has no name."""
    optimizer.fold_constants(
        model, input_size_limit=ALL_SIZES, output_size_limit=ALL_SIZES, onnx_shape_inference=True
    )
    common = ir.passes.common
    steps: list[Any] = [
        common.RemoveUnusedNodesPass(),
        common.RemoveInitializersFromInputsPass(),
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        common.DeduplicateInitializersPass(),
        common.CommonSubexpressionEliminationPass(),
        common.RemoveUnusedNodesPass(),
        common.NameFixPass(),
        common.ShapeInferencePass(),
    ]
    ir.passes.Sequential(*steps)(model)
