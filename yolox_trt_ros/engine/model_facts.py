"""Read from an ONNX file what the build of an engine depends on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from yolox_trt_ros.core.errors import ModelError
from yolox_trt_ros.engine.onnx_file import read_onnx
from yolox_trt_ros.onnx_files import computes_in_half


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What decides about a build and stands in the ONNX file.

    Attributes:
        path: the file.
        sha256: of its content.
        quantised: whether it has Q/DQ nodes.
        half: whether it computes in float16.
    """

    path: Path
    sha256: str
    quantised: bool
    half: bool


def model_facts(path: Path) -> ModelFacts:
    """Return what decides about a build of an ONNX file.

    Raises:
        ModelError: it is missing, not ONNX, or has no single image input.
    """
    model = read_onnx(path)
    weights = {w.name for w in model.graph.initializer}
    inputs = [i for i in model.graph.input if i.name not in weights]
    if sum(len(i.type.tensor_type.shape.dim) == 4 for i in inputs) != 1:
        raise ModelError(
            f'{path}: expected one image input, got {[i.name for i in inputs] or "none"}'
        )
    return ModelFacts(
        path,
        _sha256(path),
        any(node.op_type == 'DequantizeLinear' for node in model.graph.node),
        computes_in_half(model),
    )


def _sha256(path: Path) -> str:
    """Return the hash of an ONNX file and of the files that hold weights for it."""
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    outside = {
        entry.value
        for weight in model.graph.initializer
        for entry in weight.external_data
        if entry.key == 'location'
    }
    state = hashlib.sha256(path.read_bytes())
    for name in sorted(outside):
        state.update((path.parent / name).read_bytes())
    return state.hexdigest()
