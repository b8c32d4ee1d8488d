"""The sparsify tool: its file, its report, its gate, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from generated_yolox import write_yolox

from yolox_trt_ros.__main__ import main
from yolox_trt_ros.engine.sparsity import sparse_layers


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_yolox(tmp_path / 'm.onnx', 'nano', height=64, width=64)


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """Return a folder of two pictures with a darknet label each."""
    folder = tmp_path / 'pictures'
    folder.mkdir()
    rng = np.random.default_rng(0)
    for k in range(2):
        cv2.imwrite(str(folder / f'{k}.png'), rng.integers(0, 255, (64, 64, 3), np.uint8))
        (folder / f'{k}.txt').write_text('0 0.5 0.5 0.4 0.4\n')
    (folder / 'classes.txt').write_text('class 0\n')
    return folder


def test_a_sparse_model_its_report_and_the_gate(
    model: Path, labelled: Path, tmp_path: Path, capsys: Any
) -> None:
    out, report = tmp_path / 'out.onnx', tmp_path / 'report.json'
    given = ['--images', str(labelled), '--pictures', '2', '--json', str(report)]
    data = ['--data', str(labelled), '--names', str(labelled / 'classes.txt'), '--max-drop', '100']
    assert main(['sparsify', str(model), '--output', str(out), *given, *data]) == 0
    shown, content = capsys.readouterr().out, json.loads(report.read_text())
    written = onnx.load(out)
    onnx.checker.check_model(written, full_check=True)
    layers = sparse_layers(written)
    assert all(x.sparse == (not x.refusal) for x in layers)
    sparse = [x for x in content['layers'] if x['sparse']]
    assert len(sparse) == sum(x.sparse for x in layers) > 10
    assert all(0 <= x['lost'] < 1 for x in sparse)
    assert f'{len(sparse)} of {len(layers)} convolutions are 2:4 sparse' in shown
    assert set(content['accuracy']) == {'dense', 'sparse'}
    assert content['accuracy']['dense']['per_class']['class 0']['labels'] == 2
    assert 'class 0' in shown and 'points of mAP50 are lost' in shown


def test_by_magnitude_and_what_is_named_stays_dense(
    model: Path, tmp_path: Path, capsys: Any
) -> None:
    out = tmp_path / 'out.onnx'
    names = [x.name for x in sparse_layers(onnx.load(model)) if not x.refusal]
    options = ['--output', str(out), '--no-gate', '--dense', names[0]]
    assert main(['sparsify', str(model), *options]) == 0
    assert 'by magnitude' in capsys.readouterr().out
    layers = {x.name: x.sparse for x in sparse_layers(onnx.load(out))}
    assert not layers[names[0]] and all(layers[name] for name in names[1:])


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--output', 'out', '--no-gate'], '--output: expected a file OUT.onnx, got out'),
        (['--output', 'o.onnx', '--no-gate', '--dense', 'x'], 'no such convolution'),
        (['--output', 'o.onnx', '--no-gate', '--max-drop', '2'], '--max-drop: for runs without'),
    ],
)
def test_what_is_refused(model: Path, capsys: Any, options: list[str], message: str) -> None:
    assert main(['sparsify', str(model), *options]) == 1
    assert message in capsys.readouterr().err
