"""Write INT8 models with Q/DQ pairs from a range table; some layers stay in higher precision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from yolox_trt_ros.core.errors import MissingDependencyError, ModelError, did_you_mean
from yolox_trt_ros.core.printing import shown
from yolox_trt_ros.engine.graph import Graph
from yolox_trt_ros.engine.half import widen_weights

try:
    import onnx
    from onnx import version_converter
except ImportError as error:
    raise MissingDependencyError(
        'work on a model needs the package "onnx": pip install onnx'
    ) from error

if TYPE_CHECKING:
    from onnx import ModelProto

OLDEST_OPSET = 13
"""First opset whose DequantizeLinear knows one scale for each channel."""
PARTS = ('first', 'last', 'box')


def prepared(model: ModelProto) -> ModelProto:
    """Return a copy as quantisation needs it: opset 13 or later, weights constant, nodes named.

    Tensors keep their names.

    Raises:
        ModelError: the model cannot be brought to that opset.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    opset = next((o.version for o in copy.opset_import if o.domain in ('', 'ai.onnx')), 0)
    if opset < OLDEST_OPSET:
        try:
            copy = version_converter.convert_version(copy, OLDEST_OPSET)
        except Exception as error:
            raise ModelError(
                f'opset {opset} cannot be brought to {OLDEST_OPSET}, which INT8 per channel needs '
                f'({error}): export the model again'
            ) from error
    widen_weights(copy)
    taken = {node.name for node in copy.graph.node}
    for i, node in enumerate(copy.graph.node):
        if not node.name:
            node.name = next(n for n in (f'{node.op_type}_{i}', node.output[0]) if n not in taken)
    return copy


def kept_layers(
    model: ModelProto,
    parts: Sequence[str],
    branches: Sequence[tuple[str, str]],
    names: Sequence[str] = (),
) -> list[str]:
    """Return the convolutions, by their outputs, that stay in higher precision.

    Args:
        model: any detector.
        parts: of ``first`` (what reads the image), ``last`` (the head's last convolutions) and
            ``box`` (the box branch: what boxes depend on and classes do not).
        branches: of the head, see :meth:`core.head.HeadSpec.branches`.
        names: of further convolutions: their own, or of their outputs.

    Raises:
        ModelError: the head's convolutions are asked for and not known, or there is none of a name.
    """
    if not branches and set(parts) - {'first'}:
        raise ModelError(f'--keep {" ".join(parts)}: its head’s last convolutions are not known')
    graph = Graph(model)
    known = {name: n.output[0] for n in graph.convolutions() for name in (n.name, n.output[0])}
    for name in names:
        if name not in known:
            near = did_you_mean(name, known)
            raise ModelError(f'--keep {shown(name)}: the model has no such convolution{near}')
    kept = {known[name] for name in names}
    if 'first' in parts:
        kept |= {n.output[0] for n in graph.convolutions() if n.input[0] == graph.image}
    for boxes, classes in branches:
        if 'last' in parts:
            kept |= {boxes, classes}
        if 'box' in parts:
            kept |= graph.ancestors(boxes) - graph.ancestors(classes)
    return [n.output[0] for n in graph.convolutions() if n.output[0] in kept]


def insert_qdq(model: ModelProto, ranges: Mapping[str, float], kept: Sequence[str]) -> ModelProto:
    """Return the model with Q/DQ pairs at the inputs and weights of its convolutions.

    Activations have one scale for each tensor, weights one for each output channel, both INT8 and
    symmetric. Biases stay as they are: older TensorRT parsers refuse INT32 ones. Outputs get no
    pair of their own, so that convolution and activation fuse.

    Args:
        model: see :func:`prepared`; it is changed.
        ranges: tensor → largest magnitude.
        kept: outputs of the convolutions to leave alone.
    """
    try:
        from onnxruntime.quantization import QDQQuantizer, QuantType
        from onnxruntime.quantization.calibrate import CalibrationMethod, TensorData, TensorsData
    except ImportError as error:
        raise MissingDependencyError(
            'quantisation needs ONNX Runtime: pip install onnxruntime'
        ) from error
    table = {
        name: TensorData(lowest=np.float32(-top), highest=np.float32(top))
        for name, top in ranges.items()
    }
    quantizer = QDQQuantizer(
        model,
        per_channel=True,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QInt8,
        tensors_range=TensorsData(CalibrationMethod.MinMax, table),
        nodes_to_quantize=[],
        nodes_to_exclude=[n.name for n in model.graph.node if set(n.output) & set(kept)],
        op_types_to_quantize=['Conv'],
        extra_options={
            'ActivationSymmetric': True,
            'WeightSymmetric': True,
            'QuantizeBias': False,
            'AddQDQPairToWeight': True,
            'DedicatedQDQPair': False,
            'OpTypesToExcludeOutputQuantization': ['Conv'],
        },
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    quantized: ModelProto = quantizer.model.model
    _unround_kept(quantized, ranges, kept)
    return quantized


def _unround_kept(model: ModelProto, ranges: Mapping[str, float], kept: Sequence[str]) -> None:
    """Let kept convolutions read what others read in INT8 as it was before.

    ONNX Runtime gives the rounded tensor to all its readers, excluded ones too.
    """
    source = {n.output[0]: n.input[0] for n in model.graph.node if n.op_type == 'QuantizeLinear'}
    before = {
        n.output[0]: source[n.input[0]]
        for n in model.graph.node
        if n.op_type == 'DequantizeLinear' and source.get(n.input[0]) in ranges
    }
    for node in model.graph.node:
        if node.output[0] in kept and node.input[0] in before:
            node.input[0] = before[node.input[0]]
