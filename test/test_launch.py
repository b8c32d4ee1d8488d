"""The launch files: what they declare, what they start, and that Ctrl-C ends it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.ros.dds import settings

# Not among the PyPI wheels of ROS 2; every ROS 2 installation has both.
REASON = 'launch and launch_ros are not installed (apt install ros-<distro>-launch-ros)'
pytest.importorskip('launch', reason=REASON)
pytest.importorskip('launch_ros', reason=REASON)

from launch import LaunchContext, LaunchDescription  # noqa: E402
from launch.actions import DeclareLaunchArgument, ExecuteProcess  # noqa: E402
from launch.launch_description_sources import (  # noqa: E402
    get_launch_description_from_python_launch_file,
)
from launch_ros.actions import Node  # noqa: E402
from launch_ros.utilities import evaluate_parameters  # noqa: E402

FOLDER = Path(__file__).resolve().parents[1] / 'launch'
FILES = ('orin_8cam', 'sim_8cam', 'replay', 'autoware_8cam', 'cameras_8cam')
ASKED_FOR = {
    'vehicle', 'model', 'labels', 'namespace', 'use_sim_time', 'autostart', 'overlay',
    'log_level', 'dds', 'ingest', 'rviz', 'lockstep',
}  # fmt: skip


def description(name: str) -> LaunchDescription:
    return get_launch_description_from_python_launch_file(str(FOLDER / f'{name}.launch.py'))


def arguments(name: str) -> dict[str, DeclareLaunchArgument]:
    return {argument.name: argument for argument in description(name).get_launch_arguments()}


class Recorded(Node):
    """A node action that remembers what it was made of."""

    def __init__(self, **made_of: Any) -> None:
        super().__init__(**made_of)
        self.made_of = made_of
        self.file, self.overrides = made_of.get('parameters') or ('', {})


class RecordedContainer(Recorded):
    """The same for a container, whose components are not loaded."""

    def __init__(self, composable_node_descriptions: list[Any], **made_of: Any) -> None:
        super().__init__(**made_of)
        self.components = composable_node_descriptions


@pytest.fixture(autouse=True)
def _record(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('launch_ros.actions.Node', Recorded)
    monkeypatch.setattr('launch_ros.actions.ComposableNodeContainer', RecordedContainer)
    for variable in ('FASTDDS_DEFAULT_PROFILES_FILE', 'FASTRTPS_DEFAULT_PROFILES_FILE'):
        monkeypatch.delenv(variable, raising=False)


def started(name: str, **chosen: str) -> tuple[LaunchContext, list[Any]]:
    """Return the context, and the nodes that the file leads to with these arguments."""
    context = LaunchContext()
    context.launch_configurations.update(chosen)
    nodes: list[Any] = []
    todo = list(description(name).entities)
    while todo:
        entity = todo.pop(0)
        if isinstance(entity, Recorded) or type(entity) is ExecuteProcess:
            nodes.append(entity)
        else:
            todo = list(entity.visit(context) or ()) + todo
    return context, nodes


@pytest.mark.parametrize('name', FILES)
def test_every_argument_is_declared_with_a_description(name: str) -> None:
    declared = arguments(name)
    assert set(declared) >= ASKED_FOR
    for argument in declared.values():
        assert len(argument.description.split()) > 3, argument.name
    for switch in ('use_sim_time', 'autostart', 'overlay', 'rviz'):
        assert declared[switch].choices == ['true', 'false']


def test_detector_gets_what_the_arguments_say() -> None:
    context, (node,) = started(
        'orin_8cam',
        vehicle='laptop_8cam',
        model='mine.onnx',
        labels='mine.txt',
        namespace='car',
        use_sim_time='true',
        autostart='false',
        log_level='debug',
    )
    assert node.made_of['executable'] == 'detector_node'
    assert (node.made_of['name'], node.made_of['namespace']) == ('detector', 'car')
    assert node.made_of['arguments'] == ['--ros-args', '--log-level', 'car.detector:=debug']
    assert Path(node.file).name == 'laptop_8cam.param.yaml'
    assert node.overrides == {
        'model.path': 'mine.onnx',
        'model.labels': 'mine.txt',
        'use_sim_time': True,
        'autostart': False,
    }
    variable = settings.profile_variable(settings.DEFAULT_RMW)
    assert context.environment[variable].endswith('fastdds_8cam.xml')


def test_model_is_the_vehicles_by_default() -> None:
    _, (node,) = started('orin_8cam')
    assert node.overrides == {'use_sim_time': False, 'autostart': True}
    assert Path(node.file).name == 'orin_8cam.param.yaml'


def test_dds_can_be_left_alone() -> None:
    context, (node,) = started('orin_8cam', dds='none')
    assert node.made_of['arguments'][:2] == ['--dds', 'none']  # it would choose by itself
    assert settings.profile_variable(settings.DEFAULT_RMW) not in context.environment


def test_autowares_vehicle_and_remap_file() -> None:
    _, (node,) = started('autoware_8cam', class_map='remap.csv', build_only='true')
    assert Path(node.file).name == 'autoware_8cam.param.yaml'
    assert node.overrides['model.class_map'] == 'remap.csv' and node.overrides['build_only'] is True
    _, (node,) = started('autoware_8cam')
    assert node.overrides == {'use_sim_time': False, 'autostart': True}


def test_sim_starts_cameras_on_the_same_vehicle() -> None:
    _, (detector, cameras) = started('sim_8cam', source='/pictures')
    assert cameras.made_of['executable'] == 'camera_sim'
    assert detector.file == cameras.file
    assert Path(cameras.file).name == 'laptop_8cam.param.yaml'
    assert cameras.overrides == {'use_sim_time': False, 'sim.source': '/pictures'}


def test_cameras_can_play_inside_the_detector() -> None:
    _, (detector,) = started('sim_8cam', source='/pictures', ingest='simulated')
    assert detector.made_of['executable'] == 'detector_node'
    assert detector.overrides['ingest'] == 'simulated'
    assert detector.overrides['sim.source'] == '/pictures'


def test_overlay_reads_the_detectors_vehicle() -> None:
    _, (detector, overlay) = started('orin_8cam', overlay='true', namespace='car')
    assert overlay.made_of['executable'] == 'overlay'
    assert (overlay.made_of['name'], overlay.made_of['namespace']) == ('overlay', 'car')
    assert overlay.file == detector.file
    assert overlay.overrides == {'use_sim_time': False}


def test_rviz_brings_the_overlay_along() -> None:
    executables = []
    for words in ({'rviz': 'true'}, {'rviz': 'true', 'overlay': 'true'}):
        _, nodes = started('orin_8cam', **words)
        executables.append([node.made_of['executable'] for node in nodes])
        assert Path(nodes[-1].made_of['arguments'][-1]).is_file()
    assert executables == [['detector_node', 'overlay', 'rviz2']] * 2


def test_replay_plays_the_bag_to_a_detector_in_lockstep() -> None:
    _, (detector, player) = started('replay', bag='/bags/town', vehicle='laptop_8cam')
    assert detector.overrides == {'use_sim_time': True, 'autostart': True, 'lockstep': True}
    words = [part.text for word in player.cmd for part in word]
    assert words[0].endswith('lib/yolox_trt_ros/replay')
    assert words[1:4] == ['/bags/town', '--vehicle', detector.file]
    assert words[-2:] == ['--lockstep', '--clock']
    assert words[words.index('--detector') + 1] == '/detector'


def test_a_bag_can_be_played_inside_the_detector() -> None:
    _, (detector,) = started('replay', bag='/bags/town', ingest='replayed')
    assert detector.overrides['ingest'] == 'replayed'
    assert detector.overrides['bag'] == '/bags/town'
    assert not detector.overrides['use_sim_time']


@pytest.mark.parametrize(
    'asked',
    [{'rate': '0.5'}, {'loop': 'true'}, {'start': '3'}, {'duration': '9'}, {'remap': '/a:=/b'}],
)
def test_what_a_bag_inside_the_detector_cannot_do_is_refused(asked: dict[str, str]) -> None:
    ((name, value),) = asked.items()
    with pytest.raises(ConfigError, match=f'^{name}:={value}: no effect with ingest:=replayed'):
        started('replay', bag='/bags/town', ingest='replayed', **asked)
    nothing_new = {'rate': '1', 'start': '0', 'duration': 'inf', 'loop': 'false'}
    assert started('replay', bag='/bags/town', ingest='replayed', **nothing_new)


def test_replay_can_go_at_its_own_pace() -> None:
    _, (detector, player) = started(
        'replay', bag='town', lockstep='false', rate='0.5', loop='true', start='3',
        use_sim_time='false', namespace='car', remap='/a:=/b /c:=/d',
    )  # fmt: skip
    assert detector.overrides == {'use_sim_time': False, 'autostart': True, 'lockstep': False}
    words = ' '.join(part.text for word in player.cmd for part in word)
    assert '--detector /car/detector --start 3 --duration inf --rate 0.5 --loop --remap' in words
    assert words.endswith('--remap /a:=/b /c:=/d')


def test_camera_drivers_publish_where_the_vehicle_file_expects_their_images() -> None:
    context, (detector, container) = started(
        'cameras_8cam', vehicle='laptop_8cam', namespace='car',
        devices='front_wide=/dev/video0 rear=/dev/video2',
    )  # fmt: skip
    assert detector.made_of['executable'] == 'detector_node'
    assert container.made_of['namespace'] == 'car'
    assert [component.node_plugin[0].text for component in container.components] == [
        'v4l2_camera::V4L2Camera'
    ] * 2
    rear = container.components[1]
    assert rear.node_name[0].text == 'rear'
    made = [tuple(part[0].text for part in pair) for pair in rear.remappings]
    assert made == [
        ('image_raw', '/rear/image_raw'),
        ('image_raw/compressed', '/rear/image_raw/compressed'),
        ('camera_info', '/rear/camera_info'),
    ]
    (parameters,) = evaluate_parameters(context, rear.parameters)
    assert parameters == {'video_device': '/dev/video2', 'use_sim_time': False}


@pytest.mark.parametrize(
    ('devices', 'problem'),
    [
        ('frontwide=/dev/video0', 'no camera "frontwide" — did you mean "front_wide"'),
        ('front_wide', 'expected CAMERA=DEVICE, got "front_wide"'),
        ('rear=/dev/video0 rear=/dev/video1', 'rear has two'),
        ('', 'got nothing'),
    ],
)
def test_devices_that_do_not_fit_are_refused(devices: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        started('cameras_8cam', vehicle='laptop_8cam', devices=devices)


def test_unknown_vehicle_and_profile_are_reported() -> None:
    with pytest.raises(ConfigError, match='did you mean "laptop_8cam"'):
        started('orin_8cam', vehicle='laptop8cam')
    with pytest.raises(ConfigError, match=r'nowhere\.xml" does not exist'):
        started('orin_8cam', dds='nowhere.xml')


RUN = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
file, *arguments = sys.argv[1:]
service = LaunchService()
service.include_launch_description(LaunchDescription([IncludeLaunchDescription(
    PythonLaunchDescriptionSource(file),
    launch_arguments=[argument.split(':=', 1) for argument in arguments])]))
sys.exit(service.run())
"""


