"""Write a trained network as ONNX and check it against PyTorch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import helper

from yolox_trt_ros.detect.description import METADATA_KEY
from yolox_trt_ros.engine.half import narrow_weights
from yolox_trt_ros.sim.world.bodies import CLASSES
from yolox_trt_ros.training.networks.edge import EdgeYolox
from yolox_trt_ros.training.networks.maps import STRIDES, Concatenated
from yolox_trt_ros.training.results.export import (
    check_export,
    fold_constants,
    fused,
    round_to_half,
    write_graph,
)  # fmt: skip

REFERENCE_STEP = 16
"""Of this many anchors, one goes into the reference file beside the model."""


def export(network: EdgeYolox, stem: Path, half: bool) -> None:
    """Write ``<stem>.onnx``, and what PyTorch answers.

    Args:
        network: trained.
        stem: path without suffix.
        half: store weights as FP16 (the graph still computes in FP32).

    Raises:
        ModelError: ONNX Runtime and PyTorch differ by more than :data:`results.export.TOLERANCE`.
    """
    plain = fused(network)
    if half:
        round_to_half(plain)
    design = network.design
    image = torch.from_numpy(
        np.random.default_rng(0).uniform(0, 255, (1, 3, design.height, design.width))
    ).float()
    path, model = stem.with_name(f'{stem.name}.onnx'), Concatenated(plain).eval()
    expected = write_graph(model, image, path)
    finish(path, half)
    check_export(path, image.numpy(), expected.numpy())
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
    fold_constants(proto.graph)
    if half:
        weights = [w.name for w in proto.graph.initializer if len(w.dims) == 4]
        narrow_weights(proto, weights)
    onnx.checker.check_model(proto, full_check=True)
    onnx.save(proto, str(path))
