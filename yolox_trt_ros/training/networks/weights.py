"""Weights to begin from: a run, a checkpoint of YOLOX, an ONNX file, a packaged model."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from yolox_trt_ros.core.class_names import COCO, matching
from yolox_trt_ros.core.errors import ConfigError, ModelError
from yolox_trt_ros.core.printing import one_line
from yolox_trt_ros.detect.description import description_of
from yolox_trt_ros.engine.onnx_file import read_onnx
from yolox_trt_ros.packaged_models import find_model
from yolox_trt_ros.training.networks.build import DESIGNS, DLA, NetworkSpec, spec_of
from yolox_trt_ros.training.networks.layers import focus_as_convolution
from yolox_trt_ros.training.networks.onnx_weights import (
    classes_of,
    convolution_weights,
    design_of,
    put_into,
)

BEST, LAST = 'best.pt', 'last.pt'
"""Files of a run's folder: its best average by mAP, and all that it takes to go on."""
TRAINED_AS = 'yolox_trt_ros_training'
"""Name of the ONNX metadata entry with the network's spec, as JSON."""
STEM = 'backbone.backbone.stem.conv.conv.weight'
_CLASS_LAYER = re.compile(r'head\.(cls_preds\.\d+|\d+\.cls)\.(weight|bias)$')
LEAST = 0.5
"""Share of the weights that have to fit."""
State = dict[str, Tensor]


@dataclass(frozen=True)
class Source:
    """Weights, and what they are of.

    Attributes:
        name: for messages.
        spec: of their network; None: a checkpoint that does not say.
        classes: names of the classes that they know; empty: not known.
        state: by the names of the network's modules.
        folded: whether batch norms are without effect and have no statistics yet.
    """

    name: str
    spec: NetworkSpec | None
    classes: tuple[str, ...]
    state: State
    folded: bool = False


def read_source(given: str, design: str) -> Source:
    """Return the weights that the user names.

    Args:
        given: a run's folder, a ``.pt`` or ``.pth`` checkpoint, an ONNX file or a packaged model.
        design: that is wanted; empty: that of the weights.

    Raises:
        ConfigError, ModelError: it is nothing of these, or cannot be read.
    """
    path = Path(given)
    if path.is_dir():
        files = [path / name for name in (BEST, LAST) if (path / name).is_file()]
        if not files:
            raise ConfigError(f'{one_line(path)}: expected the folder of a run with {BEST}')
        return _checkpoint(files[0])
    if path.suffix.lower() in ('.pt', '.pth', '.tar', '.ckpt'):
        return _checkpoint(path)
    return _onnx(find_model(given), design or path.stem)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Return what a checkpoint holds, its tensors on the CPU; no code in it is run.

    Raises:
        ModelError: it cannot be read, or holds more than tensors and plain data.
    """
    try:
        content = torch.load(path, map_location='cpu', weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        first = one_line(str(error).partition('\n')[0])[:200]
        raise ModelError(
            f'{one_line(path)}: expected a checkpoint of tensors and plain data: {first}'
        ) from error
    if not isinstance(content, dict):
        raise ModelError(f'{one_line(path)}: expected a dictionary, got {type(content).__name__}')
    return content


def _checkpoint(path: Path) -> Source:
    content = load_checkpoint(path)
    if 'spec' in content and 'average' in content:  # our own
        spec = spec_of(content['spec'])
        return Source(path.name, spec, spec.classes, content['average'])
    state = content.get('model', content)
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ModelError(f'{one_line(path)}: expected weights of YOLOX under "model"')
    state = {name.removeprefix('module.'): value for name, value in state.items()}
    if STEM not in state:
        raise ModelError(
            f'{one_line(path)}: expected a checkpoint of Megvii YOLOX with a weight "{STEM}"'
        )
    spec = _megvii_spec(state, path)
    return Source(path.name, spec, spec.classes, state)


def _megvii_spec(state: State, path: Path) -> NetworkSpec:
    """Return which of Megvii's networks weights are of."""
    count = len(state['head.cls_preds.0.bias'])
    classes = COCO if count == len(COCO) else tuple(f'class {k}' for k in range(count))
    shapes = {k: v.shape for k, v in state.items() if k.endswith(('conv.weight', 'preds.0.weight'))}
    for name, design in DESIGNS.items():
        if name.startswith('yolox'):
            spec = NetworkSpec(name, classes, getattr(design, 'size', (640, 640)), {})
            mine = spec.shapes().state_dict()
            if all(k in mine and mine[k].shape == shape for k, shape in shapes.items()):
                return spec
    raise ModelError(f'{one_line(path)}: its weights are of none of {", ".join(DESIGNS)}')


