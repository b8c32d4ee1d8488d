"""The JSON Schema of a vehicle file: packaged files fit, a wrong one is refused as by the node."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.vehicle_files import SCHEMA, load_vehicle, vehicle_schema

jsonschema = pytest.importorskip('jsonschema')

CONFIG = Path(__file__).resolve().parents[1] / 'config'
FILES = sorted((CONFIG / 'vehicles').glob('*.yaml'))
VALIDATOR = jsonschema.Draft7Validator(vehicle_schema())


@pytest.mark.parametrize('file', FILES, ids=lambda file: file.name)
def test_packaged_file_names_the_schema_and_fits_it(file: Path) -> None:
    first = file.read_text().splitlines()[0]
    assert first == f'# yaml-language-server: $schema=../{SCHEMA}'
    assert (file.parent / first.partition('=')[2]).resolve() == CONFIG / SCHEMA
    assert list(VALIDATOR.iter_errors(yaml.safe_load(file.read_text()))) == []


def wrong(path: str, value: Any) -> dict[str, Any]:
    content = yaml.safe_load((CONFIG / 'vehicles' / 'laptop_8cam.param.yaml').read_text())
    *groups, last = path.split('.')
    group = content['/**']['ros__parameters']
    for name in groups:
        group = group.setdefault(name, {})
    group[last] = value
    return content


@pytest.mark.parametrize(
    ('path', 'value'),
    [
        ('model.score_treshold', 0.3),
        ('model.score_threshold', 1.3),
        ('model.score_threshold', '0.3'),
        ('model.antialias', 'no'),
        ('cameras.front.transport', 'jpeg'),
        ('cameras.front.rig.width', 15),
        ('cameras.front.rig.width', 960.5),
        ('cameras.1st', {'topic': 'x'}),
        ('lanes.cpu0.threads', -1),
        ('camera_names', 'front'),
        ('camera_names', ['front', 'front']),
        ('camera_names', ['front-left']),
        ('outputs', ['detection']),
    ],
)
def test_a_wrong_file_is_refused_as_the_node_refuses_it(
    path: str, value: Any, tmp_path: Path
) -> None:
    content = wrong(path, value)
    file = tmp_path / 'car.param.yaml'
    file.write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigError, match=f'^{path.rpartition(".")[0] or path}'):
        load_vehicle(str(file))
    assert not VALIDATOR.is_valid(content)


@pytest.mark.parametrize(
    ('content', 'good'),
    [
        ({'/detector': {'ros__parameters': {'use_sim_time': True}}}, True),
        ({'/car/detector': {'ros__parameters': {'qos_overrides': {'/a': {}}}}}, True),
        ({'car': {'detector': {'ros__parameters': {'lockstep': True}}}}, True),
        ({'car': {'detector': {'ros__parameters': {'lockstp': True}}}}, False),
        ({'/**': {'ros__parameters': {'lockstp': True}}}, False),
        ({'/camera_driver': {'ros__parameters': {'exposure': 3}}}, True),
        ({'/camera_driver': 3}, False),
        ({'/**': {'ros__parameters': {'model.score_threshold': 0.5}}}, True),
        ({}, False),
    ],
)
def test_sections_are_read_as_ros_reads_them(content: dict[str, Any], good: bool) -> None:
    assert VALIDATOR.is_valid(content) == good
