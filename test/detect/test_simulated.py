"""Simulated lanes on the real clock; only lower bounds on time, which no busy machine can break."""

from __future__ import annotations

import threading

import pytest
from tiny_models import write_yolox

from yolox_trt_ros.compose import lane_specs, load_model
from yolox_trt_ros.core.config import Config, ModelConfig
from yolox_trt_ros.core.detector import Detected
from yolox_trt_ros.core.errors import ConfigError, LaneError
from yolox_trt_ros.core.profile import LaneProfile
from yolox_trt_ros.core.resources import find_resource
from yolox_trt_ros.detect.backends.simulated import SimulatedDetector, SimulatedMachine
from yolox_trt_ros.schedule.warmup import warmup_frame
from yolox_trt_ros.vehicle_files import vehicle_parameters

FRAME = warmup_frame(8, 8)


def test_a_call_takes_its_time_and_finds_nothing():
    machine = SimulatedMachine({'gpu': LaneProfile('cuda:0', {1: 3.0, 4: 9.0})})
    detector = SimulatedDetector(machine, 'gpu', 4)
    begin_ns = machine.clock()
    results = detector.submit([FRAME] * 4).wait()
    assert machine.clock() - begin_ns >= 9_000_000
    assert len(results) == 4
    for result in results:
        assert isinstance(result, Detected) and len(result.detections) == 0
        assert begin_ns <= result.preprocessed_ns < result.inferred_ns == result.decoded_ns
    with pytest.raises(ValueError, match='expected 1 to 4 places, got 5'):
        detector.submit([FRAME] * 5)


def test_a_call_begins_when_the_one_before_is_done():
    machine = SimulatedMachine({'gpu': LaneProfile('cuda:0', {1: 5.0})})
    detector = SimulatedDetector(machine, 'gpu', 1)
    tickets = [detector.submit([FRAME]) for _ in range(2)]
    (first,), (second,) = (ticket.wait() for ticket in tickets)
    assert isinstance(first, Detected) and isinstance(second, Detected)
    assert second.begun_ns - first.begun_ns >= 5_000_000
    assert second.inferred_ns - second.begun_ns >= 5_000_000


def test_lanes_slow_each_other_down():
    lane = LaneProfile('x', {1: 20.0}, (1.0, 2.0))
    machine = SimulatedMachine({'a': lane, 'b': lane})
    begin_ns = machine.clock()
    tickets = [SimulatedDetector(machine, name, 1).submit([FRAME]) for name in 'ab']
    for ticket in tickets:
        ticket.wait()
    assert machine.clock() - begin_ns >= 39_000_000


def test_closing_a_lane_ends_its_calls():
    machine = SimulatedMachine({'gpu': LaneProfile('cuda:0', {1: 60_000.0})})
    detector = SimulatedDetector(machine, 'gpu', 1)
    ticket = detector.submit([FRAME])
    threading.Timer(0.05, detector.close).start()
    with pytest.raises(LaneError, match='was closed'):
        ticket.wait()


def simulated_vehicle(profile: str) -> Config:
    path = find_resource('config/vehicles', 'orin_8cam', '.param.yaml')
    parameters = vehicle_parameters(path) | {'profile': profile}
    for name in ('gpu', 'dla0', 'dla1'):
        parameters[f'lanes.{name}.backend'] = 'simulated'
    return Config.from_parameters(parameters)


def test_a_vehicle_with_simulated_lanes_needs_a_profile(tmp_path):
    model = load_model(ModelConfig(path=str(write_yolox(tmp_path / 'm.onnx'))))
    specs = lane_specs(simulated_vehicle('orin_agx_maxn'), model)
    assert [spec.factory().max_batch for spec in specs] == [4, 1, 1]
    with pytest.raises(ConfigError, match=r'needs an engine profile; packaged ones: .*orin_agx'):
        lane_specs(simulated_vehicle(''), model)
