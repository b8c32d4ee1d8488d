"""Final boxes find what the network before them and ONNX's suppression find."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dense_graphs import CLASSES, yolov8
from final_graphs import FINAL, dets_and_labels, end_to_end, plugin, suppressed_rows
from oracle import assert_same, centred, detected, run
from test_yolov8 import IMAGES, LIMITS, expected
from tiny_models import HEIGHT, WIDTH, Graph, write_model

from yolox_trt_ros.core.errors import ModelError
from yolox_trt_ros.core.model import InputSpec, Thresholds
from yolox_trt_ros.detect.graph.tensors import infer_tensors, read_model
from yolox_trt_ros.detect.model import load_model_spec

FED = 'letterbox: centre\ncolour: rgb\nscale: 0.00392156862745098\n'


def best(path: Path, image: np.ndarray, limits: Thresholds, one_class: bool) -> np.ndarray:
    """Return the best rows of class, score and corners of a YOLOv8, nothing suppressed."""
    fed, scale, left, top = centred(image, HEIGHT, WIDTH)
    output = run(path, fed)[0][0].T
    half = output[:, 2:4] / 2
    corners = np.concatenate((output[:, :2] - half, output[:, :2] + half), axis=1)
    scores = output[:, 4:].copy()
    if one_class:
        scores[np.arange(len(scores)), :] *= scores == scores.max(axis=1, keepdims=True)
    order = np.argsort(-scores.ravel(), kind='stable')[:FINAL]
    anchor, class_id = order // CLASSES, order % CLASSES
    rows = np.column_stack((class_id, scores.ravel()[order], corners[anchor]))
    rows[:, 2:] = (rows[:, 2:] - [left, top] * 2) / scale
    return rows[rows[:, 1] > limits.score]


def test_end_to_end(tmp_path: Path) -> None:
    decoded = yolov8(tmp_path / 'decoded.onnx')
    found = detected(end_to_end(tmp_path / 'm.onnx'), IMAGES, LIMITS)
    for image, detections in zip(IMAGES, found, strict=True):
        assert_same(detections, best(decoded, image, LIMITS, one_class=False))


def test_rows_that_a_suppression_left(tmp_path: Path) -> None:
    path, decoded = suppressed_rows(tmp_path / 'm.onnx'), yolov8(tmp_path / 'decoded.onnx')
    found = detected(path, IMAGES, LIMITS)  # in one batch: a column numbers the image
    for image, detections in zip(IMAGES, found, strict=True):
        assert_same(detections, expected(decoded, image))


def test_dets_and_labels(tmp_path: Path) -> None:
    path = dets_and_labels(tmp_path / 'm.onnx')
    with pytest.raises(
        ModelError, match=r'not all fed alike: give letterbox, colour, scale in m\.yaml'
    ):
        load_model_spec(path)
    path.with_suffix('.yaml').write_text(FED)
    head = load_model_spec(path).head
    assert (head.outputs, head.classes) == (('dets', 'labels'), CLASSES)
    (found,) = detected(path, IMAGES[:1], Thresholds(0.2))
    dets, labels = run(path, centred(IMAGES[0], HEIGHT, WIDTH)[0])
    _, scale, left, top = centred(IMAGES[0], HEIGHT, WIDTH)
    rows = np.column_stack((labels[0], dets[0, :, 4], (dets[0, :, :4] - [left, top] * 2) / scale))
    assert_same(found, rows[rows[:, 1] > 0.2])


@pytest.mark.parametrize('domain', ['', 'TRT', 'TRT_PLUGINS'])
def test_the_plugin_of_tensorrt_in_every_domain(tmp_path: Path, domain: str) -> None:
    spec = load_model_spec(plugin(tmp_path / 'm.onnx', domain))
    assert spec.head.outputs == ('num', 'boxes', 'scores', 'classes')
    assert spec.head.shapes(spec.input) == [(1,), (FINAL, 4), (FINAL,), (FINAL,)]
    assert spec.head.integers() == {'num': 'int32', 'classes': 'int32'}
    assert (spec.input.letterbox, spec.head.classes) == ('centre', CLASSES)


def test_rows_that_no_known_head_makes_are_refused(tmp_path: Path) -> None:
    graph = Graph()
    rows = np.array(
        [[[1, 2, 30, 40, 0.9, 0], [5, 6, 70, 50, 0.8, 1], [9, 8, 60, 30, 0.7, 2]]], 'f4'
    )
    graph.add('ReduceMean', ['images'], 'mean', keepdims=1)
    graph.add('Reshape', ['mean', graph.constant('shape', np.array([0, 1, 1]))], 'one')
    graph.add('Mul', ['one', graph.constant('zero', np.float32(0))], 'none')
    graph.add('Add', [graph.constant('rows', rows), 'none'], 'found')
    images = {'images': ['n', 3, HEIGHT, WIDTH]}
    path = write_model(tmp_path / 'm.onnx', graph, images, {'found': ['n', 3, 6]})
    with pytest.raises(ModelError, match='not a detector with final boxes'):
        load_model_spec(path)


def test_what_a_suppression_leaves_has_a_size_without_being_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its list is as long as its graph lets it get, whatever the picture."""
    monkeypatch.setattr('yolox_trt_ros.detect.graph.tensors.measured_shapes', pytest.fail)
    path = suppressed_rows(tmp_path / 'm.onnx')
    assert load_model_spec(path).head.family == 'final'
    model = read_model(path)
    tensors = infer_tensors(path, model, InputSpec('images', 0, HEIGHT, WIDTH))
    assert tensors.shapes[model.graph.output[0].name] == (50 * CLASSES, 7)
