"""The packaged vehicle files: right, complete, and one vehicle's cameras in all of them."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from yolox_trt_ros.core.config import Config
from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.parameters import table
from yolox_trt_ros.ros.dds import settings
from yolox_trt_ros.schedule.pipeline import PipelineOptions
from yolox_trt_ros.sim.world.dataset import FIRST_SEED
from yolox_trt_ros.vehicle_files import chosen_model, load_vehicle, vehicle_parameters

ROOT = Path(__file__).resolve().parents[1]
VEHICLES = ROOT / 'config' / 'vehicles'
NAMES = ('orin_8cam', 'desktop_8cam', 'desktop_2gpu_8cam', 'laptop_8cam', 'autoware_8cam')
LANES = {
    'orin_8cam': {'gpu': 'cuda:0', 'dla0': 'dla:0', 'dla1': 'dla:1'},
    'desktop_8cam': {'gpu': 'cuda:0'},
    'desktop_2gpu_8cam': {'gpu0': 'cuda:0', 'gpu1': 'cuda:1'},
    'laptop_8cam': {'cpu0': 'cpu', 'cpu1': 'cpu'},
    'autoware_8cam': {'gpu': 'cuda:0'},
}
# What a camera's part of a vehicle file always says; the rest may stay at its default.
CAMERA_KEYS = {'topic', 'transport', 'rate_hz', 'priority', 'deadline_ms', 'timeout_ms'} | {
    'rig.width', 'rig.height', 'rig.hfov_deg', 'rig.x_m', 'rig.y_m', 'rig.z_m', 'rig.yaw_deg',
    'rig.pitch_deg', 'sim.jitter_ms', 'width', 'height',
}  # fmt: skip


def parameters(name: str) -> dict[str, Any]:
    return vehicle_parameters(VEHICLES / f'{name}.param.yaml')


def test_every_packaged_file_is_tested() -> None:
    assert {f.name.removesuffix('.param.yaml') for f in VEHICLES.iterdir()} == set(NAMES)


@pytest.mark.parametrize('name', NAMES)
def test_file_is_valid(name: str) -> None:
    config = load_vehicle(name)
    assert len(config.cameras) == 8
    assert {lane.name: lane.device for lane in config.lanes} == LANES[name]


@pytest.mark.parametrize('name', NAMES)
def test_packaged_models_have_never_seen_the_world_of_the_file(name: str) -> None:
    seed = load_vehicle(name).sim.seed
    splits = [range(first, first + 100_000) for first in FIRST_SEED.values()]
    assert not any(seed in split for split in splits)


def test_detectors_are_measured_with_images_as_large_as_the_cameras() -> None:
    config = load_vehicle('desktop_8cam')
    options = PipelineOptions.of(config)
    assert (options.warmup_width, options.warmup_height) == (1920, 1280)
    assert options.build_timeout_s == config.build_timeout_s and not options.lockstep
    unsized = replace(config, cameras=[replace(c, width=0) for c in config.cameras])
    assert PipelineOptions.of(unsized).warmup_width == PipelineOptions().warmup_width


@pytest.mark.parametrize('name', NAMES)
def test_file_is_complete(name: str) -> None:
    flat = parameters(name)
    shared = {p.name for p in table(Config) if '<name>' not in p.name}
    missing = shared - set(flat)
    assert not missing, f'{name} does not mention {sorted(missing)}'
    for camera in flat['camera_names']:
        prefix = f'cameras.{camera}.'
        keys = {key.removeprefix(prefix) for key in flat if key.startswith(prefix)}
        assert keys >= CAMERA_KEYS, f'{camera} of {name} lacks {sorted(CAMERA_KEYS - keys)}'


@pytest.mark.parametrize('name', NAMES)
def test_file_says_nothing_twice_and_floats_as_floats(name: str) -> None:
    class Strict(yaml.SafeLoader):
        """Refuses a key that is given twice, which YAML readers silently accept."""

    def mapping(loader: Strict, node: yaml.MappingNode) -> dict[Any, Any]:
        keys = [loader.construct_object(key) for key, _ in node.value]
        assert len(keys) == len(set(keys)), f'{name}: {keys}'
        return loader.construct_mapping(node, deep=True)

    Strict.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)
    yaml.load((VEHICLES / f'{name}.param.yaml').read_text(), Strict)
    kinds = {p.name.rpartition('.')[2]: p.kind for p in table(Config)}
    for key, value in parameters(name).items():
        # ROS distinguishes integers from floats, and `ros2 param set` then insists on the type.
        assert not (kinds.get(key.rpartition('.')[2]) is float and isinstance(value, int)), key


def test_all_files_describe_one_vehicle() -> None:
    poses = []
    for name in NAMES:
        rigs = {c.name: asdict(c.rig) for c in load_vehicle(name).cameras}
        for rig in rigs.values():
            del rig['width'], rig['height']
        poses.append(rigs)
    assert poses[0] == poses[1] == poses[2]


@pytest.mark.parametrize('name', NAMES)
def test_file_fits_the_dds_profile(name: str) -> None:
    environ = settings.environment('auto', {})
    config = load_vehicle(name)
    free = ROOT  # a disk with room, so that only the profile is judged
    assert settings.shortcomings(config, environ, shared_memory=free) == []


@pytest.mark.parametrize('reach', ['SUBNET', 'LOCALHOST'])
def test_profile_file_is_what_fast_dds_expects(reach: str) -> None:
    environ = settings.environment('auto', {settings.RANGE_VARIABLE: reach})
    file = environ.pop(settings.FAST_DDS_3_VARIABLE)
    assert environ == ({} if reach == 'SUBNET' else {settings.RANGE_VARIABLE: 'SYSTEM_DEFAULT'})
    assert ('loopback' in file) == (reach == 'LOCALHOST')
    space = '{http://www.eprosima.com/XMLSchemas/fastRTPS_Profiles}'
    root = ElementTree.parse(file).getroot()
    assert root.tag == f'{space}profiles'
    defined = [
        e.findtext(f'{space}transport_id') for e in root.iter(f'{space}transport_descriptor')
    ]
    used = [e.text for e in root.find(f'.//{space}userTransports') or ()]
    assert defined == used
    assert settings.transport({settings.FAST_DDS_3_VARIABLE: file}).segment == 256 << 20


@pytest.mark.parametrize(
    ('environ', 'variable'),
    [
        ({}, 'FASTDDS_DEFAULT_PROFILES_FILE'),
        ({'ROS_DISTRO': 'kilted'}, 'FASTDDS_DEFAULT_PROFILES_FILE'),
        ({'ROS_DISTRO': 'humble'}, 'FASTRTPS_DEFAULT_PROFILES_FILE'),
        ({'RMW_IMPLEMENTATION': 'rmw_cyclonedds_cpp'}, 'CYCLONEDDS_URI'),
        ({'RMW_IMPLEMENTATION': 'rmw_zenoh_cpp'}, ''),
        (
            {'RMW_IMPLEMENTATION': 'rmw_cyclonedds_cpp', 'ROS_LOCALHOST_ONLY': '1'},
            'CYCLONEDDS_URI',
        ),
    ],
)
def test_environment_follows_the_middleware(environ: dict[str, str], variable: str) -> None:
    found = settings.environment('auto', environ)
    assert list(found) == [variable] * bool(variable)
    for value in found.values():
        assert Path(value.removeprefix('file://')).is_file()
    assert settings.environment('none', environ) == {}


@pytest.mark.parametrize(
    ('package', 'variable'),
    [('fastrtps', settings.FAST_DDS_2_VARIABLE), ('fastdds', settings.FAST_DDS_3_VARIABLE)],
)
def test_environment_follows_the_middleware_where_no_distribution_is_named(
    package: str, variable: str, tmp_path: Path
) -> None:
    (tmp_path / 'share' / package).mkdir(parents=True)
    assert list(settings.environment('auto', {'AMENT_PREFIX_PATH': f'/none:{tmp_path}'})) == [
        variable
    ]


def test_environment_leaves_the_users_own_profile_alone() -> None:
    assert settings.environment('auto', {'FASTRTPS_DEFAULT_PROFILES_FILE': '/mine.xml'}) == {}
    assert settings.environment('auto', {'FASTDDS_DEFAULT_PROFILES_FILE': '/mine.xml'}) == {}


def test_environment_refuses_what_is_no_file() -> None:
    with pytest.raises(ConfigError, match='does not exist'):
        settings.environment('autt', {})
    with pytest.raises(ConfigError, match='takes no profile file'):
        settings.environment('mine.xml', {'RMW_IMPLEMENTATION': 'rmw_zenoh_cpp'})


def test_shortcomings_name_the_remedy(tmp_path: Path) -> None:
    config = load_vehicle('desktop_8cam')
    (message,) = settings.shortcomings(config, {}, shared_memory=tmp_path)
    assert 'dds:=auto' in message
    assert 'FASTDDS_DEFAULT_PROFILES_FILE' in message
    environ = settings.environment('auto', {})
    (message,) = settings.shortcomings(config, environ, shared_memory=tmp_path / 'none')
    assert 'does not exist' in message
    buffer = tmp_path / 'rmem_max'
    buffer.write_text('212992\n')
    cyclone = {'RMW_IMPLEMENTATION': 'rmw_cyclonedds_cpp'}
    (message,) = settings.shortcomings(config, cyclone, socket_buffer=buffer)
    assert 'sysctl -w net.core.rmem_max' in message
    buffer.write_text('67108864\n')
    assert settings.shortcomings(config, cyclone, socket_buffer=buffer) == []


def test_small_shared_memory_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Docker:
        """The 64 MB that a container gets by default."""

        f_bavail, f_frsize = 16384, 4096

    monkeypatch.setattr(settings.os, 'statvfs', lambda path: Docker)
    config = load_vehicle('laptop_8cam')
    (message,) = settings.shortcomings(
        config, settings.environment('auto', {}), shared_memory=tmp_path
    )
    assert '64.0 MiB left' in message
    assert '--shm-size' in message


@pytest.mark.parametrize(
    ('said', 'size', 'least'),
    [
        ({'encoding': 'nv12', 'width': 1920, 'height': 1080}, 3_110_400, 3_110_400),
        ({'encoding': 'mono16', 'width': 640, 'height': 512}, 655_360, 655_360),
        ({'encoding': 'bgr8'}, 0, 921_600),
        ({'width': 1920, 'height': 1080}, 0, 921_600),
        ({'rig.width': 1920, 'sim.width': 1920, 'sim.encoding': 'bgr8'}, 0, 921_600),
        ({'transport': 'compressed', 'encoding': 'png', 'width': 1920, 'height': 1080}, 0, 0),
    ],
)
def test_the_camera_says_how_large_its_images_are(
    said: dict[str, Any], size: int, least: int
) -> None:
    flat = {'camera_names': ['a'], 'lane_names': ['b']}
    config = Config.from_parameters(flat | {f'cameras.a.{k}': v for k, v in said.items()})
    (camera,) = config.cameras
    assert (settings.image_bytes(camera), settings.least_bytes(camera)) == (size, least)
    assert settings.unsized(config) == ([] if size or not least else ['a'])


def test_damaged_profile_is_reported(tmp_path: Path) -> None:
    file = tmp_path / 'profile.xml'
    file.write_text('<profiles>')
    with pytest.raises(ConfigError, match='cannot read the Fast DDS profile'):
        settings.transport({'FASTDDS_DEFAULT_PROFILES_FILE': str(file)})


def test_command_line_takes_the_place_of_a_vehicles_model() -> None:
    config = load_vehicle('desktop_8cam')
    assert chosen_model(config).path == config.model.path == 'edge_s'
    other = chosen_model(config, 'edge_n', 'names.txt')
    assert (other.path, other.labels) == ('edge_n', 'names.txt')
    assert other.score_threshold == config.model.score_threshold
