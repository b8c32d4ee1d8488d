"""Choose middleware settings for eight raw camera streams, and check the machine for them.

Nothing here imports ROS: launch files and tools use it before any node exists.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping
from pathlib import Path

from yolox_trt_ros.core.config import CameraConfig, Config
from yolox_trt_ros.core.encodings import RAW
from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.resources import find_resource, resource_names
from yolox_trt_ros.ros.dds.profile import (
    BUILTIN_VARIABLE,
    DdsTransport,
    is_fast_dds_2,
    read_transport,
)
from yolox_trt_ros.ros.dds.segments import SHARED_MEMORY, segments

DEFAULT_RMW = 'rmw_fastrtps_cpp'
FAST_DDS = ('rmw_fastrtps_cpp', 'rmw_fastrtps_dynamic_cpp')
FAST_DDS_3_VARIABLE = 'FASTDDS_DEFAULT_PROFILES_FILE'
FAST_DDS_2_VARIABLE = 'FASTRTPS_DEFAULT_PROFILES_FILE'
CYCLONE = 'rmw_cyclonedds_cpp'
RANGE_VARIABLE = 'ROS_AUTOMATIC_DISCOVERY_RANGE'
HUMBLE_RANGE_VARIABLE = 'ROS_LOCALHOST_ONLY'

SOCKET_BUFFER = Path('/proc/sys/net/core/rmem_max')
SOCKET_BUFFER_DEFAULT = 'rmem_default'
SOCKET_REMEDY = 'sudo sysctl -w net.core.rmem_max=67108864'

SEGMENTS = 2
"""Processes that need one: the camera driver and the detector."""

OVERHEAD = 1.06
"""What a segment of some size takes of /dev/shm, ports included: 268.9 MiB of 256."""

LEAST_IMAGE = 640 * 480 * 3
"""Bytes that a raw image has at least where the configuration does not say its size."""

IMAGES_IN_SEGMENT = 2
"""Images of each camera that the segment should hold: one being read, one being written."""


def environment(choice: str = 'auto', environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment variables that give a process the package's middleware settings.

    Args:
        choice: ``auto`` for the profile of the middleware in use, ``none`` for no change, or an
            XML file of that middleware: a path, or the name of one in ``config/dds``.
        environ: the process's environment. Where it names a profile, or transports of Fast DDS,
            ``auto`` leaves them as they are. Where it keeps ROS on this computer, ``auto`` has
            Fast DDS listen on loopback only, which it does not do by itself.

    Returns:
        Variables to add; empty when there is nothing to add.

    Raises:
        ConfigError: the file does not exist, or the middleware takes no such file.
    """
    rmw = middleware(environ)
    variable = profile_variable(rmw, environ)
    if choice == 'none':
        return {}
    if choice == 'auto':
        if not variable or chosen_by_hand(environ):
            return {}
        if rmw in FAST_DDS and _one_computer(environ):
            file = find_resource('config/dds', 'fastdds_8cam_loopback', '.xml')
            # The profile finds participants; LOCALHOST would add sockets of other addresses.
            return {variable: str(file.absolute()), RANGE_VARIABLE: 'SYSTEM_DEFAULT'}
        name = 'cyclonedds_8cam' if rmw == CYCLONE else 'fastdds_8cam'
        file = find_resource('config/dds', name, '.xml')
    elif variable:
        file = find_resource('config/dds', choice, '.xml')
    else:
        raise ConfigError(f'dds: {rmw} takes no profile file; use dds:=auto or dds:=none')
    if not file.is_file():
        names = ', '.join(resource_names('config/dds', '.xml'))
        raise ConfigError(
            f'dds: expected auto, none, an XML file or one of {names}; "{file}" does not exist'
        )
    return {variable: f'{"file://" if rmw == CYCLONE else ""}{file.absolute()}'}


def apply(choice: str = 'auto', environ: MutableMapping[str, str] = os.environ) -> str:
    """Give this process the settings that :func:`environment` chooses; before its first node.

    Args:
        choice: see :func:`environment`.
        environ: the process's environment, which is changed.

    Returns:
        What was chosen, for the log.

    Raises:
        ConfigError: see :func:`environment`.
    """
    by_hand, rmw = chosen_by_hand(environ), middleware(environ)
    added = environment(choice, environ)
    environ.update(added)
    if added:
        file = added[profile_variable(rmw, environ)]
        return f'{rmw} with {file.removeprefix("file://")} (--dds none: without)'
    if by_hand:
        return f'{rmw} set up by {by_hand}: {environ[by_hand]}'
    return f'{rmw} with its default settings, which lose large images'


def chosen_by_hand(environ: Mapping[str, str] = os.environ) -> str:
    """Return the variable by which the environment sets up the middleware itself; '' if none."""
    rmw = middleware(environ)
    names = [profile_variable(rmw, environ)]
    if rmw in FAST_DDS:
        # Fast DDS 3 still reads the name of Fast DDS 2.
        names += [FAST_DDS_2_VARIABLE, BUILTIN_VARIABLE]
    return next((name for name in names if environ.get(name)), '')


def _one_computer(environ: Mapping[str, str]) -> bool:
    return environ.get(RANGE_VARIABLE) == 'LOCALHOST' or environ.get(HUMBLE_RANGE_VARIABLE) == '1'


def middleware(environ: Mapping[str, str] = os.environ) -> str:
    """Return the ROS middleware that processes with this environment use."""
    return environ.get('RMW_IMPLEMENTATION') or DEFAULT_RMW


