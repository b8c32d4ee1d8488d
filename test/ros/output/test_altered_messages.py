"""A vision_msgs that is laid out otherwise: built from definitions, loaded instead of ours.

Only what an array of detections needs is built, some ten seconds of CPU time.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from built import built

pytestmark = pytest.mark.timeout(900)

ROOT = Path(__file__).resolve().parents[3]
PREFIX = Path(sys.prefix)
KEPT = ('BoundingBox2D', 'Detection2D', 'Detection2DArray', 'ObjectHypothesis', 'Point2D', 'Pose2D')
KEPT += ('ObjectHypothesisWithPose', 'VisionInfo')
ALTERED = {
    # The score is a float64 in the vision_msgs of every distribution so far, and the detections are
    # the array's last member.
    'ObjectHypothesis': 'string class_id\nfloat32 score\n',
    'Detection2DArray': 'std_msgs/Header header\nvision_msgs/Detection2D[] detections\nbool all\n',
    'DoubleHypothesis': 'uint8 kind\nfloat64 score\nfloat32[3] colour\nstring class_id\n',
    'DoubleHypothesisWithPose': 'geometry_msgs/PoseWithCovariance pose\n'
    'vision_msgs/DoubleHypothesis hypothesis\n',
    'MovedDetection2D': 'string id\nint16 track\nvision_msgs/BoundingBox2D bbox\nfloat32[] more\n'
    'vision_msgs/DoubleHypothesisWithPose[] results\nbool still\nstd_msgs/Header header\n',
    'MovedDetection2DArray': 'std_msgs/Header header\nvision_msgs/MovedDetection2D[] detections\n',
}


def build(folder: Path) -> None:
    source = folder / 'source'
    (source / 'msg').mkdir(parents=True)
    theirs = ROOT / 'setup_env' / 'vision_msgs'
    for name in ('CMakeLists.txt', 'package.xml'):
        shutil.copy(theirs / name, source)
    for name in KEPT:
        shutil.copy(theirs / 'msg' / f'{name}.msg', source / 'msg')
    for name, definition in ALTERED.items():
        (source / 'msg' / f'{name}.msg').write_text(definition)
    environ = dict(os.environ)
    options = ['-DBUILD_TESTING=OFF', f'-DPython3_EXECUTABLE={sys.executable}']
    if not environ.get('ROS_DISTRO'):  # as setup_env builds the messages of this environment
        options += ['-GNinja', f'-DCMAKE_PROJECT_INCLUDE={ROOT}/setup_env/wheels.cmake']
        environ['PATH'] = f'{PREFIX / "bin"}{os.pathsep}{environ["PATH"]}'
        environ['AMENT_PREFIX_PATH'] = environ['CMAKE_PREFIX_PATH'] = str(PREFIX)
    options += [f'-DCMAKE_INSTALL_PREFIX={folder / "installed"}']
    for command in (
        ['cmake', '-S', str(source), '-B', str(folder / 'build'), *options],
        ['cmake', '--build', str(folder / 'build'), '--target', 'install'],
    ):
        done = subprocess.run(command, env=environ, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


@pytest.fixture
def altered() -> dict[str, str]:
    """Return the environment of a process that finds the altered messages."""
    installed = built('altered_messages', build) / 'installed'
    environ = dict(os.environ)
    (package,) = installed.glob('**/vision_msgs/__init__.py')
    before = {
        'PYTHONPATH': package.parents[1],
        'LD_LIBRARY_PATH': f'{installed / "lib"}{os.pathsep}{PREFIX / "lib"}',
        'AMENT_PREFIX_PATH': installed,
    }
    for name, folders in before.items():
        environ[name] = os.pathsep.join(filter(None, [str(folders), environ.get(name)]))
    return environ | {'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST', 'ROS_DOMAIN_ID': '99'}


def publish(environ: dict[str, str], which: str) -> tuple[dict[str, Any], str]:
    """Return what a reader got, and what was logged."""
    command = [sys.executable, str(Path(__file__).with_name('altered_results.py')), which]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr[-3000:]
    messages = json.loads(done.stdout.splitlines()[-1])
    assert messages['from'].startswith(environ['PYTHONPATH'].partition(os.pathsep)[0])
    return messages, done.stderr


def test_they_compile_without_cores_that_nodes_want(altered: dict[str, str]) -> None:
    assert Path(altered['PYTHONPATH'].partition(os.pathsep)[0], 'vision_msgs').is_dir()


@pytest.mark.ros
def test_what_templates_do_not_fit_is_published_typed_and_reported(altered: dict[str, str]) -> None:
    messages, log = publish(altered, 'as they are')
    assert messages['encoder'] == 'typed: detections: expected the last member'
    assert 'results are published as typed messages' in log
    assert messages['scores'] == [0.5, 0.25] and messages['same']


@pytest.mark.ros
def test_moved_and_added_members_are_where_they_belong(altered: dict[str, str]) -> None:
    messages, log = publish(altered, 'moved')
    assert messages['encoder'] == 'templates'
    assert 'typed' not in log
    assert messages['scores'] == [0.5, 0.25] and messages['same'] and messages['same bytes']
