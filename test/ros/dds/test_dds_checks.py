"""What is said about shared memory and sockets is so: with real participants where they matter."""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import rclpy
from edge_rig import DOMAIN
from rclpy.context import Context
from rclpy.node import Node
from sensor_msgs.msg import Image

from yolox_trt_ros.core.config import Config
from yolox_trt_ros.ros.dds import settings
from yolox_trt_ros.ros.dds.profile import read_transport
from yolox_trt_ros.ros.dds.segments import largest_of, largest_other, segments
from yolox_trt_ros.ros.input.intake import IngestNotes
from yolox_trt_ros.ros.input.publisher_watch import PublisherWatch, why_lossy

pytestmark = [pytest.mark.ros, pytest.mark.timeout(400)]

DRIVER = """
import sys, rclpy
from sensor_msgs.msg import Image
from yolox_trt_ros.ros.dds.settings import shortcomings
from yolox_trt_ros.vehicle_files import load_vehicle
rclpy.init()
node = rclpy.create_node(sys.argv[1])
publisher = node.create_publisher(Image, '/a/image_raw', 1)
print(shortcomings(load_vehicle('laptop_8cam')), flush=True)
sys.stdin.read()
node.destroy_node()
rclpy.shutdown()
"""
PAIR = """
import subprocess, sys
command = [sys.executable, '-c', sys.argv[1]]
pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
with subprocess.Popen([*command, 'driver'], **pipes) as driver:
    for line in driver.stdout:  # until it has its segment, or has none
        print(line, end='', flush=True)
        if line.startswith('['):
            break
    subprocess.run([*command, 'detector'], stdin=subprocess.DEVNULL)
"""
IMAGE = 1920 * 1280 * 3

PROFILE = """<profiles xmlns="http://www.eprosima.com/XMLSchemas/fastRTPS_Profiles">
  <transport_descriptors>
    <transport_descriptor><transport_id>a</transport_id><type>SHM</type>
      <segment_size>9000000</segment_size></transport_descriptor>
    <transport_descriptor><transport_id>b</transport_id><type>SHM</type>
      <segment_size>90000000</segment_size></transport_descriptor>
    <transport_descriptor><transport_id>c</transport_id><type>UDPv4</type>
      <receiveBufferSize>77</receiveBufferSize></transport_descriptor>
  </transport_descriptors>
  <participant profile_name="p" {default}><rtps>{rtps}</rtps></participant>
</profiles>"""
USER = '<userTransports><transport_id>a</transport_id>{more}</userTransports>'
DEFAULT = 'is_default_profile="true"'
OWN = '<useBuiltinTransports>false</useBuiltinTransports>'


@pytest.mark.parametrize(
    ('default', 'rtps', 'builtin', 'expected'),
    [
        (DEFAULT, USER.format(more='') + OWN, '', (9_000_000, 0)),
        (DEFAULT, USER.format(more='<transport_id>c</transport_id>') + OWN, '', (9_000_000, 77)),
        ('', USER.format(more='') + OWN, '', (512 << 10, 0)),
        ('is_default_profile="false"', USER.format(more='') + OWN, '', (512 << 10, 0)),
        (DEFAULT, OWN, '', (0, 0)),
        (DEFAULT, USER.format(more=''), 'LARGE_DATA', (9_000_000, 0)),
        (DEFAULT, '', 'LARGE_DATA', (8500 << 10, 0)),
        (DEFAULT, '<builtinTransports>LARGE_DATA</builtinTransports>', '', (8500 << 10, 0)),
        (
            DEFAULT,
            '<builtinTransports sockets_size="20MB">LARGE_DATA</builtinTransports>',
            'UDPv4',
            (40_000_000, 20_000_000),
        ),
        ('', '', 'LARGE_DATA?max_msg_size=1MB&sockets_size=150MIB', (300 << 20, 150 << 20)),
        ('', '', 'UDPv4', (0, 0)),
        ('', '', 'SHM', (512 << 10, 0)),
        ('', '', '', (512 << 10, 0)),
    ],
)
def test_a_profile_counts_for_what_fast_dds_makes_of_it(
    tmp_path: Path, default: str, rtps: str, builtin: str, expected: tuple[int, int]
) -> None:
    file = tmp_path / 'profile.xml'
    file.write_text(PROFILE.format(default=default, rtps=rtps))
    found = read_transport(str(file), {'FASTDDS_BUILTIN_TRANSPORTS': builtin})
    assert (found.segment, found.socket_buffer) == expected