def profile_variable(rmw: str, environ: Mapping[str, str] = os.environ) -> str:
    """Return the environment variable that names a middleware's settings; '' if it has none."""
    if rmw == CYCLONE:
        return 'CYCLONEDDS_URI'
    if rmw not in FAST_DDS:
        return ''
    return FAST_DDS_2_VARIABLE if is_fast_dds_2(environ) else FAST_DDS_3_VARIABLE


def active_profile(environ: Mapping[str, str] = os.environ) -> str:
    """Return the settings that the environment gives the middleware in use; '' if none."""
    rmw = middleware(environ)
    # Fast DDS 3 still reads the name of Fast DDS 2.
    names = {profile_variable(rmw, environ)} | ({FAST_DDS_2_VARIABLE} if rmw in FAST_DDS else set())
    return next((environ[name] for name in sorted(names) if environ.get(name)), '')


def image_bytes(camera: CameraConfig) -> int:
    """Return the bytes of one raw image of a camera by its encoding, width and height.

    0 if its configuration does not say them, or if images are compressed.
    """
    layout = RAW.get(camera.encoding)
    if layout is None:
        return 0
    return layout.size(camera.height, camera.width, layout.min_step(camera.width))


def least_bytes(camera: CameraConfig) -> int:
    """Return the bytes that one raw image of a camera has at least; 0 if they are compressed."""
    return image_bytes(camera) or (LEAST_IMAGE if camera.transport == 'raw' else 0)


def unsized(config: Config) -> list[str]:
    """Return the cameras with raw images whose size the configuration does not say."""
    return [c.name for c in config.cameras if c.transport == 'raw' and not image_bytes(c)]


def transport(environ: Mapping[str, str] = os.environ) -> DdsTransport:
    """Return what this process's Fast DDS participants send and receive by.

    Raises:
        ConfigError: the profile that the environment names cannot be read.
    """
    return read_transport(active_profile(environ), environ)


def shortcomings(
    config: Config,
    environ: Mapping[str, str] = os.environ,
    shared_memory: Path = SHARED_MEMORY,
    socket_buffer: Path = SOCKET_BUFFER,
) -> list[str]:
    """Return what will lose images on this machine, each with its remedy; empty if nothing will.

    Args:
        config: whose cameras are to arrive.
        environ: the process's environment.
        shared_memory: folder of the shared-memory file system.
        socket_buffer: file with the kernel's largest socket receive buffer, bytes.

    Raises:
        ConfigError: the middleware's profile cannot be read.
    """
    largest = max(map(least_bytes, config.cameras), default=0)
    need = IMAGES_IN_SEGMENT * sum(map(least_bytes, config.cameras))
    rmw = middleware(environ)
    if not largest:
        return []
    if rmw in FAST_DDS:
        variable = profile_variable(rmw, environ)
        segment = transport(environ).segment
        return _fast_dds_shortcomings(need, segment, variable, shared_memory)
    if rmw == CYCLONE:
        return _cyclone_shortcomings(largest, socket_buffer)
    return []


def _fast_dds_shortcomings(
    need: int, segment: int, variable: str, shared_memory: Path
) -> list[str]:
    found = []
    if segment < need:
        found.append(
            f'the shared-memory segment of this process is {mib(segment)}, raw images of these '
            f'cameras need {mib(need)}: launch with dds:=auto, or set {variable} to '
            'config/dds/fastdds_8cam.xml, for the camera drivers too'
        )
    if not shared_memory.is_dir():
        return [*found, f'{shared_memory} does not exist: images will travel by UDP and be lost']
    stat = os.statvfs(shared_memory)
    free, each = stat.f_bavail * stat.f_frsize, round(OVERHEAD * segment)
    used, left = segments(shared_memory)
    missing = SEGMENTS - len([size for size in used if size >= segment])
    if missing > 0 and free < missing * each:
        dead = f', {mib(sum(left))} are of processes that were killed (fastdds shm clean)'
        dead = dead if sum(left) >> 20 else ''
        found.append(
            f'{shared_memory} has {mib(free)} left{dead}; camera driver and '
            f'detector take {mib(each)} each, {missing} not started yet: '
            f'mount -o remount,size=2G {shared_memory}; in Docker --shm-size=2g or --ipc=host'
        )
    return found


def socket_bytes(
    environ: Mapping[str, str] = os.environ, socket_buffer: Path = SOCKET_BUFFER
) -> int:
    """Return the socket buffer that this process's Fast DDS participants receive into, bytes.

    Raises:
        ConfigError: the middleware's profile cannot be read.
        OSError, ValueError: the kernel does not say.
    """
    asked = transport(environ).socket_buffer
    if not asked:
        return int(socket_buffer.with_name(SOCKET_BUFFER_DEFAULT).read_text())
    return min(asked, int(socket_buffer.read_text()))


def _cyclone_shortcomings(largest: int, socket_buffer: Path) -> list[str]:
    try:
        most = int(socket_buffer.read_text())
    except (OSError, ValueError):
        return [f'{socket_buffer} cannot be read: socket buffers may be too small for images']
    need = IMAGES_IN_SEGMENT * largest
    if most >= need:
        return []
    return [
        f'the kernel allows socket buffers of {mib(most)}, images of these cameras need '
        f'{mib(need)}: {SOCKET_REMEDY}'
    ]


def mib(size: int) -> str:
    """Return bytes for people."""
    return f'{size / (1 << 20):.1f} MiB'