@pytest.mark.ros
def test_sim_launch_runs_and_ends_cleanly(real: Path, tmp_path: Path) -> None:
    log = tmp_path / 'launch.log'
    words = [
        sys.executable, '-c', RUN, str(FOLDER / 'sim_8cam.launch.py'),
        f'model:={real / "yolox_nano_coco.onnx"}', f'labels:={real / "coco_classes.txt"}',
        f'source:={real / "images"}',
    ]  # fmt: skip
    # The executables ask the path for python3: it has to be this one.
    path = f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}'
    env = {**os.environ, 'PATH': path, 'ROS_DOMAIN_ID': str(1 + os.getpid() % 100)}
    with log.open('w') as output:
        process = subprocess.Popen(
            words, cwd=tmp_path, env=env, stdout=output, stderr=output, start_new_session=True
        )
    try:
        wait_for(process, log, ('active: 8 cameras', '8 cameras, 40 images/s'))
        os.killpg(process.pid, signal.SIGINT)  # what a terminal does on Ctrl-C
        assert process.wait(30) == 0, log.read_text()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    text = log.read_text()
    assert text.count('process has finished cleanly') == 2, text
    assert 'Traceback' not in text


def wait_for(process: subprocess.Popen[Any], log: Path, lines: tuple[str, ...]) -> None:
    end = time.monotonic() + 60.0
    while process.poll() is None and time.monotonic() < end:
        if all(line in log.read_text() for line in lines):
            return
        time.sleep(0.2)
    raise AssertionError(f'expected {lines}, got:\n{log.read_text()}')
