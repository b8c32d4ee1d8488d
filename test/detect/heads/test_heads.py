"""A family of heads is added by one file; two that match are never guessed between."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny_models import Graph, write_identity, write_model, write_yolox

from yolox_trt_ros.__main__ import main
from yolox_trt_ros.core.detector import Detected
from yolox_trt_ros.core.errors import ConfigError, ModelError
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.model import Thresholds
from yolox_trt_ros.detect import heads
from yolox_trt_ros.detect.backends.onnxruntime import cpu_detector
from yolox_trt_ros.detect.model import load_model_spec

HEIGHT, WIDTH = 64, 96
BOX = [0.25, 0.25, 0.5, 0.75]


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Add the one file that a family is."""
    folder = tmp_path / 'heads'
    folder.mkdir()
    shutil.copy(Path(__file__).with_name('toy_head.py'), folder / 'toy.py')
    monkeypatch.setattr(heads, '__path__', [*heads.__path__, str(folder)])
    found = heads.discovered(heads.__path__)
    assert set(found) - set(heads.FAMILIES) == {'toy'}
    monkeypatch.setitem(heads.FAMILIES, 'toy', found['toy'])
    monkeypatch.delitem(sys.modules, f'{heads.__name__}.toy')


def write_toy(path: Path) -> Path:
    """Write a network that finds the same box twice, as sure as a half of the image is bright."""
    graph = Graph()
    half = [HEIGHT, WIDTH // 2]
    graph.add('AveragePool', ['images'], 'pooled', kernel_shape=half, strides=half)
    graph.add('ReduceMean', ['pooled', graph.constant('one', np.array([1]))], 'grey')
    graph.add('Reshape', ['grey', graph.constant('shape', np.array([0, 2, 1]))], 'column')
    graph.add('Div', ['column', graph.constant('white', np.float32(255))], 'score')
    graph.add('Mul', ['score', graph.constant('zero', np.float32(0))], 'none')
    rows = graph.constant('rows', np.array([[[*BOX, 0], [*BOX, 1]]], np.float32))
    graph.add('Add', [rows, 'none'], 'boxes')
    graph.add('Concat', ['boxes', 'score'], 'found', axis=2)
    (path.parent / 'labels.txt').write_text('left\nright\n')
    return write_model(path, graph, {'images': ['n', 3, HEIGHT, WIDTH]}, {'found': ['n', 2, 6]})


@pytest.mark.usefixtures('toy')
def test_a_head_from_outside_runs_in_the_detector(tmp_path: Path) -> None:
    path = write_toy(tmp_path / 'm.onnx')
    spec = load_model_spec(path)
    assert (spec.head.family, spec.head.outputs, spec.head.classes) == ('toy', ('found',), 2)
    assert spec.labels == ('left', 'right')
    image = np.full((2 * HEIGHT, 2 * WIDTH, 3), 255, np.uint8)
    image[:, WIDTH:] = 102
    detector = cpu_detector(path, spec, lambda: Thresholds(0.3, class_agnostic=True), 2, 1)
    first, second = detector.submit([Frame.of(image), Frame.of(image[:, ::-1] // 2)]).wait()
    assert isinstance(first, Detected) and isinstance(second, Detected)
    assert first.detections.class_id.tolist() == [0, 1]  # the same box: nothing suppresses it
    np.testing.assert_allclose(first.detections.score, [1, 0.4], atol=1e-5)
    np.testing.assert_allclose(first.detections.xyxy[0], [48, 32, 96, 96])
    assert second.detections.class_id.tolist() == [1]
    with pytest.raises(ConfigError, match='no CUDA kernel reads a toy head yet: use a lane on cpu'):
        spec.head.cuda_reader(spec.input, [0])


@pytest.mark.usefixtures('toy')
def test_a_head_that_is_not_cut_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_toy(tmp_path / 'm.onnx')
    assert main(['optimize', str(path), '--output', str(tmp_path / 'out.onnx')]) == 1
    assert 'not cut if its head is of Toy' in capsys.readouterr().err


def test_a_head_that_no_family_knows_is_refused(tmp_path: Path) -> None:
    path = write_toy(tmp_path / 'm.onnx')
    with pytest.raises(ModelError, match=r'm\.onnx.*no set of strides makes 2 anchors'):
        load_model_spec(path)
    path.with_suffix('.yaml').write_text('head: yolo')
    with pytest.raises(ModelError, match='"yolo" is no family of heads — did you mean "yolox"'):
        load_model_spec(path)


@pytest.mark.usefixtures('toy')
def test_each_family_says_why_it_does_not_match(tmp_path: Path) -> None:
    path = tmp_path / 'other.onnx'
    write_identity(path, {'x': [1, 3, HEIGHT, WIDTH]}, {'y': [1, 3, HEIGHT, WIDTH]})
    with pytest.raises(ModelError, match=r'is not a YOLOX detector: .*; not a toy: expected'):
        load_model_spec(path)


@pytest.mark.usefixtures('toy')
def test_two_families_that_match_are_asked_about(tmp_path: Path) -> None:
    path = write_yolox(tmp_path / 'm.onnx', labels=('only',))  # [batch, anchors, 6]
    with pytest.raises(ModelError, match='may be of yolox or toy: say which under "head"'):
        load_model_spec(path)
    path.with_suffix('.yaml').write_text('head: yolox')
    assert load_model_spec(path).head.family == 'yolox'
