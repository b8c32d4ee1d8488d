"""The Python interface: what importing costs, what it finds, and what it refuses."""

from __future__ import annotations

import inspect
import queue
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from pictures import array_of, picture
from tiny_models import LABELS, write_yolox

import yolox_trt_ros
from yolox_trt_ros import (
    ConfigError,
    Detections,
    Detector,
    Frame,
    FrameError,
    ModelError,
    YoloxTrtRosError,
    compose,
)
from yolox_trt_ros.core.config import Config, LaneConfig, ModelConfig
from yolox_trt_ros.core.encodings import RAW
from yolox_trt_ros.core.parameters import table
from yolox_trt_ros.detect.merged_parts import merged_parts
from yolox_trt_ros.schedule.pipeline import Pipeline

ROOT = Path(__file__).resolve().parents[1]
# dataclasses brings inspect: half the time that the import would take.
HEAVY = ('dataclasses', 'numpy', 'cv2', 'onnx', 'onnxruntime', 'rclpy', 'yaml', 'cupy', 'tensorrt')


@pytest.fixture(scope='module')
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_yolox(tmp_path_factory.mktemp('model') / 'm.onnx')


def noise(seed: int, height: int = 90, width: int = 120) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def same(one: Detections, other: Detections) -> bool:
    return all(
        np.array_equal(getattr(one, name), getattr(other, name))
        for name in ('xyxy', 'score', 'class_id')
    )


def test_importing_it_loads_nothing_heavy() -> None:
    code = (
        'import sys, yolox_trt_ros; from yolox_trt_ros import Detector, YoloxTrtRosError; '
        f'print(sorted(sys.modules.keys() & {set(HEAVY)}))'
    )
    message = subprocess.check_output([sys.executable, '-c', code], cwd=ROOT, text=True)
    assert message.strip() == '[]'


def test_what_the_package_offers() -> None:
    assert set(yolox_trt_ros.__all__) <= set(dir(yolox_trt_ros))
    for name in yolox_trt_ros.__all__:
        assert getattr(yolox_trt_ros, name).__doc__
    with pytest.raises(AttributeError, match="'yolox_trt_ros' has no attribute 'Detektor'"):
        yolox_trt_ros.Detektor  # noqa: B018


def test_options_are_the_parameters_of_the_node() -> None:
    defaults = {row.name: row.default for kind in (ModelConfig, LaneConfig) for row in table(kind)}
    options = inspect.signature(Detector).parameters.values()
    shared = {o.name: o.default for o in options if o.name in defaults}
    assert shared == {name: defaults[name] for name in shared}
    assert {o.name for o in options} - set(shared) == {'crops', 'ranges', 'progress'}
    of_topics = {name for name in defaults if name.startswith('mask_')}
    assert {row.name for row in table(ModelConfig)} - {'path'} - of_topics < set(shared)


def test_it_finds_what_the_node_finds(model: Path) -> None:
    jpeg = cv2.imencode('.jpg', noise(1))[1]
    images = {name: array_of(picture(50, 70 + 2 * i), name) for i, name in enumerate(RAW)}
    images['jpeg'] = jpeg, Frame('front', 0, 0, 0, '', 'jpeg', 90, 120, 0, jpeg)
    config = Config.from_parameters(
        {'camera_names': ['front'], 'lane_names': ['cpu0'], 'model.path': str(model)}
    )
    published: queue.Queue[Detections] = queue.Queue()
    lanes = compose.lane_specs(config, compose.load_model(config.model))
    count = 0
    with (
        Detector(model) as detect,
        Pipeline(config.cameras, lanes, lambda frame, found: published.put(found)) as node,
    ):
        for sequence, (name, (image, sent)) in enumerate(images.items()):
            node.offer(replace(sent, sequence=sequence, received_ns=time.monotonic_ns()))
            if name.endswith('16'):
                image = Frame.of(image, name, levels=sent.levels)
            found = detect(image, name)
            assert same(found, published.get(timeout=60)), name
            assert found.labels == LABELS
            count += len(found)
    assert count > 100


@pytest.mark.parametrize('batch', [4, 'batch'])
def test_a_list_is_run_in_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int | str
) -> None:
    sizes = []

    def counted(*args):
        lane = make(*args)
        submit = lane.submit
        lane.submit = lambda frames: sizes.append(len(frames)) or submit(frames)
        return lane

    make = compose.make_detector
    monkeypatch.setattr(compose, 'make_detector', counted)
    images = [noise(i, 60 + 10 * i) for i in range(6)]
    model = write_yolox(tmp_path / 'm.onnx', batch=batch)
    with Detector(model, max_batch=1 if batch == 4 else 4) as detect:
        alone = [detect(image) for image in images]
        several = detect(images)
        assert sizes == [1] * 6 + [4, 2]
        assert [len(found) for found in several] == [len(found) for found in alone]
        for one, other in zip(several, alone, strict=True):
            np.testing.assert_allclose(one.xyxy, other.xyxy, atol=1e-3)
        assert len(detect(tuple(images))) == 6 and detect([]) == []


