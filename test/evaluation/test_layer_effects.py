"""Layers ranked by what they do to the outputs: their own error, and not that of others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tiny_models import write_yolox

from yolox_trt_ros.__main__ import main
from yolox_trt_ros.engine.compare import compare_models
from yolox_trt_ros.engine.onnx_file import read_onnx, write_onnx
from yolox_trt_ros.engine.onnx_run import OnnxRun
from yolox_trt_ros.engine.qdq import insert_qdq, prepared
from yolox_trt_ros.engine.substitution import Substitution
from yolox_trt_ros.evaluation.layer_effects import layer_effects

PICTURES = [np.random.default_rng(k).uniform(0, 1, (3, 6, 6)).astype(np.float32) for k in range(2)]


def silent(items: Any, _: str) -> Any:
    return items


def network(changes: dict[str, float] | None = None) -> onnx.ModelProto:
    """Return A; B and C of A's relu; and what C says, divided by a thousand, beside B."""
    rng = np.random.default_rng(0)
    weights = {
        'a': rng.normal(0, 1, (4, 3, 1, 1)),
        'b': rng.normal(0, 1, (2, 4, 1, 1)),
        'c': rng.normal(0, 1, (2, 4, 1, 1)),
    }
    for name, factor in (changes or {}).items():
        weights[name] *= factor
    values = [numpy_helper.from_array(v.astype(np.float32), k) for k, v in weights.items()]
    values.append(numpy_helper.from_array(np.float32(1e-3), 'little'))
    nodes = [
        helper.make_node('Conv', ['images', 'a'], ['A']),
        helper.make_node('Relu', ['A'], ['x']),
        helper.make_node('Conv', ['x', 'b'], ['B']),
        helper.make_node('Conv', ['x', 'c'], ['C']),
        helper.make_node('Mul', ['C', 'little'], ['w']),
        helper.make_node('Concat', ['B', 'w'], ['out'], axis=1),
    ]
    ends = [
        helper.make_tensor_value_info('images', TensorProto.FLOAT, [1, 3, 6, 6]),
        helper.make_tensor_value_info('out', TensorProto.FLOAT, [1, 4, 6, 6]),
    ]
    graph = helper.make_graph(nodes, 'g', ends[:1], ends[1:], values)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid('', 13)], ir_version=8)


def effects(other: onnx.ModelProto, given: Any = None) -> dict[str, float]:
    substitution = Substitution(network(), other, ['out'])
    assert substitution.layers == ['x', 'B', 'C', 'w', 'out']
    found = layer_effects(substitution, None, PICTURES, silent, given)
    assert all(effect.detections is None for effect in found.values())
    return {name: effect.outputs for name, effect in found.items()}


def test_the_noisiest_layer_is_not_the_one_that_matters() -> None:
    other = network({'b': 1.1, 'c': 3.0})
    differences, _ = compare_models(network(), other, PICTURES)
    assert {d.name for d in differences[:2]} == {'C', 'w'}
    found = effects(other)
    assert max(found, key=lambda name: found[name]) == 'B'
    assert found['B'] == pytest.approx(0.1, rel=1e-3)
    assert 0 < found['C'] < 0.01


def test_errors_of_layers_before_do_not_count() -> None:
    found = effects(network({'a': 0.5}))
    assert found['x'] == pytest.approx(0.5, rel=1e-4)
    assert [name for name, effect in found.items() if effect] == ['x']


def test_of_an_engine_counts_what_a_layer_adds() -> None:
    other = network({'a': 0.5, 'c': 100.0})
    run = OnnxRun(other, ['x', 'B', 'C', 'w', 'out'])
    seen = [run(picture[None]) for picture in PICTURES]
    found = effects(other, {name: [one[name] for one in seen] for name in run.names})
    assert found['x'] == pytest.approx(0.5, rel=1e-4)
    # B passes on what it was given, and adds nothing.
    assert found['B'] <= 0
    assert found['C'] > found['B'] - 0.5


def test_roundings_belong_to_the_convolution_that_reads_them() -> None:
    ranges = dict.fromkeys(('images', 'A', 'x', 'B', 'C'), 8.0)
    found = effects(insert_qdq(prepared(network()), ranges, ['A']))
    assert found['x'] == 0 and found['B'] > 0 and found['out'] == 0


def test_the_tool_ranks_by_detections(tmp_path: Path, capsys: Any) -> None:
    path = write_yolox(tmp_path / 'm.onnx', labels=('car', 'bus'))
    other = read_onnx(path)
    bias = next(w for w in other.graph.initializer if w.name == 'objectness_16_bias')
    values = numpy_helper.to_array(bias) - np.float32(6)
    bias.CopyFrom(numpy_helper.from_array(values, bias.name))
    write_onnx(other, tmp_path / 'o.onnx')
    out = tmp_path / 'o.json'
    options = ['--pictures', '1', '--rows', '3', '--json', str(out)]
    assert main(['compare', str(path), str(tmp_path / 'o.onnx'), *options]) == 0
    shown, rows = capsys.readouterr().out, json.loads(out.read_text())
    assert rows[0]['name'] == 'objectness_16_sigmoid'
    assert 'detections' in shown and rows[0]['name'] in shown
    assert rows[0]['effect']['detections'] > 0.01 and rows[0]['effect']['outputs'] > 0
    others = [row['effect'] for row in rows[1:] if row['effect']]
    assert others and all(effect['detections'] == 0 for effect in others)
