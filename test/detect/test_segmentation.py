"""A model's second output: found, read, and computed only where somebody wants it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tiny_models import HEIGHT, MASK_CLASSES, MASK_STRIDE, WIDTH, write_yolox

from yolox_trt_ros.core.detector import Detected
from yolox_trt_ros.core.errors import ModelError
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.model import Thresholds
from yolox_trt_ros.core.segmentation import Segmentation
from yolox_trt_ros.detect.backends.onnxruntime import cpu_detector
from yolox_trt_ros.detect.cpu.detector import CpuDetector
from yolox_trt_ros.detect.cpu.segment import argmax, as_bytes
from yolox_trt_ros.detect.model import load_model_spec
from yolox_trt_ros.detector import Detector

ROWS, COLUMNS = HEIGHT // MASK_STRIDE, WIDTH // MASK_STRIDE
PICTURE = np.random.default_rng(3).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


@pytest.mark.parametrize(
    ('kind', 'shape', 'numbers', 'integers'),
    [
        ('scores', (MASK_CLASSES, ROWS, COLUMNS), False, ''),
        ('chosen', (1, ROWS, COLUMNS), True, 'int64'),
        ('floats', (1, ROWS, COLUMNS), True, ''),
    ],
)
def test_class_masks_are_found(
    kind: str, shape: tuple[int, ...], numbers: bool, integers: str, tmp_path: Path, caplog: Any
) -> None:
    spec = load_model_spec(write_yolox(tmp_path / 'm.onnx', segmentation=kind))
    masks = spec.segmentation
    assert masks and (masks.output, masks.shape, masks.stride) == ('masks', shape, MASK_STRIDE)
    assert (masks.numbers, masks.integers, spec.left_out) == (numbers, integers, ())
    assert 'left out' not in caplog.text


def test_a_model_without_a_second_output_gives_none(tmp_path: Path) -> None:
    path = write_yolox(tmp_path / 'm.onnx')
    assert load_model_spec(path).segmentation is None
    with Detector(path) as detect:
        assert detect(PICTURE).segmentation is None


def test_the_yaml_says_which_output_and_what_classes_are_called(tmp_path: Path) -> None:
    path = write_yolox(tmp_path / 'm.onnx', segmentation='scores')
    sidecar = path.with_suffix('.yaml')
    sidecar.write_text('segmentation: masks\nsegmentation_labels: [road, car, person, sky, wall]\n')
    masks = load_model_spec(path).segmentation
    assert masks and masks.labels == ('road', 'car', 'person', 'sky', 'wall')
    sidecar.write_text('segmentation: none\n')
    assert load_model_spec(path).segmentation is None
    for text, said in (
        ('segmentation: mask\n', 'expected a further output .* did you mean "masks"'),
        ('segmentation_labels: [road]\n', 'expected 5 names'),
    ):
        sidecar.write_text(text)
        with pytest.raises(ModelError, match=said):
            load_model_spec(path)


def test_nobody_is_asked_where_masks_are_switched_off(tmp_path: Path) -> None:
    path = write_yolox(tmp_path / 'm.onnx', segmentation='scores')
    spec = load_model_spec(path, segmentation=False)
    assert spec.segmentation is None and spec.left_out == ('masks',)
    with Detector(path, segmentation=False) as detect:
        assert detect(PICTURE).segmentation is None


def reference(path: Path, picture: np.ndarray) -> np.ndarray:
    """Return the classes of a picture of the input's size, as plain NumPy has them."""
    session = onnxruntime.InferenceSession(str(path))
    image = picture.transpose(2, 0, 1)[None].astype(np.float32)
    (maps,) = session.run(['masks'], {'images': image})
    return maps[0].argmax(0) if maps.shape[1] > 1 else maps[0, 0]


@pytest.mark.parametrize('kind', ['scores', 'chosen', 'floats'])
def test_masks_are_what_the_network_says(kind: str, tmp_path: Path) -> None:
    path = write_yolox(tmp_path / 'm.onnx', segmentation=kind)
    with Detector(path) as detect:
        mask = detect(PICTURE).segmentation
        assert mask and mask.region == (0, 0, WIDTH, HEIGHT)
        assert (mask.class_id == reference(path, PICTURE)).all()
        assert len(np.unique(mask.class_id)) > 2
        narrow, wide = detect([PICTURE[:, :48], PICTURE[:32]])
        # The letterbox's border is no part of them.
        assert narrow.segmentation and narrow.segmentation.class_id.shape == (16, 12)
        assert wide.segmentation and wide.segmentation.class_id.shape == (8, 24)


