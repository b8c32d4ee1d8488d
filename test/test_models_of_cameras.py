"""Cameras with models of their own: configured, loaded, run by common lanes, named alike."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from matching import differences
from tiny_models import write_yolox

from yolox_trt_ros.__main__ import main
from yolox_trt_ros.compose import lane_specs, load_models, make_detector
from yolox_trt_ros.core.config import Config
from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.errors import ConfigError, LaneError
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.detect.several_models import SeveralModels
from yolox_trt_ros.fleet.job import job_of
from yolox_trt_ros.schedule.pipeline import Pipeline, PipelineOptions
from yolox_trt_ros.tools.plan import with_models
from yolox_trt_ros.vehicle_files import load_profile

PICTURES = np.random.default_rng(1).integers(0, 256, (3, 60, 80, 3), np.uint8)


@pytest.fixture
def given(tmp_path: Path) -> dict[str, Any]:
    """Return a vehicle: front by one model, both rear cameras by another with other classes."""
    (tmp_path / 'a').mkdir(), (tmp_path / 'b').mkdir()
    first = write_yolox(tmp_path / 'a' / 'front.onnx', labels=('car', 'person', 'bus'))
    second = write_yolox(tmp_path / 'b' / 'rear.onnx', labels=('person', 'kerb', 'Car'), seed=3)
    return {
        'camera_names': ['front', 'left', 'right'],
        'lane_names': ['cpu0', 'cpu1'],
        'lanes.cpu0.max_batch': 2,
        'model_names': ['rear'],
        'model.path': str(first),
        'models.rear.path': str(second),
        'models.rear.score_threshold': 0.4,
        'models.rear.classes': ['kerb', 'car'],
        'cameras.left.model': 'rear',
        'cameras.right.model': 'rear',
        'cameras.right.score_threshold': 0.5,
    }


def test_each_camera_is_run_by_its_model_on_all_lanes(given: dict[str, Any]) -> None:
    config = Config.from_parameters(given)
    models = load_models(config)
    assert models.labels == ('car', 'person', 'bus', 'kerb'), 'one table for all'
    assert models.rules.wanted == [0, 1, 2, 3]
    assert {c: r.wanted for c, r in models.by_camera.items()}['left'] == [0, 3]
    got: dict[str, Detections] = {}
    lanes = set()
    done = threading.Event()

    def sink(frame: Frame, detections: Detections) -> None:
        got[frame.camera] = detections
        if len(got) == 3:
            done.set()

    options = PipelineOptions(warmup_height=64, warmup_width=96)
    specs = lane_specs(config, models)
    with Pipeline(
        config.cameras, specs, sink, options=options, on_trace=lambda f, t: lanes.add(t.lane)
    ) as pipeline:
        for camera, picture in zip(config.cameras, PICTURES, strict=True):
            pipeline.offer(replace(Frame.of(picture), camera=camera.name,
                                   received_ns=time.monotonic_ns()))  # fmt: skip
        assert done.wait(30)
        accounts = pipeline.snapshot().lanes
    assert all(set(a.other_cost_ns) == {'rear'} and a.other_cost_ns['rear'] for a in accounts)
    assert all('rear: ' in account.runs for account in accounts)
    for camera, picture in zip(config.cameras, PICTURES, strict=True):
        alone = make_detector(config.lanes[0], models.of(camera.name))
        (want,) = alone.submit([replace(Frame.of(picture), camera=camera.name)]).wait()
        assert len(got[camera.name]) > 0
        assert not differences(rows(got[camera.name]), rows(want.detections))
        alone.close()
    assert set(np.unique(got['left'].class_id)) <= {0, 3}, 'numbers of the common table'
    assert got['right'].score.min() > 0.5 >= 0.4


def rows(detections: Detections) -> list[list[float]]:
    return np.column_stack((detections.xyxy, detections.score, detections.class_id)).tolist()


def test_a_batch_of_two_models_is_refused() -> None:
    class Nothing:
        max_batch, about, closed = 4, 'nothing', False

        def close(self) -> None:
            self.closed = True

    parts = {'': Nothing(), 'rear': Nothing()}
    detector = SeveralModels(parts, {'a': '', 'b': 'rear'})
    frames = [replace(Frame.of(PICTURES[0]), camera=name) for name in 'ab']
    with pytest.raises(LaneError, match='of cameras of one model, got model, rear'):
        detector.submit(frames)
    detector.close()
    assert all(part.closed for part in parts.values())


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'cameras.left.model': 'raer'}, 'cameras.left.model: no model is called "raer" — did you'),
        ({'model_names': []}, 'no model is called "rear": model_names is empty'),
        ({'models.rear.path': ''}, 'models.rear.path: expected an ONNX file'),
        ({'models.raer.path': 'x', 'model_names': ['raer', 'rear']}, None),
        ({'models.rear.nms_iuo': 0.5}, 'did you mean "models.rear.nms_iou"'),
        (
            {'lanes.cpu0.backend': 'tensorrt', 'lanes.cpu0.device': 'cuda:0',
             'lanes.cpu0.model': 'x.onnx'},
            'lanes.cpu0.model: expected none where cameras have models',
        ),
    ],
)  # fmt: skip
def test_what_contradicts_itself_is_refused(
    given: dict[str, Any], changes: dict[str, Any], message: str | None
) -> None:
    flat = {**given, **changes}
    if message is None:
        used = Config.from_parameters(flat).used_models
        assert list(used) == ['', 'rear'], 'what no camera has is not loaded'
        return
    with pytest.raises(ConfigError) as error:
        Config.from_parameters(flat)
    assert message in str(error.value)


def test_problems_name_the_parameter_of_the_model(given: dict[str, Any]) -> None:
    config = Config.from_parameters({**given, 'models.rear.classes': ['kreb']})
    with pytest.raises(ConfigError, match=r'models\.rear\.classes: .*did you mean "kerb"'):
        load_models(config)
    config = Config.from_parameters({**given, 'models.rear.path': 'yolox_nan'})
    with pytest.raises(ConfigError, match=r'models\.rear\.path: .*"yolox_nano"'):
        load_models(config)


def test_a_number_of_a_class_is_that_in_all_results(given: dict[str, Any]) -> None:
    numbers = {
        'models.rear.classes': ['3', '0'],
        'models.rear.class_thresholds': ['3=0.7'],
    }
    models = load_models(Config.from_parameters({**given, **numbers}))
    rules = models.by_name['rear'].rules
    assert rules.names == ['', 'kerb', 'car'], 'not the third of its own'
    assert rules.scores.tolist() == pytest.approx([np.inf, 0.7, 0.4])
    with pytest.raises(ConfigError, match=r'models\.rear\.classes: there is no class "2"'):
        load_models(Config.from_parameters({**given, 'models.rear.classes': ['2']}))


def test_a_measured_profile_knows_every_model(given: dict[str, Any], tmp_path: Path) -> None:
    vehicle, profile = tmp_path / 'v.param.yaml', tmp_path / 'p.yaml'
    vehicle.write_text(yaml.safe_dump({'/**': {'ros__parameters': given}}))
    arguments = ['--vehicle', str(vehicle)]
    measured = ['--out', str(profile), '--runs', '2', '--size', '64', '48']
    assert main(['profile', *arguments, *measured]) == 0
    lanes = load_profile(str(profile)).lanes
    assert {name: (len(own.cost_ms), list(own.models)) for name, own in lanes.items()} == {
        'cpu0': (2, ['rear']),
        'cpu1': (1, ['rear']),
    }
    simulated = {'profile': str(profile)} | {f'lanes.cpu{i}.backend': 'simulated' for i in (0, 1)}
    config = Config.from_parameters({**given, **simulated})
    assert len(lane_specs(config, load_models(config))) == 2
    content = yaml.safe_load(profile.read_text())
    for lane in content['lanes'].values():
        del lane['models']
    profile.write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigError, match=r'no times of the model "rear" on lane cpu0.*profile'):
        lane_specs(config, load_models(config))


def test_a_plan_estimates_a_model_that_was_not_measured() -> None:
    given = {
        'camera_names': ['front', 'rear'], 'lane_names': ['gpu'], 'model_names': ['small'],
        'lanes.gpu.device': 'cuda:0', 'lanes.gpu.backend': 'simulated',
        'models.small.path': 'edge_n', 'cameras.rear.model': 'small',
    }  # fmt: skip
    profile, further = with_models(load_profile('orin_agx_maxn'), Config.from_parameters(given))
    gpu, factor = profile.lanes['gpu'], further['small']['estimated_lanes']['gpu']['factor']
    assert 0 < factor < 1
    assert gpu.cost_ns(1, model='small') == pytest.approx(factor * gpu.cost_ns(1), rel=1e-3)
    assert further['small']['measured_with'] == profile.measured_with.model


def test_a_plan_keeps_times_that_were_measured() -> None:
    given = {
        'camera_names': ['front', 'rear'], 'lane_names': ['gpu', 'dla0'], 'model_names': ['small'],
        'lanes.gpu.device': 'cuda:0', 'lanes.gpu.backend': 'simulated',
        'lanes.dla0.device': 'dla:0', 'lanes.dla0.backend': 'simulated',
        'models.small.path': 'edge_n', 'cameras.rear.model': 'small',
    }  # fmt: skip
    known = load_profile('orin_agx_maxn')
    gpu = replace(known.lanes['gpu'], models={'small': {1: 123.0}})
    known = replace(known, lanes={**known.lanes, 'gpu': gpu})
    profile, further = with_models(known, Config.from_parameters(given))
    assert profile.lanes['gpu'].models == {'small': {1: 123.0}}
    assert profile.lanes['dla0'].models['small'][1] < known.lanes['dla0'].cost_ms[1]
    assert 'gpu' not in further['small']['estimated_lanes']
    assert 'dla0' in further['small']['estimated_lanes']


def test_drives_are_run_with_one_model(given: dict[str, Any]) -> None:
    config = Config.from_parameters(given)
    with pytest.raises(ConfigError, match=r'cameras\.left\.model: drives are run with one model'):
        job_of(config.model, config, device='cpu', backend='onnxruntime')
