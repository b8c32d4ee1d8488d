"""The plan and profile tools as a user calls them."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from dataclasses import replace

import cv2
import pytest

from yolox_trt_ros.__main__ import main
from yolox_trt_ros.cli.arrangement import phases_of, pinned
from yolox_trt_ros.cli.plan_figures import camera_stats, highest_sustained_hz, lane_utilisation
from yolox_trt_ros.core.config import LaneConfig
from yolox_trt_ros.core.profile import LaneProfile
from yolox_trt_ros.detect.backends.simulated import SimulatedDetector, SimulatedMachine
from yolox_trt_ros.schedule.lane import LaneSpec
from yolox_trt_ros.schedule.simulation import Scenario, Simulation
from yolox_trt_ros.schedule.warmup import warmup_frame
from yolox_trt_ros.tools.plan import draw, watts
from yolox_trt_ros.tools.profile import Worker, measure_lane
from yolox_trt_ros.vehicle_files import load_profile, load_vehicle


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


def test_a_published_arrangement_is_reproduced():
    """Four cameras on the GPU, two on each DLA, one trigger: one frame of all takes 22 to 24 ms."""
    config = load_vehicle('orin_8cam')
    cameras = pinned(config.cameras, config.lanes, '4,2,2')
    profile = load_profile('orin_agx_maxn').without_slowdown()
    phases = phases_of('together', 8)
    record = Simulation(Scenario(cameras, config.lanes, profile, 3.0, phases=phases)).run()
    assert 22 < max(camera.latency_ms[3] for camera in camera_stats(record).values()) < 24
    ran = {result.camera: {run.lane for run in record.runs if result.camera in run.cameras}
           for result in record.results}  # fmt: skip
    lanes = ['gpu'] * 4 + ['dla0'] * 2 + ['dla1'] * 2
    assert [ran[camera.name] for camera in cameras] == [{lane} for lane in lanes]


def test_one_trigger_is_worse_than_many_and_a_price_moves_frames_to_the_dlas(tmp_path):
    config = load_vehicle('orin_8cam')
    profile = load_profile('orin_agx_maxn')
    each_mj = {'gpu': 40.0, 'dla0': 10.0, 'dla1': 10.0}
    lanes = {n: replace(lane, energy_mj=each_mj[n]) for n, lane in profile.lanes.items()}
    profile = replace(profile, lanes=lanes)

    def planned(phases, gpu_price=1.0):
        lanes = [
            replace(lane, price=gpu_price if lane.name == 'gpu' else 1.0) for lane in config.lanes
        ]
        scenario = Scenario(config.cameras, lanes, profile, 3.0, phases=phases_of(phases, 8))
        record = Simulation(scenario).run()
        p95 = [camera.latency_ms[1] for camera in camera_stats(record).values()]
        return max(p95), lane_utilisation(record), watts(scenario, record)

    spread_ms, used, _ = planned('staggered')
    assert used['dla0'] == used['dla1'] == 0
    together_ms, _, _ = planned('together')
    assert together_ms > 1.5 * spread_ms
    _, used, cheap_w = planned('staggered', gpu_price=5.0)
    assert min(used['dla0'], used['dla1']) > 0.2
    assert cheap_w < 0.6 * planned('staggered')[2]


def test_a_camera_keeps_at_least_the_rate_that_it_runs_at():
    """Sustained rates are not monotone: a search from 0 may find none below the present one."""
    found = highest_sustained_hz(lambda rate_hz: rate_hz == 30.0, 100.0, low_hz=30.0)
    assert found == 30.0


def test_the_gantt_is_a_picture_with_the_cameras_colours(planned):
    image = cv2.imread(str(planned / 'plan.png'))
    assert image.shape[1] == 1400 and len({tuple(p) for p in image[::4, ::4].reshape(-1, 3)}) > 8


def test_the_gantt_can_be_svg_and_marks_deadlines(tmp_path):
    path = tmp_path / 'plan.svg'
    config, profile = load_vehicle('orin_8cam'), load_profile('orin_agx_maxn')
    record = Simulation(Scenario(config.cameras, config.lanes, profile, 2.5)).run()
    draw(path, record, config, profile)
    texts = {element.text for element in ET.parse(path).iter() if element.tag.endswith('text')}
    assert {'arrivals', 'gpu', 'dla0', 'dla1', 'deadlines', 'front_wide'} <= texts


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--profile', 'orin'], 'engine profile "orin" does not exist'),
        ([], 'a packaged one: orin_agx_maxn'),
        (['--profile', 'orin_agx_maxn', '--phases', '0,0.5'], '8 numbers from 0 to 1'),
        (['--profile', 'orin_agx_maxn', '--pin', '4,4'], 'add up to 8, one for each of gpu, dla0'),
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
            {'': warmup_frame(8, 8)},
        )
        for name in 'ab'
    ]
    measured = measure_lane(workers[0], workers[1:], runs=15)
    # Upper limits are left open: a loaded machine may take any time to wake a thread up.
    assert measured.cost_ms[1] >= 4.0 and measured.cost_ms[2] >= 6.0
    assert measured.slowdown[0] == 1.0 and len(measured.slowdown) == 2
