"""Take an exported network back into PyTorch, and its weights back into the file."""

from __future__ import annotations

from pathlib import Path

import onnx

from yolox_trt_ros.engine.graph import Graph
from yolox_trt_ros.engine.onnx_file import read_onnx
from yolox_trt_ros.sim.world.bodies import CLASSES
from yolox_trt_ros.training.networks.edge import Design, EdgeYolox
from yolox_trt_ros.training.networks.onnx_weights import convolution_weights, put_into
from yolox_trt_ros.training.results.export import fused

ROOT = 'network.'
"""What the export puts before each weight's name."""


def read_network(path: Path, design: Design) -> EdgeYolox:
    """Return the network of an exported file, its batch norms without effect, on the CPU.

    Raises:
        ModelError: the file has other weights than the design.
    """
    network = EdgeYolox(design, len(CLASSES)).eval()
    put_into(network, convolution_weights(path))
    return network


def with_weights_of(path: Path, network: EdgeYolox) -> onnx.ModelProto:
    """Return an exported model with the weights of a network, stored in the types of the file."""
    model = read_onnx(path)
    stored = {n.output[0]: n.input[0] for n in model.graph.node if n.op_type == 'Cast'}
    graph = Graph(model)
    for name, value in fused(network).named_parameters():
        full = ROOT + name
        graph.set_constant(stored.get(full, full), value.detach().numpy())
    return model