@pytest.mark.parametrize('batch', [1, 'batch'])
def test_crops_are_seen_in_every_image_and_count_in_a_batch(
    tmp_path: Path, batch: int | str
) -> None:
    images = [noise(i, 100 + i, 150) for i in range(3)]
    model = write_yolox(tmp_path / 'm.onnx', batch=batch)
    with Detector(model) as plain, Detector(model, crops=['96x64', '60x50+0+0']) as detect:
        several = detect(images)
        for image, found in zip(images, several, strict=True):
            frame = Frame.of(image)
            parts = (27, (len(image) - 64) // 2, 96, 64), (0, 0, 60, 50)
            single = plain([replace(frame, part=part) for part in (None, *parts)])
            merged = merged_parts(single, replace(frame, crops=parts), detect.model.thresholds)
            np.testing.assert_allclose(found.xyxy, merged.xyxy, atol=1e-3)
            assert len(single[0]) < len(found)
        with pytest.raises(FrameError, match='image 1 of the list: crop 96x64 does not lie inside'):
            detect([images[0], noise(0, 60, 90)])
    with pytest.raises(ConfigError, match="crops: expected a list of parts of the image, got '96"):
        Detector(model, crops='96x64')


def test_any_number_of_threads_may_call_it(model: Path) -> None:
    images = [noise(i) for i in range(24)]
    with Detector(model, threads=1) as detect, ThreadPoolExecutor(8) as threads:
        expected = [detect(image) for image in images]
        found = list(threads.map(detect, images))
    assert all(map(same, found, expected))


def test_after_its_end_it_says_so(model: Path) -> None:
    detect = Detector(model)
    with detect:
        assert len(detect(noise(0)))
    detect.close()
    with pytest.raises(YoloxTrtRosError, match='one that is closed'):
        detect(noise(0))


def test_the_bad_image_of_a_list_is_named(model: Path) -> None:
    jpeg = cv2.imencode('.jpg', noise(1))[1].tobytes()
    with Detector(model) as detect:
        for images, encoding, message in (
            ([noise(0), noise(0) / 255], 'bgr8', 'image 1 of the list: bgr8 image: expected'),
            ([jpeg, jpeg, jpeg[:-300]], 'jpeg', 'image 2 of the list: JPEG of .* truncated'),
        ):
            with pytest.raises(FrameError, match=message):
                detect(images, encoding)
        with pytest.raises(FrameError, match=r'^JPEG of'):
            detect(jpeg[:-300], 'jpeg')
        assert len(detect(jpeg, 'jpeg')), 'the detector goes on'
        with pytest.raises(FrameError, match=r'\(height, width, 3\), got generator'):
            detect(image for image in ())  # type: ignore[call-overload]


ERRORS = {
    'model': ({'model': 'no_such'}, ConfigError, r'expected an ONNX file.*edge_n.*got "no_such"'),
    'file': ({'model': 'no_such.onnx'}, ModelError, 'does not exist'),
    'device': (
        {'device': 'gpu'},
        ConfigError,
        r'^device: expected cpu, cuda:N or dla:N, got "gpu"',
    ),
    'backend': ({'backend': 'torch'}, ConfigError, '"torch" is not one of its values'),
    'simulated': ({'backend': 'simulated'}, ConfigError, 'runs a network, got "simulated"'),
    'both': ({'backend': 'tensorrt'}, ConfigError, 'a cpu lane needs one of onnxruntime'),
    'precision': ({'precision': 'fp8'}, ConfigError, 'valid: auto, fp16, fp32, int8, tf32'),
    'ranges': ({'ranges': 'a.json'}, ConfigError, 'onnxruntime takes none'),
    'score': ({'score_threshold': 3.0}, ConfigError, 'expected 0 to 1, got 3'),
    'batch': ({'max_batch': 0}, ConfigError, 'max_batch: expected 1 to 64, got 0'),
    'labels': ({'labels': 'no_such.txt'}, ModelError, r'labels file no_such\.txt does not exist'),
}


@pytest.mark.parametrize(('options', 'error', 'message'), ERRORS.values(), ids=ERRORS)
def test_refusals(options: dict, error: type[Exception], message: str, model: Path) -> None:
    with pytest.raises(error, match=message):
        Detector(**{'model': model, **options})


def test_the_example_runs(tmp_path: Path) -> None:
    drawn = tmp_path / 'drawn.png'
    example = ROOT / 'examples' / 'detect_images.py'
    done = subprocess.run(
        [sys.executable, example, drawn], cwd=ROOT, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    assert 'are vehicles' in done.stdout and 'got float64' in done.stdout
    assert cv2.imread(str(drawn)).shape == (640, 960, 3)
