"""What Linux says of a device's place, from a sysfs that is written here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from yolox_trt_ros.core import numa
from yolox_trt_ros.core.numa import cores_of, near, numa_node, pci_file

BUS = '0000:AB:00.0'


def write(root: Path, nodes: dict[int, str], at: str) -> Path:
    for node, cores in nodes.items():
        folder = root / 'devices/system/node' / f'node{node}'
        folder.mkdir(parents=True)
        (folder / 'cpulist').write_text(cores + '\n')
    device = root / 'bus/pci/devices' / BUS.lower()
    device.mkdir(parents=True)
    (device / 'numa_node').write_text(at + '\n')
    return root


@pytest.mark.parametrize(
    ('nodes', 'at', 'node'),
    [({0: '0-3', 1: '4-7'}, '1', 1), ({0: '0-3', 1: '4-7'}, '-1', None), ({0: '0-7'}, '0', None)],
)
def test_node_of_a_device(tmp_path: Path, nodes: dict[int, str], at: str, node: int | None) -> None:
    assert numa_node(BUS, write(tmp_path, nodes, at)) == node


def test_what_is_not_there_is_unknown(tmp_path: Path) -> None:
    assert numa_node(BUS, tmp_path) is None and cores_of(3, tmp_path) == set()
    assert pci_file(BUS, 'current_link_width', tmp_path) == ''


def test_cores_of_a_node(tmp_path: Path) -> None:
    root = write(tmp_path, {0: '0-2,8,10-11', 1: ''}, '0')
    assert cores_of(0, root) == {0, 1, 2, 8, 10, 11} and cores_of(1, root) == set()


def test_a_thread_is_near_a_node_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = os.sched_getaffinity(0)
    one = min(before)
    root = write(tmp_path, {0: str(one), 1: '4095'}, '0')
    monkeypatch.setattr(numa, 'cores_of', lambda node: cores_of(node, root))
    with pytest.raises(ValueError, match='as usual'), near(0):
        assert os.sched_getaffinity(0) == {one}
        raise ValueError('as usual')
    assert os.sched_getaffinity(0) == before
    for unusable in (1, None):
        with near(unusable):
            assert os.sched_getaffinity(0) == before
