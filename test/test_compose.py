"""From a vehicle's YAML to detectors."""

from dataclasses import replace
from pathlib import Path

import pytest
from tiny_models import write_yolox

from yolox_trt_ros.compose import available_cores, lane_specs, load_model, make_detector
from yolox_trt_ros.core.config import Config, LaneConfig, ModelConfig
from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.resources import resource_names
from yolox_trt_ros.vehicle_files import VEHICLE_SUFFIX, load_vehicle, vehicle_parameters

VEHICLES = resource_names('config/vehicles', VEHICLE_SUFFIX)


@pytest.mark.parametrize('name', VEHICLES)
def test_packaged_vehicle(name: str) -> None:
    config = load_vehicle(name)
    assert len(config.cameras) == 8
    assert config.lanes


def test_nested_and_dotted_names_are_the_same(tmp_path: Path) -> None:
    file = tmp_path / 'v.param.yaml'
    file.write_text("""
/**:
  ros__parameters:
    camera_names: [a]
    lane_names: [cpu0]
    model: {nms_iou: 0.5}
    cameras.a.priority: 2.0
    cameras:
      a: {topic: /x}
""")
    flat = vehicle_parameters(file)
    assert flat['model.nms_iou'] == 0.5
    assert flat['cameras.a.priority'] == 2.0
    assert load_vehicle(str(file)).cameras[0].image_topic == '/x'


BAD_FILES = {
    'not YAML': (b'a: [', 'expected a ROS parameter file'),
    'another key': (b'detector: {ros__parameters: {}}', 'expected a ROS parameter file'),
    'a list': (b'- a', 'expected a ROS parameter file'),
    'empty': (b'', 'expected a ROS parameter file'),
    'no parameters': (b'/**: {ros__parameters: }', 'expected a ROS parameter file'),
    'not text': (b'\xff\xfe\x00', 'expected a ROS parameter file'),
    'wrong value': (
        b'/**: {ros__parameters: {camera_names: [a], lane_names: [b], profil: x}}',
        'profil: no such parameter',
    ),
}


@pytest.mark.parametrize(('content', 'message'), BAD_FILES.values(), ids=BAD_FILES)
def test_bad_vehicle_file(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / 'v.yaml'
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        load_vehicle(str(file))


def test_missing_vehicle_names_those_there_are() -> None:
    with pytest.raises(ConfigError, match=f'"no_such" does not exist.*{VEHICLES[0]}'):
        load_vehicle('no_such')


def test_cpu_lanes_share_the_cores(tmp_path: Path) -> None:
    write_yolox(tmp_path / 'm.onnx')
    config = Config.from_parameters(
        {
            'camera_names': ['a'],
            'lane_names': ['x', 'y', 'z'],
            'lanes.z.threads': 7,
            'model.path': str(tmp_path / 'm.onnx'),
        }
    )
    specs = lane_specs(config, load_model(config.model))
    share = max(1, available_cores() // 3)
    assert [spec.config.threads for spec in specs] == [share, share, 7]
    specs[0].factory().close()


def test_antialiasing_is_a_parameter_of_the_model(tmp_path: Path) -> None:
    path = str(write_yolox(tmp_path / 'm.onnx'))
    assert not load_model(ModelConfig(path=path)).spec.input.antialias
    assert load_model(ModelConfig(path=path, antialias=True)).spec.input.antialias


def test_lane_that_nothing_runs(tmp_path: Path) -> None:
    model = load_model(ModelConfig(path=str(write_yolox(tmp_path / 'm.onnx'))))
    lane = replace(LaneConfig('far'), device='dla:0', backend='onnxruntime')
    with pytest.raises(ConfigError, match=r'lanes\.far\.backend: a dla lane needs'):
        make_detector(lane, model)
