"""Read from an ONNX file, and the YAML beside it, what kind of YOLOX it is."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from yolox_trt_ros.core.errors import MissingDependencyError, ModelError, did_you_mean
from yolox_trt_ros.core.model import FEEDING, ModelSpec
from yolox_trt_ros.core.printing import one_line, shown
from yolox_trt_ros.core.text_files import parse_json, read_text
from yolox_trt_ros.yaml_files import read_yaml

Outputs = dict[str, list[int]]

METADATA_KEY = 'yolox_trt_ros'
"""Name of the ONNX metadata entry that holds the same keys as the sidecar, as JSON."""

SIDECAR_KEYS = {
    'labels': list,
    'strides': list,
    'scores': str,
    'boxes': str,
    'colour': str,
    'pad': int,
    'scale': float,
    'mean': list,
    'std': list,
}
_CHOICES = {
    'scores': ('probability', 'logit'),
    'boxes': ('grid', 'pixel'),
    'colour': ('bgr', 'rgb'),
}
_ITEMS = {'labels': str, 'strides': int, 'mean': float, 'std': float}
_CHANNELS = ('mean', 'std')
_SHAPE_ONLY = {
    'Transpose',
    'Reshape',
    'Identity',
    'Cast',
    'Flatten',
    'Squeeze',
    'Unsqueeze',
    'Slice',
}


def load_model_spec(path: Path, labels: Path | None = None) -> ModelSpec:
    """Return what the ONNX file says of itself, corrected by its metadata and its sidecar.

    The sidecar is ``<model>.yaml`` next to the model; its keys are :data:`SIDECAR_KEYS`. Whatever
    it does not say is read from the graph: sizes and classes from the shapes, whether scores are
    probabilities and boxes are decoded from the operators the outputs end in.

    Args:
        path: the ONNX file.
        labels: one class name a line; by default the metadata or sidecar's list, or ``labels.txt``
            beside the model.

    Raises:
        ModelError: the file is missing, not ONNX, or not a YOLOX detector.
        MissingDependencyError: the ``onnx`` package is not installed.
    """
    graph, metadata = _read(path)
    given = _given(path, metadata)
    name, batch, height, width = _input(path, graph)
    outputs = {o.name: _shape(o) for o in graph.output}
    read_head = _concatenated if len(outputs) == 1 else _per_level
    head, classes = read_head(path, (height, width), outputs, _Ends(graph))
    found = head['strides']
    head |= {k: v for k, v in given.items() if k != 'labels'} | feeding(given)
    strides = head['strides'] = tuple(head['strides'])
    if not strides:
        raise ModelError(
            f'{path}: no set of strides makes {outputs[head["outputs"][0]][1]} anchors at '
            f'{width}x{height}; if it is a YOLOX, give "strides" in the YAML beside the model'
        )
    if head['layout'] == 'per_level' and strides != found:
        raise ModelError(
            f'{path}: strides {list(strides)} are given, but its maps have {list(found)}'
        )
    spec = ModelSpec(
        input_name=name,
        batch=batch,
        height=height,
        width=width,
        labels=read_labels(path, labels, given.get('labels'), classes),
        **head,
    )
    if spec.layout == 'concatenated' and spec.anchors != outputs[spec.outputs[0]][1]:
        raise ModelError(
            f'{path}: strides {list(spec.strides)} make {spec.anchors} anchors at '
            f'{width}x{height}, but the output has {outputs[spec.outputs[0]][1]}'
        )
    return spec


def description(path: Path) -> dict[str, Any]:
    """Return what metadata and sidecar say of a model: some of the keys :data:`SIDECAR_KEYS`.

    Raises:
        ModelError: the file is missing or not ONNX, or a key or a value is wrong.
        MissingDependencyError: the ``onnx`` package is not installed.
    """
    return _given(path, _read(path)[1])


def feeding(about: dict[str, Any]) -> dict[str, Any]:
    """Return what a description says of how pixels become the input: of :data:`FEEDING`."""
    return {k: tuple(v) if k in _CHANNELS else v for k, v in about.items() if k in FEEDING}


def describe(model: Any, about: dict[str, Any]) -> None:
    """Write into an ``onnx.ModelProto``'s metadata what :func:`load_model_spec` reads there."""
    for entry in model.metadata_props:
        if entry.key == METADATA_KEY:
            entry.value = json.dumps(about)
            return
    model.metadata_props.add(key=METADATA_KEY, value=json.dumps(about))


