"""Where one computer is enough, nobody else reaches what is started: its sockets say so."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from unittest import mock

import pytest

from yolox_trt_ros.ros.dds import profile, settings
from yolox_trt_ros.ros.node_process import NodeProcess, isolate
from yolox_trt_ros.testing.replay import _own_domain

pytestmark = pytest.mark.ros
SETTINGS = (
    *(settings.RANGE_VARIABLE, settings.HUMBLE_RANGE_VARIABLE, profile.BUILTIN_VARIABLE),
    *(settings.FAST_DDS_3_VARIABLE, settings.FAST_DDS_2_VARIABLE),
)
ADDRESS, INODE = 1, 9
"""Columns of the kernel's tables of sockets."""
SOCKETS = 3
"""At least: to find others, to receive and to send."""
LOOPBACK = f'{int.from_bytes(bytes([127, 0, 0, 1]), sys.byteorder):08X}'
"""127.0.0.1 as the kernel writes it."""


def addresses(pid: int) -> list[str]:
    """Return the local addresses of a process's sockets of the internet protocols."""
    own = set()
    for link in Path(f'/proc/{pid}/fd').iterdir():
        with suppress(OSError):  # closed in the meantime
            own |= set(re.findall(r'^socket:\[(\d+)\]$', os.readlink(link)))
    tables = (Path(f'/proc/net/{kind}').read_text() for kind in ('udp', 'udp6', 'tcp'))
    rows = [line.split() for table in tables for line in table.splitlines()[1:]]
    return [row[ADDRESS].partition(':')[0] for row in rows if row[INODE] in own]


def _addresses_of_a_node(folder: Path) -> list[str]:
    name = 'yolox_trt_ros.ros.overlay_node'
    with NodeProcess(
        name, [], {'camera_names': ['front'], 'lane_names': ['cpu0']}, folder / 'node.log'
    ) as node:
        while len(addresses(node._process.pid)) < SOCKETS:
            node.check()
            time.sleep(0.1)
        time.sleep(0.5)  # whatever else it opens
        node.check()
        return addresses(node._process.pid)


def of_tools() -> AbstractContextManager[None]:
    isolate()
    return nullcontext()


def of_a_user() -> AbstractContextManager[None]:
    os.environ[settings.RANGE_VARIABLE] = 'LOCALHOST'
    settings.apply()
    return nullcontext()


@pytest.mark.parametrize('start', [of_tools, _own_domain, of_a_user])
def test_every_socket_of_a_node_is_bound_to_loopback(
    start: Callable[[], AbstractContextManager[None]], tmp_path: Path
) -> None:
    if settings.middleware() not in settings.FAST_DDS:
        pytest.skip('another middleware')
    with mock.patch.dict(os.environ):
        for name in SETTINGS:
            os.environ.pop(name, None)
        with start():
            assert set(_addresses_of_a_node(tmp_path)) == {LOOPBACK}
