"""A node that has to build its engines: by TensorRT-RTX; a stand-in of the driver has a GPU."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from peer import Detector, Peer, detector
from tensorrt_wheels import ROOT, RTX, installed

pytestmark = [pytest.mark.ros, pytest.mark.timeout(400)]
DRIVER = """
    #include <string.h>
    int cuDriverGetVersion(int *v) { *v = 12080; return 0; }
    int cuInit(unsigned flags) { return 0; }
    int cuDeviceGetCount(int *n) { *n = 1; return 0; }
    int cuDeviceGet(int *device, int index) { *device = index; return 0; }
    int cuDeviceGetPCIBusId(char *id, int size, int device) { strcpy(id, ""); return 0; }
    int cuDeviceGetName(char *name, int size, int device) { strcpy(name, "a card"); return 0; }
    int cuDeviceTotalMem_v2(size_t *size, int device) { *size = 8ull << 30; return 0; }
    int cuDeviceGetAttribute(int *value, int which, int device) {
        *value = which == 75 ? 8 : which == 76 ? 9 : 0;
        return 0;
    }
"""


@pytest.fixture
def lane(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return the parameters of a vehicle whose two lanes have no engines yet."""
    library = tmp_path / 'libcuda.so.1'
    command = ['gcc', '-shared', '-fPIC', '-x', 'c', '-', '-o', str(library)]
    subprocess.run(command, input=DRIVER, text=True, check=True)
    inherited = os.environ.get('LD_LIBRARY_PATH')
    paths = [str(tmp_path), *([inherited] if inherited else [])]
    monkeypatch.setenv('LD_LIBRARY_PATH', os.pathsep.join(paths))
    monkeypatch.setenv('PYTHONPATH', os.pathsep.join([str(ROOT), str(installed(RTX))]))
    return {
        'camera_names': ['front'],
        'lane_names': ['gpu', 'exact'],
        **{f'lanes.{name}.device': 'cuda:0' for name in ('gpu', 'exact')},
        **{f'lanes.{name}.backend': 'tensorrt' for name in ('gpu', 'exact')},
        'lanes.exact.precision': 'fp32',
        'model.path': 'edge_s_cut',
        'engines.folder': str(tmp_path / 'engines'),
    }


def test_a_node_that_only_builds_shows_how_far_it_is_and_ends(
    peer: Peer, tmp_path: Path, lane: dict[str, Any]
) -> None:
    message: set[str] = set()

    def built() -> bool:
        message.update(status.message for status in peer.diagnostics.values())
        return len(list((tmp_path / 'engines').glob('*.json'))) == 2

    node = Detector(tmp_path, 'building', {**lane, 'build_only': True}, '/**')
    try:
        peer.until(built, 'engines')
        progress = [t for t in message if 'building the engine of lane ' in t]
        assert progress and all(t.endswith('%') for t in progress), (message, node.log)
        assert node.end() == 0, node.log
    finally:
        node.kill()
    assert node.log.count('there is no engine for these settings') == 2
    assert node.log.count('building the engine of lane gpu: ') > 3, 'progress in the log'
    assert 'every lane has what it runs' in node.log and 'Traceback' not in node.log


def test_a_node_that_may_not_build_says_so(
    peer: Peer, tmp_path: Path, lane: dict[str, Any]
) -> None:
    never = {**lane, 'engines.build': 'never'}
    with detector(peer, tmp_path, 'never', never, 'unconfigured') as node:
        text = 'engines.build is "never"'
        peer.until(lambda: any(text in s.message for s in peer.diagnostics.values()), 'refusal')
        levels = {s.level for s in peer.diagnostics.values() if text in s.message}
        assert levels == {DiagnosticStatus.ERROR}
        assert text in node.log and not (tmp_path / 'engines').exists()


STUCK = """
import ctypes, os, pathlib, sys
import host_tensorrt_builder as host

def work(builder):
    (pathlib.Path(__file__).parent / 'pid').write_text(str(os.getpid()))
    ctypes.PyDLL(None).sleep(300)

host.Builder.work = work
sys.modules['tensorrt'] = host.host_tensorrt_builder('8.6.1')
"""


def test_a_node_ends_in_the_middle_of_a_build_that_cannot_be_stopped(
    peer: Peer, tmp_path: Path, lane: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """TensorRT 8, by a stand-in that is deaf to everything."""
    folder = tmp_path / 'trt'
    folder.mkdir()
    (folder / 'tensorrt.py').write_text(STUCK)
    paths = [str(folder), str(ROOT), str(ROOT / 'test')]
    monkeypatch.setenv('PYTHONPATH', os.pathsep.join(paths))
    node = Detector(tmp_path, 'stuck', lane, '/**')
    try:
        peer.until((folder / 'pid').exists, 'a build')
        child = Path(f'/proc/{(folder / "pid").read_text()}')
        assert child.exists()
        assert node.interrupt() == 0, node.log
        peer.until(lambda: not child.exists(), 'the end of the build')
    finally:
        node.kill()
    assert not any(word in node.log for word in ('FATAL', 'Traceback', 'Aborted'))