def _given(path: Path, metadata: dict[str, Any]) -> dict[str, Any]:
    given = {**metadata, **_sidecar(path)}
    _check_sidecar(path, given)
    return given


def _concatenated(
    path: Path, size: tuple[int, int], outputs: Outputs, ends: _Ends
) -> tuple[dict[str, Any], int]:
    """Return what a single output says of the head, and the number of classes."""
    ((output, shape),) = outputs.items()
    if len(shape) != 3 or shape[1] < 1 or shape[2] < 6:
        raise _not_yolox(path, outputs)
    kinds = ends.of(output)
    return {
        'layout': 'concatenated',
        'outputs': (output,),
        'strides': _strides_for(*size, shape[1]),
        'boxes': 'pixel' if kinds & {'Mul', 'Add', 'Exp', 'Div'} else 'grid',
        'scores': 'probability' if 'Sigmoid' in kinds else 'logit',
    }, shape[2] - 5


def _per_level(
    path: Path, size: tuple[int, int], outputs: Outputs, ends: _Ends
) -> tuple[dict[str, Any], int]:
    """Return what three maps per stride say of the head, and the number of classes."""
    by_rows: dict[int, list[str]] = {}
    for name, shape in outputs.items():
        if len(shape) != 4 or shape[2] < 1:
            raise _not_yolox(path, outputs)
        by_rows.setdefault(shape[2], []).append(name)
    levels = {}
    for rows in sorted(by_rows, reverse=True):
        maps = _box_objectness_class(by_rows[rows], outputs)
        if maps is None:
            raise _not_yolox(path, outputs)
        levels[size[0] // rows] = maps
    classes = {outputs[maps[2]][1] for maps in levels.values()}
    if len(classes) != 1:
        raise _not_yolox(path, outputs)
    names = tuple(name for maps in levels.values() for name in maps)
    return {
        'layout': 'per_level',
        'outputs': names,
        'strides': tuple(levels),
        'boxes': 'grid',
        'scores': 'probability' if 'Sigmoid' in ends.of(names[1]) else 'logit',
    }, classes.pop()


def _read(path: Path) -> tuple[Any, dict[str, Any]]:
    try:
        import onnx
    except ImportError as error:
        raise MissingDependencyError(
            'reading a model needs the package "onnx": pip install onnx'
        ) from error
    if not path.is_file():
        near = did_you_mean(path.name, (p.name for p in path.parent.glob('*.onnx')))
        raise ModelError(f'model file {path} does not exist{near}')
    try:
        model = onnx.load(str(path), load_external_data=False)
        onnx.checker.check_model(str(path))  # by its path: weights may lie in a file beside it
    except Exception as error:
        raise ModelError(
            f'{path}: expected an ONNX model, got a file that does not read as one ({error})'
        ) from error
    for entry in model.metadata_props:
        if entry.key == METADATA_KEY:
            return model.graph, _metadata(path, entry.value)
    return model.graph, {}


def _metadata(path: Path, text: str) -> dict[str, Any]:
    return parse_json(text, f'{one_line(path)}: metadata "{METADATA_KEY}"', ModelError)


def _sidecar(path: Path) -> dict[str, Any]:
    sidecar = path.with_suffix('.yaml')
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
        if isinstance(value, float) and not math.isfinite(value):
            raise ModelError(f'{path}: {key}: expected a finite number, got {value}')
        if key in _CHOICES and value not in _CHOICES[key]:
            raise ModelError(
                f'{path}: {key}: {shown(value)} is not one of {", ".join(_CHOICES[key])}'
            )


def _check_list(path: Path, key: str, value: list[Any]) -> None:
    item = _ITEMS[key]
    kinds = (int, float) if item is float else (item,)
    if not value or any(type(v) not in kinds or v == '' for v in value):
        raise ModelError(f'{path}: {key}: expected a list of {item.__name__}, got {shown(value)}')
    if item is float and not all(map(math.isfinite, value)):
        raise ModelError(f'{path}: {key}: expected finite numbers, got {value}')
    if key in _CHANNELS and len(value) != 3:
        raise ModelError(f'{path}: {key}: expected one number for each of 3 channels, got {value}')
    if key in ('strides', 'std') and not min(value) > 0:
        raise ModelError(f'{path}: {key}: expected positive numbers, got {value}')


def _shape(value: Any) -> list[int]:
    return [d.dim_value for d in value.type.tensor_type.shape.dim]


def _input(path: Path, graph: Any) -> tuple[str, int, int, int]:
    weights = {w.name for w in graph.initializer}
    inputs = [i for i in graph.input if i.name not in weights]
    shape = _shape(inputs[0]) if len(inputs) == 1 else []
    if len(shape) != 4 or shape[1] != 3 or not (shape[2] > 0 and shape[3] > 0):
        found = ', '.join(f'{i.name} {_shape(i)}' for i in inputs)
        raise ModelError(
            f'{path}: expected one image input [batch, 3, height, width] of fixed size, got {found}'
        )
    return inputs[0].name, shape[0], shape[2], shape[3]


def _strides_for(height: int, width: int, anchors: int) -> tuple[int, ...]:
    # Where they divide both sides, each has a quarter of the cells of the one before: no two sets
    # of them have the same sum.
    possible = [s for s in (4, 8, 16, 32, 64, 128) if height % s == 0 == width % s]
    for count in range(1, len(possible) + 1):
        for strides in combinations(possible, count):
            if sum((height // s) * (width // s) for s in strides) == anchors:
                return strides
    return ()


def _box_objectness_class(maps: list[str], outputs: Outputs) -> list[str] | None:
    channels = [outputs[m][1] for m in maps]
    if len(maps) != 3 or 4 not in channels or 1 not in channels:
        return None
    # With one or four classes the channel counts repeat: then the graph's order decides.
    box = maps[channels.index(4)]
    objectness = next(m for m in maps if outputs[m][1] == 1 and m != box)
    (scores,) = (m for m in maps if m not in (box, objectness))
    return [box, objectness, scores]


def _not_yolox(path: Path, outputs: Outputs) -> ModelError:
    found = ', '.join(f'{name} {shape}' for name, shape in outputs.items())
    return ModelError(
        f'{path} is not a YOLOX detector: expected one output [batch, anchors, 5 + classes] or '
        f'three maps (4, 1 and classes channels) per stride, got {found or "no output"}'
    )


def read_labels(
    path: Path, file: Path | None, given: Sequence[str] | None, classes: int
) -> tuple[str, ...]:
    """Return a model's class names: of the file, else as given, else of ``labels.txt`` beside it.

    Raises:
        ModelError: there are none, or not one for each class.
    """
    if file is None and given is None and (path.parent / 'labels.txt').is_file():
        file = path.parent / 'labels.txt'
    if file is not None:
        if not file.is_file():
            raise ModelError(f'labels file {file} does not exist')
        given = [
            line.strip()
            for line in read_text(file, ModelError, what='a list of labels').splitlines()
        ]
        given = [line for line in given if line]
    if given is None:
        raise ModelError(
            f'{path} has {classes} classes and no names for them: give a labels file with one '
            'name a line'
        )
    if len(given) != classes:
        raise ModelError(
            f'{file or path}: expected {classes} labels, one per class of the model, '
            f'got {len(given)}'
        )
    return tuple(given)


class _Ends:
    """Which operators produce a tensor's values, looking through those that only move them."""

    def __init__(self, graph: Any) -> None:
        self._producer = {name: node for node in graph.node for name in node.output}

    def of(self, tensor: str) -> set[str]:
        kinds: set[str] = set()
        seen: set[str] = set()
        waiting = [tensor]
        while waiting:
            name = waiting.pop()
            node = self._producer.get(name)
            if node is None or name in seen:
                continue
            seen.add(name)
            if node.op_type == 'Concat':
                waiting += node.input
            elif node.op_type in _SHAPE_ONLY:
                waiting.append(node.input[0])
            else:
                kinds.add(node.op_type)
        return kinds
