"""What killed processes leave in shared memory, and that nothing else is removed."""

from __future__ import annotations

import fcntl
import mmap
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from yolox_trt_ros.ros.dds import segments
from yolox_trt_ros.ros.dds.segments import left_behind, reclaim, remove_own

NODE = """
import os, sys, rclpy
rclpy.init()
node = rclpy.create_node('a')
print('up', flush=True)
sys.stdin.readline()
from yolox_trt_ros.ros.dds import segments
{end}
"""


def segment(folder: Path, number: int, *suffixes: str) -> Path:
    path = folder / f'fastdds_{number:016x}'
    path.write_bytes(bytes(100 + number))
    for suffix in suffixes:
        Path(f'{path}{suffix}').touch()
    return path


def port(folder: Path, number: int, *suffixes: str) -> Path:
    path = folder / f'fastdds_port{number}'
    path.write_bytes(bytes(50))
    for suffix in suffixes:
        Path(f'{path}{suffix}').touch()
    (folder / f'sem.{path.name}_mutex').touch()
    return path


@pytest.fixture
def old(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take every file for one that was made a while ago: the kernel sets that time itself."""
    monkeypatch.setattr(segments, 'JUST_MADE_S', -1.0)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.usefixtures('old')
def test_what_nobody_locks_is_removed_and_all_else_stays(tmp_path: Path) -> None:
    segment(tmp_path, 1, '_el')
    port(tmp_path, 7000, '_el')
    port(tmp_path, 7001, '_sl')
    port(tmp_path, 7002)
    assert reclaim(tmp_path) == 101 + 3 * 50
    assert names(tmp_path) == []

    segment(tmp_path, 2, '_el')
    port(tmp_path, 7003, '_el')
    port(tmp_path, 7400, '_sl')
    (tmp_path / 'fastdds_cafe').touch()
    (tmp_path / 'sem.other').touch()
    (tmp_path / 'fastdds_00000000000000ff').mkdir()
    (tmp_path / 'fastdds_00000000000000fe').symlink_to('/etc/passwd')
    os.mkfifo(tmp_path / 'fastdds_00000000000000fd')
    os.mkfifo(tmp_path / f'fastdds_{2:016x}_el.')
    before = names(tmp_path)
    with ExitStack() as stack:
        for file in (f'fastdds_{2:016x}_el', 'fastdds_port7003_el', 'fastdds_port7400_sl'):
            lock = stack.enter_context((tmp_path / file).open())
            fcntl.flock(lock, fcntl.LOCK_SH if file.endswith('_sl') else fcntl.LOCK_EX)
        assert (left_behind(tmp_path), reclaim(tmp_path)) == ([], 0)
        assert names(tmp_path) == before


@pytest.mark.usefixtures('old')
def test_a_port_that_somebody_still_writes_to_stays(tmp_path: Path) -> None:
    path = port(tmp_path, 7000, '_el')
    with path.open('r+b') as file, mmap.mmap(file.fileno(), 0):
        assert left_behind(tmp_path) == []
    assert len(left_behind(tmp_path)) == 1


@pytest.mark.usefixtures('old')
@pytest.mark.parametrize('suffixes', [(), ('_el',), ('_sl',)])
def test_whoever_opens_a_port_that_is_being_removed_finds_it_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffixes: tuple[str, ...]
) -> None:
    port(tmp_path, 7000, *suffixes)
    remove, removed = segments._remove, []

    def checked(path: Path) -> bool:
        (lock,) = tmp_path.glob('*_[es]l')
        with lock.open() as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        removed.append(path.name)
        return remove(path)

    monkeypatch.setattr(segments, '_remove', checked)
    assert reclaim(tmp_path) == 50
    assert (removed, names(tmp_path)) == (['fastdds_port7000'], [])


def test_what_was_just_made_may_still_get_its_lock(tmp_path: Path) -> None:
    segment(tmp_path, 1, '_el')
    assert reclaim(tmp_path) == 0
    assert len(names(tmp_path)) == 2


@pytest.mark.usefixtures('old')
def test_what_is_another_users_is_reported_and_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = segment(tmp_path, 1, '_el')
    monkeypatch.setattr(os, 'geteuid', lambda: 12345)
    (left,) = left_behind(tmp_path)
    assert (left.path, left.size, left.own) == (path, 101, False)
    assert reclaim(tmp_path) == 0
    assert len(names(tmp_path)) == 2


@pytest.mark.usefixtures('old')
def test_a_lock_file_that_is_a_trap_is_not_opened(tmp_path: Path) -> None:
    trap = segment(tmp_path, 1)
    Path(f'{trap}_el').symlink_to(tmp_path / 'elsewhere')
    os.mkfifo(f'{segment(tmp_path, 2)}_el')
    assert reclaim(tmp_path) in (0, 102)  # and does not wait for a writer
    assert trap.exists()


def test_without_shared_memory_there_is_nothing_to_do(tmp_path: Path) -> None:
    assert (left_behind(tmp_path / 'no'), reclaim(tmp_path / 'no')) == ([], 0)


@pytest.mark.ros
@pytest.mark.parametrize(
    'end',
    ['segments.remove_own(); os._exit(0)', 'os.kill(os.getpid(), 9)'],
)
def test_fast_dds_leaves_nothing(end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a process that leaves at once, nor of a killed one after somebody else's start."""
    if 'fastrtps' not in os.environ.get('RMW_IMPLEMENTATION', 'rmw_fastrtps_cpp'):
        pytest.skip('another middleware')
    environ = {**os.environ, 'ROS_DOMAIN_ID': '77', 'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST'}
    before = {left.path for left in left_behind()}
    process = subprocess.Popen(
        [sys.executable, '-c', NODE.format(end=end)],
        env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout and process.stdout.readline() == 'up\n'
    held = segments._held_by(Path(f'/proc/{process.pid}'))
    assert len(held) >= 3
    process.communicate('\n')
    there = [name for name in held if (segments.SHARED_MEMORY / name).exists()]
    if 'kill' in end:
        assert there == held
        monkeypatch.setattr(segments, 'JUST_MADE_S', -1.0)
        assert {left.path.name for left in left_behind()} >= set(held)
        assert reclaim() > 0
    assert not [name for name in held if (segments.SHARED_MEMORY / name).exists()]
    assert {left.path for left in left_behind()} <= before


def test_remove_own_needs_no_middleware(tmp_path: Path) -> None:
    path = segment(tmp_path, 1, '_el')
    other = segment(tmp_path, 2, '_el')
    with Path(f'{path}_el').open():
        remove_own(tmp_path)
    assert not path.exists() and other.exists()
