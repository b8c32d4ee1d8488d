"""Read a model's description: its metadata, and the YAML beside it."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from yolox_trt_ros.core.darknet_cfg import read_cfg
from yolox_trt_ros.core.errors import ModelError, did_you_mean
from yolox_trt_ros.core.model import FEEDING, ModelSpec
from yolox_trt_ros.core.printing import one_line, shown
from yolox_trt_ros.core.text_files import parse_json
from yolox_trt_ros.yaml_files import read_yaml

METADATA_KEY = 'yolox_trt_ros'
"""Name of the ONNX metadata entry that holds the same keys as the sidecar, as JSON."""

NO_SEGMENTATION = 'none'
"""The key ``segmentation`` of a model whose further outputs are no class masks."""

SIDECAR_KEYS = {
    'head': str,
    'labels': list,
    'classes': int,
    'strides': list,
    'anchors': list,
    'scale_x_y': list,
    'new_coords': bool,
    'darknet_cfg': str,
    'outputs': list,
    'segmentation': str,
    'segmentation_labels': list,
    'scores': str,
    'boxes': str,
    'letterbox': str,
    'interpolation': str,
    'colour': str,
    'pad': int,
    'scale': float,
    'mean': list,
    'std': list,
    'inputs': dict,
}
_CHOICES = {
    'scores': ('probability', 'logit'),
    'boxes': ('grid', 'pixel'),
    'letterbox': ('top_left', 'centre', 'stretch'),
    'interpolation': ('bilinear', 'nearest', 'area'),
    'colour': ('bgr', 'rgb'),
}
_ITEMS = {
    'labels': str,
    'strides': int,
    'anchors': float,
    'scale_x_y': float,
    'outputs': str,
    'segmentation_labels': str,
    'mean': float,
    'std': float,
}
_CHANNELS = ('mean', 'std')


def sidecar_of(path: Path) -> Path:
    """Return where the YAML beside a model lies or would lie."""
    return path.with_suffix('.yaml')


def description_of(path: Path, model: Any) -> dict[str, Any]:
    """Return what metadata and sidecar say of a model: some of the keys :data:`SIDECAR_KEYS`.

    What a darknet cfg says stands under the keys of its own, and ``darknet_cfg`` does not.

    Args:
        path: its file.
        model: the ``onnx.ModelProto`` in it.

    Raises:
        ModelError: a key or a value is wrong, or the cfg that it names.
    """
    metadata: dict[str, Any] = {}
    for entry in model.metadata_props:
        if entry.key == METADATA_KEY:
            metadata = _metadata(path, entry.value)
    given = {**metadata, **_sidecar(path)}
    _check_sidecar(path, given)
    cfg = given.pop('darknet_cfg', None)  # what is derived from the model may lie elsewhere
    return given if cfg is None else {**read_cfg(path.parent / cfg).about(), **given}


def feeding(about: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a description says of how pixels become the input: of :data:`FEEDING`."""
    return {k: tuple(v) if k in _CHANNELS else v for k, v in about.items() if k in FEEDING}


def describe(model: Any, about: dict[str, Any]) -> None:
    """Write into an ``onnx.ModelProto``'s metadata what :func:`load_model_spec` reads there."""
    for entry in model.metadata_props:
        if entry.key == METADATA_KEY:
            entry.value = json.dumps(about)
            return
    model.metadata_props.add(key=METADATA_KEY, value=json.dumps(about))


def about_of(spec: ModelSpec) -> dict[str, Any]:
    """Return what :func:`describe` writes about a model that is made from another."""
    fed = {key: getattr(spec.input, key) for key in FEEDING}
    return {'labels': list(spec.labels), **spec.head.about(), **about_segmentation(spec), **fed}


def about_segmentation(spec: ModelSpec) -> dict[str, Any]:
    """Return what a description says of a model's class masks, or that there are none."""
    return spec.segmentation.about() if spec.segmentation else {'segmentation': NO_SEGMENTATION}


def _metadata(path: Path, text: str) -> dict[str, Any]:
    return parse_json(text, f'{one_line(path)}: metadata "{METADATA_KEY}"', ModelError)


def _sidecar(path: Path) -> dict[str, Any]:
    sidecar = sidecar_of(path)
    if not os.path.lexists(sidecar):
        return {}
    return read_yaml(sidecar, ModelError, what='the description of a model')


def _check_sidecar(path: Path, given: dict[str, Any]) -> None:
    for key, value in given.items():
        if key not in SIDECAR_KEYS:
            raise ModelError(
                f'{path}: description has an unknown key {shown(key)}'
                f'{did_you_mean(str(key), SIDECAR_KEYS)}'
            )
        kind = SIDECAR_KEYS[key]
        if not isinstance(value, kind) and not (kind is float and isinstance(value, int)):
            raise ModelError(f'{path}: {key}: expected {kind.__name__}, got {shown(value)}')
        if isinstance(value, list):
            _check_list(path, key, value)
        if isinstance(value, dict):
            for name, numbers in value.items():
                _check_numbers(path, f'{key}: {name}', numbers)
        if isinstance(value, float) and not math.isfinite(value):
            raise ModelError(f'{path}: {key}: expected a finite number, got {value}')
        if key in _CHOICES and value not in _CHOICES[key]:
            raise ModelError(
                f'{path}: {key}: {shown(value)} is not one of {", ".join(_CHOICES[key])}'
            )


def _check_numbers(path: Path, key: str, value: object) -> None:
    numbers = value if isinstance(value, list) else []
    if not numbers or any(type(v) not in (int, float) or not math.isfinite(v) for v in numbers):
        raise ModelError(f'{path}: {key}: expected a list of numbers, got {shown(value)}')


def _check_list(path: Path, key: str, value: list[Any]) -> None:
    item = _ITEMS[key]
    kinds = (int, float) if item is float else (item,)
    if not value or any(type(v) not in kinds or v == '' for v in value):
        raise ModelError(f'{path}: {key}: expected a list of {item.__name__}, got {shown(value)}')
    if item is float and not all(map(math.isfinite, value)):
        raise ModelError(f'{path}: {key}: expected finite numbers, got {value}')
    if key in _CHANNELS and len(value) != 3:
        raise ModelError(f'{path}: {key}: expected one number for each of 3 channels, got {value}')
    if key in ('strides', 'std', 'scale_x_y') and not min(value) > 0:
        raise ModelError(f'{path}: {key}: expected positive numbers, got {value}')