def frame(camera: str, part: tuple[int, int, int, int] | None = None) -> Frame:
    return Frame(
        camera, 0, 0, 0, '', 'bgr8', HEIGHT, WIDTH, WIDTH * 3, PICTURE.reshape(-1), part=part
    )


class Runs:
    """What was asked of a session."""

    def __init__(self, detector: CpuDetector) -> None:
        backend: Any = detector._backend
        self.session, backend._session = backend._session, self
        self.outputs: list[list[str]] = []

    def run(self, outputs: list[str], *more: Any) -> Any:
        assert more[-1].only_execute_path_to_fetches
        self.outputs.append(outputs)
        return self.session.run(outputs, *more)


def test_only_wanted_masks_are_computed(tmp_path: Path) -> None:
    path = write_yolox(tmp_path / 'm.onnx', segmentation='scores')
    wanted = {'front'}
    detector = cpu_detector(
        path, load_model_spec(path), Thresholds, 2, masks=lambda camera: camera in wanted
    )
    runs = Runs(detector)

    def masks(*cameras: str) -> list[Segmentation | None]:
        found = detector.submit([frame(camera) for camera in cameras]).wait()
        return [one.detections.segmentation for one in found if isinstance(one, Detected)]

    front, rear = masks('front', 'rear')
    assert front is not None and rear is None
    assert masks('rear', 'left') == [None, None]
    wanted.clear()
    assert masks('front') == [None]
    assert runs.outputs == [['output', 'masks'], ['output'], ['output']]


def test_a_part_of_an_image_has_the_mask_of_that_part(tmp_path: Path) -> None:
    path = write_yolox(tmp_path / 'm.onnx', segmentation='scores')
    part = 32, 16, 48, 32
    detector = cpu_detector(path, load_model_spec(path), Thresholds, masks=lambda camera: True)
    (result,) = detector.submit([frame('front', part)]).wait()
    assert isinstance(result, Detected) and result.detections.segmentation
    mask = result.detections.segmentation
    assert mask.region == part and mask.class_id.shape == (16, 24)


def test_masks_go_with_selected_and_tracked_detections(tmp_path: Path) -> None:
    path = write_yolox(tmp_path / 'm.onnx', segmentation='scores')
    with Detector(path) as detect:
        found = detect(PICTURE)
    assert found[:2].segmentation is found.segmentation is not None
    assert found.tracked(np.arange(len(found))).segmentation is found.segmentation


def test_maps_that_look_alike_are_not_guessed(tmp_path: Path, caplog: Any) -> None:
    import onnx

    path = write_yolox(tmp_path / 'm.onnx', segmentation='scores')
    model = onnx.load(path)
    second = onnx.ValueInfoProto()
    second.CopyFrom(model.graph.output[-1])
    second.name = 'depth'
    model.graph.node.append(onnx.helper.make_node('Identity', ['masks'], ['depth']))
    model.graph.output.append(second)
    onnx.save(model, path)
    with caplog.at_level(logging.WARNING):
        assert load_model_spec(path).segmentation is None
    assert 'masks, depth are left out' in caplog.text
    assert '"segmentation" in the YAML' in caplog.text


SCORES = arrays(
    np.float32,
    st.tuples(st.integers(1, 6), st.integers(1, 5), st.integers(1, 5)),
    elements=st.floats(-3, 3, width=16) | st.sampled_from([np.inf, -np.inf]),
)


@settings(max_examples=30)
@given(SCORES)
def test_the_highest_score_wins_and_of_equals_the_first(scores: np.ndarray) -> None:
    for dtype in (np.float32, np.float16):
        assert (argmax(scores.astype(dtype)) == scores.argmax(0)).all()


def test_a_score_that_is_no_number_never_wins() -> None:
    scores = np.array([[[np.nan, np.nan, 1]], [[-5, np.nan, np.nan]]], np.float32)
    assert argmax(scores).tolist() == [[1, 0, 0]]


def test_numbers_that_are_no_classes_become_near_ones() -> None:
    assert as_bytes(np.array([-3, 7, 300])).tolist() == [0, 7, 255]
    assert as_bytes(np.array([np.nan, -0.5, 7.9, 1e9])).tolist() == [0, 0, 7, 255]
