"""The model tool, and plans for a model that a profile was not measured with."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import yaml

from yolox_trt_ros.__main__ import main
from yolox_trt_ros.cli.model_costs import for_model
from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.profile import LaneProfile, Profile, Workload
from yolox_trt_ros.tools import plan as plan_tool
from yolox_trt_ros.vehicle_files import load_profile

ONE_CAMERA = """\
/**:
  ros__parameters:
    lane_names: [dla0]
    lanes:
      dla0: {device: 'dla:0', backend: tensorrt}
    camera_names: [front]
    cameras: {front: {topic: /front, rate_hz: 10.0}}
"""


def test_a_packaged_model_layer_by_layer_and_in_all(tmp_path, capsys):
    path = tmp_path / 'm.json'
    options = ['--published', '--profile', 'orin_agx_maxn', '--json', str(path)]
    assert main(['model', 'edge_s', *options]) == 0
    shown, report = capsys.readouterr().out, json.loads(path.read_text())
    assert sum(layer['flops'] for layer in report['layers']) / 1e9 == report['gflops']
    assert report['gflops'] == pytest.approx(37.8, abs=0.1)  # its model card
    layers = sum(layer['activation_bytes'] for layer in report['layers'])
    assert report['peak_activation_bytes'] < layers < report['activation_bytes']  # concats, adds
    assert '37.78 GFLOPs' in shown and '8.47 M' in shown
    # Each lane has a time, its efficiency and how far such estimates are off.
    for lane, tops in (('orin_gpu', 85), ('xavier_dla', 5)):
        row = report['lanes'][lane]
        assert row['efficiency'] == pytest.approx(report['gflops'] / row['ms'] / tops, rel=1e-3)
        assert row['off'] in shown and row['error_on_published']['left_out'][0] < 0
    assert {'gpu', 'dla0', 'dla1'} == set(report['profile']['lanes'])
    # The figure that does not fit is shown with the others.
    assert max(row['error'] for row in report['published']) > 0.5
    assert 'contradicts' in shown and 'TIER IV' in shown and 'cuDLA-samples' in shown
    assert len(report['dla']['forces_gpu']) == 5 and 'optimize MODEL' in shown


def test_fp16_takes_twice_the_memory_and_another_size_other_work(tmp_path):
    def report(*options):
        path = tmp_path / 'm.json'
        assert main(['model', 'edge_n', *options, '--json', str(path)]) == 0
        return json.loads(path.read_text())

    int8, fp16 = report(), report('--precision', 'fp16')
    assert fp16['activation_bytes'] == 2 * int8['activation_bytes']
    assert fp16['lanes']['orin_gpu']['ms'] > int8['lanes']['orin_gpu']['ms']
    assert 'UNKNOWN' in int8['lanes']['orin_gpu']['off']  # far smaller than any published one
    height, width = (2 * side for side in int8['layers'][0]['shape'][2:])
    twice = report('--size', f'{2 * width}x{height}')
    assert twice['gflops'] == pytest.approx(2 * int8['gflops'], rel=0.01)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['nothing.onnx'], 'does not exist'),
        (['edge_n', '--size', '640'], '--size: expected width x height'),
        (['edge_n', '--profile', 'orin'], 'engine profile "orin" does not exist'),
    ],
)
def test_wrong_arguments_of_model_are_reported(arguments, message, capsys):
    assert main(['model', *arguments]) == 1
    assert message in capsys.readouterr().err


def test_a_plan_for_a_model_that_the_profile_is_not_of(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(plan_tool, 'SEARCH_S', 1.5)  # the highest rates are not looked at
    monkeypatch.setattr(plan_tool, 'SEARCH_CALLS', 10)
    vehicle, path = tmp_path / 'v.param.yaml', tmp_path / 'plan.json'
    vehicle.write_text(ONE_CAMERA)
    arguments = ['--vehicle', str(vehicle), '--profile', 'orin_agx_maxn', '--duration', '1.5']
    assert main(['plan', *arguments, '--model', 'edge_s', '--json', str(path)]) == 0
    shown, plan = capsys.readouterr().out, json.loads(path.read_text())
    assert 'edge_s.onnx: ESTIMATED, the profile was measured with YOLOX-S+-Opt 960x960' in shown
    about = plan['model']['estimated_lanes']
    assert 0.3 < about['dla0']['factor'] < about['gpu']['factor'] < 0.6
    assert plan['lanes']['dla0']['cost_ms'] == pytest.approx(
        11.69 * about['dla0']['factor'], abs=2e-3
    )
    assert about['gpu']['off'] in ' '.join(shown.split())


def test_a_profile_of_the_model_itself_is_taken_as_it_is():
    profile = load_profile('orin_agx_maxn')
    assert for_model(profile, profile.measured_with) == (profile, {})


def test_unknown_machines_are_in_proportion_and_unknown_models_are_refused():
    cpu = LaneProfile('cpu', {1: 10.0, 2: 16.0}, energy_mj=5.0)
    profile = Profile('mine', '', (), {'cpu0': cpu}, measured_with=Workload('a', 4.0, 5.0, 0.0))
    scaled, estimates = for_model(profile, Workload('b', 8.0, 8.0, 1.0))
    assert scaled.lanes['cpu0'].cost_ms == {1: 20.0, 2: 32.0}
    assert scaled.lanes['cpu0'].energy_mj == 10.0 and estimates['cpu0'].error is None
    with pytest.raises(ConfigError, match='does not say which model'):
        for_model(replace(profile, measured_with=None), Workload('b', 8.0, 8.0, 1.0))


def test_what_a_profile_was_measured_with_is_kept_and_checked():
    profile = load_profile('orin_agx_maxn')
    text = yaml.safe_dump(profile.to_dict())
    assert Profile.from_dict(yaml.safe_load(text), 'p') == profile
    content = profile.to_dict()
    with pytest.raises(ConfigError, match='p: machine: expected orin or xavier, got "nano"'):
        Profile.from_dict({**content, 'machine': 'nano'}, 'p')
    with pytest.raises(ConfigError, match=r'measured_with\.gflops: expected numbers'):
        Profile.from_dict({**content, 'measured_with': {'model': 'a', 'gflops': -1}}, 'p')
