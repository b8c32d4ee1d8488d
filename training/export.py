"""Write a trained network as ONNX and check it against PyTorch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import helper
from torch import nn

from yolox_trt_ros.engine.half import narrow_weights
from yolox_trt_ros.sim.world.bodies import CLASSES
from yolox_trt_ros.training.networks.edge import EdgeYolox
from yolox_trt_ros.training.networks.maps import STRIDES, Concatenated
from yolox_trt_ros.training.results.export import fused

OPSET = 13
METADATA_KEY = 'yolox_trt_ros'
TOLERANCE = 1e-4
REFERENCE_STEP = 16
"""Of this many anchors, one goes into the reference file beside the model."""


def round_to_half(network: nn.Module) -> None:
    """Round weights (not biases) to what FP16 holds, so that storing them so loses nothing."""
    with torch.no_grad():
        for name, value in network.named_parameters():
            if name.endswith('weight'):
                value.copy_(value.half().float())


def export(network: EdgeYolox, stem: Path, half: bool) -> None:
    """Write ``<stem>.onnx``, and what PyTorch answers.

    Args:
        network: trained.
        stem: path without suffix.
        half: store weights as FP16 (the graph still computes in FP32).

    Raises:
        AssertionError: ONNX Runtime and PyTorch differ by more than :data:`TOLERANCE`.
    """
    plain = fused(network)
    if half:
        round_to_half(plain)
    design = network.design
    image = torch.from_numpy(
        np.random.default_rng(0).uniform(0, 255, (1, 3, design.height, design.width))
    ).float()
    path, model = stem.with_name(f'{stem.name}.onnx'), Concatenated(plain).eval()
    with torch.no_grad():
        torch.onnx.export(
            model,
            (image,),
            str(path),
            input_names=['images'],
            output_names=['output'],
            opset_version=OPSET,
            dynamo=False,
            do_constant_folding=True,
        )
        expected = model(image)
    finish(path, half)
    _check(path, image.numpy(), expected)
    # A machine without PyTorch can then still compare: the input is made from its seed.
    np.save(stem.with_name(f'{stem.name}.pytorch.npy'), expected[0, ::REFERENCE_STEP].numpy())


def finish(path: Path, half: bool) -> None:
    """Describe an exported file, drop what only exporters read, and check it."""
    proto = onnx.load(str(path))
    about = {'labels': list(CLASSES), 'strides': list(STRIDES), 'colour': 'bgr', 'pad': 114}
    helper.set_model_props(proto, {METADATA_KEY: json.dumps(about)})
    proto.producer_name, proto.doc_string = 'yolox_trt_ros training', ''
    for node in proto.graph.node:
        node.doc_string = ''
    _fold_constants(proto.graph)
    if half:
        weights = [w.name for w in proto.graph.initializer if len(w.dims) == 4]
        narrow_weights(proto, weights)
    onnx.checker.check_model(proto, full_check=True)
    onnx.save(proto, str(path))


def _fold_constants(graph: onnx.GraphProto) -> None:
    """Turn Constant nodes into initialisers, which is where other tools look for them."""
    for node in [n for n in graph.node if n.op_type == 'Constant']:
        value = onnx.TensorProto()
        value.CopyFrom(helper.get_attribute_value(node.attribute[0]))
        value.name = node.output[0]
        graph.initializer.append(value)
        graph.node.remove(node)


def _check(path: Path, image: np.ndarray, expected: torch.Tensor) -> None:
    session = onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider'])
    (found,) = session.run(None, {'images': image})
    worst = float(np.abs(found - expected.numpy()).max() / max(1.0, float(expected.abs().max())))
    if worst > TOLERANCE:
        raise AssertionError(f'{path}: differs from PyTorch by {worst:.2e}, at most {TOLERANCE}')