@contextmanager
def driver(name: str, **environ: str) -> Iterator[subprocess.Popen[str]]:
    """Run a camera driver that has found its settings."""
    process = subprocess.Popen(
        [sys.executable, '-c', DRIVER, name],
        env={**os.environ, 'ROS_DOMAIN_ID': str(DOMAIN), **environ},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:  # closes its input, and waits
        yield process


def segment_sizes(builtin: str) -> list[int]:
    """Return what a driver with these builtin transports really has."""
    with driver('sized', FASTDDS_BUILTIN_TRANSPORTS=builtin) as process:
        assert process.stdout and process.stdout.readline()
        return [size for path, size in opened(process.pid) if size]


def opened(pid: int) -> Iterator[tuple[str, int]]:
    for link in Path(f'/proc/{pid}/fd').iterdir():
        path = os.readlink(link) if link.is_symlink() else ''
        if re.fullmatch(r'/dev/shm/fast(dds|rtps)_[0-9a-f]{16}_el', path):
            yield path, Path(path.removesuffix('_el')).stat().st_size


@pytest.mark.parametrize(
    'builtin', ['', 'LARGE_DATA', 'LARGE_DATA?max_msg_size=1MB&sockets_size=20MB']
)
def test_fast_dds_makes_the_segment_that_is_assumed(builtin: str) -> None:
    environ = {**os.environ, 'FASTDDS_BUILTIN_TRANSPORTS': builtin}
    expected = read_transport('', environ).segment
    assert expected <= max(segment_sizes(builtin)) < 1.1 * expected + 100_000


def test_fast_dds_2_has_no_larger_segment_for_large_data() -> None:
    for distro, segment in (('jazzy', 512 << 10), ('kilted', 8500 << 10)):
        environ = {'ROS_DISTRO': distro, 'FASTDDS_BUILTIN_TRANSPORTS': 'LARGE_DATA'}
        assert read_transport('', environ).segment == segment


def mounting() -> str:
    """Return why nothing can be mounted here; '' if it can."""
    command = ['unshare', '-m', 'mount', '-t', 'tmpfs', 'tmpfs', '/dev/shm']
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        return str(error)
    return done.stderr.strip() or ('' if done.returncode == 0 else f'exit {done.returncode}')


@pytest.mark.parametrize(('size', 'fits'), [('600m', True), ('512m', False)])
def test_shared_memory_is_judged_as_two_processes_find_it(size: str, fits: bool) -> None:
    if why := mounting():
        pytest.skip(f'no small /dev/shm can be mounted here: {why}')
    script = f'mount -t tmpfs -o size={size} tmpfs /dev/shm && exec "$0" -c "$1" "$2"'
    environ = {**os.environ, 'ROS_DOMAIN_ID': str(DOMAIN), **settings.environment()}
    command = ['unshare', '-m', 'sh', '-c', script, sys.executable, PAIR, DRIVER]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60)
    messages = [line for line in done.stdout.splitlines() if line.startswith('[')]
    assert len(messages) == 2, done.stdout + done.stderr
    assert ('Failed to create segment' in done.stdout + done.stderr) != fits
    if fits:
        assert messages == ['[]', '[]']
    else:
        assert all('take 271.4 MiB each, 1 not started yet: mount' in line for line in messages)