def _onnx(path: Path, design: str) -> Source:
    model = read_onnx(path)
    for entry in model.metadata_props:
        if entry.key == TRAINED_AS:
            spec: NetworkSpec | None = spec_of(json.loads(entry.value))
            break
    else:
        spec = None
    weights = convolution_weights(path)
    if spec is None:
        labels = description_of(path, model).get('labels', ())
        count = classes_of(model, path)
        if not labels:
            labels = COCO if count == len(COCO) else [f'class {k}' for k in range(count)]
        shape = model.graph.input[0].type.tensor_type.shape.dim
        size = (int(shape[2].dim_value), int(shape[3].dim_value))
        first = design if design in DESIGNS else next(iter(DESIGNS))
        # Made fit for a DLA it has the same weights but for the stem, which is converted later.
        first = first.removesuffix(DLA)
        spec = design_of(weights, NetworkSpec(first, tuple(labels), size, {}))
        if spec is None:
            raise ModelError(
                f'{one_line(path)}: its convolutions are those of none of {", ".join(DESIGNS)}'
            )
    network = spec.build()
    put_into(network, weights)
    return Source(path.name, spec, spec.classes, network.state_dict(), folded=True)


@torch.no_grad()
def carry(source: Source, network: nn.Module, classes: Sequence[str]) -> tuple[int, list[str]]:
    """Give a network the weights that fit; Focus becomes a convolution, classes go by name.

    Args:
        source: the weights.
        network: changed.
        classes: its names.

    Returns:
        How many tensors were carried over, and the names of those that keep their new weights.

    Raises:
        ConfigError: less than :data:`LEAST` of the weights fit.
    """
    mine, theirs = network.state_dict(), dict(source.state)
    shapes = [state[STEM].shape[1:] if STEM in state else () for state in (mine, theirs)]
    if shapes == [(3, 6, 6), (12, 3, 3)]:
        theirs[STEM] = focus_as_convolution(theirs[STEM])
    fresh, carried, weights = [], 0, 0
    for name, value in mine.items():
        if name.endswith('num_batches_tracked'):
            continue
        other = theirs.get(name)
        if other is not None and _CLASS_LAYER.search(name):
            done = _by_name(value, other, classes, source.classes)
        else:
            done = other is not None and other.shape == value.shape
            if done:
                value.copy_(other)
        if done:
            carried, weights = carried + 1, weights + value.numel()
        else:
            fresh.append(name)
    if weights < LEAST * sum(value.numel() for value in mine.values()):
        what = source.spec.design if source.spec else 'unknown'
        raise ConfigError(
            f'{one_line(source.name)}: its weights ({what}) do not fit the design; choose with '
            '--design the one that they are of'
        )
    return carried, fresh


def _by_name(mine: Tensor, theirs: Tensor, classes: Sequence[str], known: Sequence[str]) -> bool:
    """Copy the rows of classes that both know; say whether there was one."""
    if theirs.shape[1:] != mine.shape[1:]:
        return False
    found = False
    for row, name in enumerate(classes):
        other = matching(name, known)
        if other is not None:
            mine[row] = theirs[known.index(other)]
            found = True
    return found
