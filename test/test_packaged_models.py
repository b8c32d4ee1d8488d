"""Packaged models by name, and the cut forms that are made of them."""

from __future__ import annotations

import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from yolox_trt_ros import Detector, packaged_models
from yolox_trt_ros.compose import load_model
from yolox_trt_ros.core.config import ModelConfig
from yolox_trt_ros.core.errors import ConfigError, MissingDependencyError
from yolox_trt_ros.packaged_models import find_model, model_names
from yolox_trt_ros.sim.world.bodies import CLASSES

ROOT = Path(__file__).resolve().parents[1]


def test_the_cut_form_finds_what_the_whole_model_finds():
    picture = cv2.imread(str(ROOT / 'docs' / 'mosaic.jpg'))
    found = []
    for name in ('edge_n', 'edge_n_cut'):
        with Detector(name, score_threshold=0.05, threads=1) as detect:
            found.append(detect(picture))
            assert detect.labels == CLASSES
    whole, cut = found
    assert len(whole) == len(cut) and (whole.score > 0.3).sum() > 40
    np.testing.assert_array_equal(whole.class_id, cut.class_id)
    np.testing.assert_allclose(whole.score, cut.score, atol=1e-5)
    np.testing.assert_allclose(whole.xyxy, cut.xyxy, atol=1e-2)


def test_it_is_made_once_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    said: list[str] = []
    model = load_model(ModelConfig(path='edge_n_cut'), said.append)
    assert model.spec.labels == CLASSES
    assert find_model('edge_n_cut.onnx', said.append) == model.path
    assert said == [
        f'edge_n_cut was made from {ROOT}/models/edge_n.onnx, once; kept as {model.path}'
    ]
    assert [file.name for file in model.path.parent.iterdir()] == ['edge_n_cut.onnx']


def test_another_model_or_version_has_a_file_of_its_own(tmp_path, monkeypatch):
    models = tmp_path / 'share' / 'yolox_trt_ros' / 'models'
    models.mkdir(parents=True)
    monkeypatch.setenv('AMENT_PREFIX_PATH', str(tmp_path))
    own = models / 'robot.onnx'
    shutil.copy(ROOT / 'models' / 'edge_n.onnx', own)
    files = [find_model('robot_cut')]
    (models / 'robot.yaml').write_text('labels: [a, b, c, d, e, f]\n')
    files.append(find_model('robot_cut'))
    monkeypatch.setattr(packaged_models, '__version__', '0')
    files.append(find_model('robot_cut'))
    assert len(set(files)) == 3 and {file.name for file in files} == {'robot_cut.onnx'}
    assert load_model(ModelConfig(path='robot_cut')).spec.labels == tuple('abcdef')


def test_several_that_make_it_at_once(tmp_path, monkeypatch):
    expected = find_model('edge_n_cut').read_bytes()
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(find_model, ['edge_n_cut'] * 2)
    assert first == second and first.read_bytes() == expected
    assert list(first.parent.iterdir()) == [first]


def test_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert {'edge_n', 'edge_n_cut', 'edge_s', 'edge_s_cut'} <= set(model_names())
    for name in ('nothing_cut', './edge_n_cut', 'models/edge_n_cut.onnx'):
        assert find_model(name) == Path(name)
    with pytest.raises(ConfigError, match=r'edge_n, edge_n_cut, .*got "nothing_cut"'):
        load_model(ModelConfig(path='nothing_cut'))
    (tmp_path / 'edge_n_cut.onnx').touch()
    assert find_model('edge_n_cut.onnx') == Path('edge_n_cut.onnx')  # a file is meant first


def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / 'file').touch()
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'file'))
    with pytest.raises(ConfigError, match=r'edge_n_cut is made from edge_n\.onnx.*XDG_CACHE_HOME'):
        find_model('edge_n_cut')


def test_without_the_package_that_rewrites_models(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    monkeypatch.setitem(sys.modules, 'onnxscript', None)
    monkeypatch.delitem(sys.modules, 'yolox_trt_ros.engine.surgery.optimize', raising=False)
    with pytest.raises(MissingDependencyError, match='pip install onnxscript'):
        find_model('edge_n_cut')