def test_segments_are_known_by_their_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('yolox_trt_ros.ros.dds.segments.JUST_MADE_S', -1.0)
    names = {f'fastdds_{i:016x}': 100 * (i + 1) for i in range(3)}
    for name, size in names.items():
        (tmp_path / name).write_bytes(bytes(size))
        (tmp_path / f'{name}_el').touch()
    (tmp_path / 'fastdds_port7000').write_bytes(bytes(9))
    own, other, _ = names
    hold = 'import fcntl,sys,time; f=open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_EX); print(1)'
    with ExitStack() as stack:
        lock = stack.enter_context((tmp_path / f'{own}_el').open())
        fcntl.flock(lock, fcntl.LOCK_EX)
        holder = stack.enter_context(
            subprocess.Popen(
                [sys.executable, '-uc', f'{hold}; time.sleep(60)', str(tmp_path / f'{other}_el')],
                stdout=subprocess.PIPE,
            )
        )
        stack.callback(holder.kill)
        assert holder.stdout and holder.stdout.readline()
        used, left = segments(tmp_path)
        assert (sorted(used), left) == ([100, 200], [300])
        assert largest_other(tmp_path) == 200
        (tmp_path / own).write_bytes(bytes(500))
        assert largest_other(tmp_path) == 200
        assert (largest_of(os.getpid(), tmp_path), largest_of(holder.pid, tmp_path)) == (500, 200)
    assert segments(tmp_path)[0] == []
    assert largest_of(holder.pid, tmp_path) is None


@pytest.fixture
def node() -> Iterator[Node]:
    context = Context()
    rclpy.init(context=context, domain_id=DOMAIN)
    made = Node('detector', context=context)
    made.create_subscription(Image, '/a/image_raw', lambda _: None, 1)
    yield made
    made.destroy_node()
    rclpy.shutdown(context=context)


def until_seen(node: Node, *names: str) -> None:
    end = time.monotonic() + 20
    while [p.node_name for p in node.get_publishers_info_by_topic('/a/image_raw')] != [*names]:
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_driver_without_the_profile_is_reported_and_one_with_it_is_not(node: Node) -> None:
    (camera,) = Config.from_parameters({'camera_names': ['a'], 'lane_names': ['lane']}).cameras
    watch, notes = PublisherWatch(node), IngestNotes()
    with driver('lidar_and_camera'):
        until_seen(node, 'lidar_and_camera')
        watch.look(camera, notes)
        message = notes.publisher
        assert 'lidar_and_camera has 0.5 MiB of shared memory here' in message
        variable = settings.profile_variable(settings.DEFAULT_RMW)
        (file,) = re.findall(rf'start lidar_and_camera with {variable}=(\S+);', message)
        notes.image_bytes = 100_000  # such fit
        watch.look(camera, notes)
        assert notes.publisher == ''
        for notes.image_bytes in (600_000, 500_000, 590_000):  # compressed: the largest counts
            watch.look(camera, notes)
            assert 'has 0.5 MiB of shared memory here, images have 0.6 MiB' in notes.publisher
        notes.image_bytes = 0
    until_seen(node)
    with driver('as_told', **{variable: file}):
        until_seen(node, 'as_told')
        watch.look(camera, notes)
        assert notes.publisher == ''


def test_who_is_on_another_machine_needs_sockets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, size in (('rmem_max', 4 << 20), ('rmem_default', 1 << 20)):
        (tmp_path / name).write_text(f'{size}\n')
    real = settings.socket_bytes
    environ: dict[str, str] = {}
    monkeypatch.setattr(settings, 'socket_bytes', lambda: real(environ, tmp_path / 'rmem_max'))
    own, far = bytes.fromhex('010f78fde40788af' + '00' * 8), bytes.fromhex('010f11fe' + '00' * 12)
    assert why_lossy('far', own, own, IMAGE) == ''  # this very process
    message = why_lossy('far', far, own, IMAGE)
    assert 'far is on another machine' in message and 'hold 1.0 MiB' in message
    assert 'net.core.rmem_max' in message
    environ |= settings.environment('auto', {})  # asks for more
    assert 'hold 4.0 MiB' in why_lossy('far', far, own, IMAGE)
    assert why_lossy('far', far, own, 3 << 20) == ''
