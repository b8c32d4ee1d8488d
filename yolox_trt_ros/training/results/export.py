"""Write a trained network as ONNX and check it against PyTorch."""

from __future__ import annotations

import copy
import json
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
import yaml
from onnx import helper
from torch import nn

from yolox_trt_ros.core.errors import ModelError
from yolox_trt_ros.core.output_files import write_whole
from yolox_trt_ros.detect.description import METADATA_KEY, sidecar_of
from yolox_trt_ros.engine.half import narrow_weights
from yolox_trt_ros.engine.onnx_file import write_onnx
from yolox_trt_ros.training.networks.build import NetworkSpec
from yolox_trt_ros.training.networks.layers import Conv
from yolox_trt_ros.training.networks.maps import STRIDES, Concatenated
from yolox_trt_ros.training.networks.weights import TRAINED_AS
from yolox_trt_ros.training.pictures.rows import PAD

OPSET = 13
TOLERANCE = 1e-4
"""Largest difference from PyTorch, as a share of the largest value."""


def fused(network: nn.Module) -> nn.Module:
    """Return a copy on the CPU whose batch norms are folded into the convolutions."""
    out = copy.deepcopy(network).cpu().float().eval()
    for module in out.modules():
        if isinstance(module, Conv):
            module.conv = torch.nn.utils.fusion.fuse_conv_bn_eval(module.conv, module.bn)
            module.bn = nn.Identity()
    return out


def export(network: nn.Module, spec: NetworkSpec, path: Path, half: bool = False) -> None:
    """Write a model with one output, as YOLOX exports it, and the YAML beside it.

    Args:
        network: trained.
        spec: what it is.
        path: of the ONNX file.
        half: store weights as FP16 (the graph still computes in FP32).

    Raises:
        ModelError: ONNX Runtime and PyTorch differ by more than :data:`TOLERANCE`.
    """
    plain = fused(network)
    if half:
        round_to_half(plain)
    random = np.random.default_rng(0)
    image = torch.from_numpy(random.uniform(0, 255, (1, 3, *spec.size))).float()
    model = Concatenated(plain).eval()
    expected = write_graph(model, image, path)
    _finish(path, spec, half)
    write_whole(sidecar_of(path), yaml.safe_dump(_about(spec), sort_keys=False))
    check_export(path, image.numpy(), expected.numpy())


def write_graph(model: nn.Module, image: torch.Tensor, path: Path) -> torch.Tensor:
    """Write what a model computes of (1, 3, height, width), and return that."""
    with torch.no_grad(), warnings.catch_warnings():
        warnings.filterwarnings('ignore', category=DeprecationWarning)
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
        expected: torch.Tensor = model(image)
    return expected


def round_to_half(network: nn.Module) -> None:
    """Round weights (not biases) to what FP16 holds, so that storing them so loses nothing."""
    with torch.no_grad():
        for name, value in network.named_parameters():
            if name.endswith('weight'):
                value.copy_(value.half().float())


def _about(spec: NetworkSpec) -> dict[str, object]:
    return {'labels': list(spec.classes), 'strides': list(STRIDES), 'colour': 'bgr', 'pad': PAD}


def _finish(path: Path, spec: NetworkSpec, half: bool) -> None:
    proto = onnx.load(str(path))
    properties = {METADATA_KEY: _about(spec), TRAINED_AS: spec.to_json()}
    helper.set_model_props(proto, {key: json.dumps(value) for key, value in properties.items()})
    proto.producer_name, proto.doc_string = 'yolox_trt_ros train', ''
    for node in proto.graph.node:
        node.doc_string = ''
    fold_constants(proto.graph)
    if half:
        narrow_weights(proto, [w.name for w in proto.graph.initializer if len(w.dims) == 4])
    onnx.checker.check_model(proto, full_check=True)
    write_onnx(proto, path)


def fold_constants(graph: onnx.GraphProto) -> None:
    """Turn Constant nodes into initialisers, which is where other tools look for them."""
    for node in [n for n in graph.node if n.op_type == 'Constant']:
        value = onnx.TensorProto()
        value.CopyFrom(helper.get_attribute_value(node.attribute[0]))
        value.name = node.output[0]
        graph.initializer.append(value)
        graph.node.remove(node)


def check_export(path: Path, image: np.ndarray, expected: np.ndarray) -> None:
    """Refuse a file whose output on an image is not PyTorch's.

    Raises:
        ModelError: they differ by more than :data:`TOLERANCE`.
    """
    session = onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider'])
    (found,) = session.run(None, {'images': image})
    worst = float(np.abs(found - expected).max() / max(1.0, float(np.abs(expected).max())))
    if not worst <= TOLERANCE:
        raise ModelError(f'{path}: expected what PyTorch computes, got {worst:.2e} off it')
