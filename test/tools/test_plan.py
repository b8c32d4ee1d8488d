"""The plan and profile tools as a user calls them."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET

import cv2
import pytest

from yolox_trt_ros.__main__ import main
from yolox_trt_ros.core.config import LaneConfig
from yolox_trt_ros.core.profile import LaneProfile
from yolox_trt_ros.detect.backends.simulated import SimulatedDetector, SimulatedMachine
from yolox_trt_ros.schedule.lane import LaneSpec
from yolox_trt_ros.schedule.warmup import warmup_frame
from yolox_trt_ros.tools.profile import Worker, measure_lane
from yolox_trt_ros.vehicle_files import load_profile


@pytest.fixture(scope='module')
def planned(tmp_path_factory):
    folder = tmp_path_factory.mktemp('plan')
    arguments = ['plan', '--vehicle', 'orin_8cam', '--profile', 'orin_agx_maxn', '--duration', '4']
    outputs = ['--json', str(folder / 'plan.json'), '--gantt', str(folder / 'plan.png')]
    assert main([*arguments, *outputs]) == 0
    return folder


def test_the_plan_holds_what_it_promises(planned):
    plan = json.loads((planned / 'plan.json').read_text())
    assert len(plan['cameras']) == 8 and set(plan['lanes']) == {'gpu', 'dla0', 'dla1'}
    assert 0.97 <= plan['max_uniform_rate_hz'] / plan['fluid_bound_hz'] <= 1.01
    for camera in plan['cameras'].values():
        assert camera['results_hz'] == pytest.approx(camera['rate_hz'], rel=0.05)
        latency = camera['latency_ms']
        assert 0 < latency['p50'] <= latency['p95'] <= latency['p99'] <= latency['max'] < 100
        assert camera['max_rate_hz'] > camera['rate_hz']
        assert sum(camera['ran_on'].values()) == pytest.approx(1.0, abs=0.01)
    assert set(plan['without_lane']) == set(plan['lanes'])


def test_the_gantt_is_a_picture_with_the_cameras_colours(planned):
    image = cv2.imread(str(planned / 'plan.png'))
    assert image.shape[1] == 1400 and len({tuple(p) for p in image[::4, ::4].reshape(-1, 3)}) > 8


def test_the_gantt_can_be_svg_and_marks_deadlines(tmp_path):
    path = tmp_path / 'plan.svg'
    arguments = ['plan', '--vehicle', 'orin_8cam', '--profile', 'orin_agx_maxn', '--duration', '2']
    assert main([*arguments, '--gantt', str(path)]) == 0
    texts = {element.text for element in ET.parse(path).iter() if element.tag.endswith('text')}
    assert {'arrivals', 'gpu', 'dla0', 'dla1', 'deadlines', 'front_wide'} <= texts


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--profile', 'orin'], 'engine profile "orin" does not exist'),
        ([], 'names no engine profile'),
        (['--vehicle', 'laptop_8cam', '--profile', 'orin_agx_maxn'], 'has no lane "cpu0"'),
        (['--profile', 'orin_agx_maxn', '--duration', '1'], 'more than 1 s'),
        (['--profile', 'orin_agx_maxn', '--gantt', 'x.bmp', '--duration', '2'], '.png or .svg'),
    ],
)
def test_wrong_arguments_are_reported(arguments, message, capsys):
    assert main(['plan', '--vehicle', 'orin_8cam', *arguments]) == 1
    assert message in capsys.readouterr().err


def test_the_packaged_profile_is_readable():
    profile = load_profile('orin_agx_maxn')
    assert profile.lanes['gpu'].cost_ms[1] == 4.1 and len(profile.sources) >= 3


def test_a_measured_profile_is_that_of_the_machine():
    figures = LaneProfile('cpu', {1: 4.0, 2: 6.0}, (1.0, 1.5))
    machine = SimulatedMachine({'a': figures, 'b': figures})
    workers = [
        Worker(
            LaneSpec(LaneConfig(name, max_batch=2), lambda: None),
            SimulatedDetector(machine, name, 2),
            warmup_frame(8, 8),
        )
        for name in 'ab'
    ]
    measured = measure_lane(workers[0], workers[1:], runs=15)
    # Upper limits are left open: a loaded machine may take any time to wake a thread up.
    assert measured.cost_ms[1] >= 4.0 and measured.cost_ms[2] >= 6.0
    assert measured.slowdown[0] == 1.0 and len(measured.slowdown) == 2
