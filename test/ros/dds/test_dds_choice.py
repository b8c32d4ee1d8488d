"""A node or tool that is started by hand has the middleware settings that launch gives it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.ros.dds import settings

PACKAGED = 'config/dds/fastdds_8cam.xml'


@pytest.mark.parametrize(
    ('environ', 'choice', 'added', 'message'),
    [
        ({}, 'auto', 'FASTDDS_DEFAULT_PROFILES_FILE', PACKAGED),
        ({'ROS_DISTRO': 'humble'}, 'auto', 'FASTRTPS_DEFAULT_PROFILES_FILE', PACKAGED),
        ({}, 'none', '', 'with its default settings'),
        ({}, 'fastdds_8cam_one_computer', 'FASTDDS_DEFAULT_PROFILES_FILE', 'one_computer.xml'),
        ({'RMW_IMPLEMENTATION': 'rmw_cyclonedds_cpp'}, 'auto', 'CYCLONEDDS_URI', 'cyclonedds_8cam'),
        ({'RMW_IMPLEMENTATION': 'rmw_zenoh_cpp'}, 'auto', '', 'rmw_zenoh_cpp with its default'),
        # What somebody set by hand stays.
        ({'FASTDDS_DEFAULT_PROFILES_FILE': '/x.xml'}, 'auto', '', 'FILE: '),
        ({'FASTRTPS_DEFAULT_PROFILES_FILE': '/x.xml'}, 'auto', '', 'PROFILES_FILE: /x.xml'),
        ({'FASTDDS_BUILTIN_TRANSPORTS': 'UDPv4'}, 'auto', '', 'FASTDDS_BUILTIN_TRANSPORTS: UDPv4'),
        (
            {'RMW_IMPLEMENTATION': 'rmw_cyclonedds_cpp', 'CYCLONEDDS_URI': '/c.xml'},
            'auto', '', 'CYCLONEDDS_URI: /c.xml',
        ),
    ],
)  # fmt: skip
def test_what_is_chosen_and_reported(
    environ: dict[str, str], choice: str, added: str, message: str
) -> None:
    before = dict(environ)
    assert message in settings.apply(choice, environ)
    assert environ.keys() - before.keys() == ({added} if added else set())
    assert {name: environ[name] for name in before} == before


def test_a_file_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match='expected auto, none, an XML file'):
        settings.apply('nowhere.xml', {})


@pytest.mark.ros
@pytest.mark.parametrize(
    ('module', 'words'),
    [
        ('yolox_trt_ros.ros.camera_sim_node', []),
        ('yolox_trt_ros.ros.overlay_node', []),
        ('yolox_trt_ros.ros.detector_node', ['-p', 'autostart:=false']),
    ],
)
def test_nodes_started_by_hand_have_them(module: str, words: list[str]) -> None:
    environ = {k: v for k, v in os.environ.items() if not k.startswith(('FASTDDS', 'FASTRTPS'))}
    command = [sys.executable, '-m', module, '--ros-args', *words]
    environ['ROS_DOMAIN_ID'] = str(1 + os.getpid() % 100)
    node = subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True)
    assert node.stderr
    try:
        message = next(line for line in node.stderr if 'rmw_' in line)
        assert PACKAGED in message
    finally:
        node.terminate()
        node.communicate(timeout=60)


@pytest.mark.ros
def test_a_wrong_choice_ends_a_node_with_a_sentence() -> None:
    command = [sys.executable, '-m', 'yolox_trt_ros.ros.overlay_node', '--dds', 'nowhere.xml']
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1 and 'expected auto, none, an XML file' in done.stderr
    assert 'Traceback' not in done.stderr
