"""How GPUs are connected, as ``doctor`` says it, from a sysfs that is written here."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from yolox_trt_ros.doctor import hardware
from yolox_trt_ros.doctor.finding import Severity, Wanted
from yolox_trt_ros.engine.cuda_devices import CudaDeviceInfo, CudaDriver, cuda_driver, peers

OK, WARN = Severity.OK, Severity.WARN
CARD = CudaDeviceInfo(0, 'NVIDIA GeForce RTX 4090', '8.9', 24 << 30, False)


@pytest.mark.parametrize('width', [16, 4])
def test_links_of_gpus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, width: int) -> None:
    first = replace(CARD, bus_id='0000:0A:00.0')
    devices = (first, replace(CARD, index=1, bus_id='0000:0B:00.0'))
    driver = CudaDriver('12.8', devices)
    monkeypatch.setattr(hardware, 'cuda_driver', lambda: driver)
    monkeypatch.setattr(hardware, 'peers', lambda device, others: [1 - device.index])
    folder = tmp_path / 'bus/pci/devices/0000:0a:00.0'
    folder.mkdir(parents=True)
    for name, text in (
        ('current_link_width', width), ('max_link_width', 16), ('numa_node', 1),
        ('current_link_speed', '32.0 GT/s PCIe'),
    ):  # fmt: skip
        (folder / name).write_text(f'{text}\n')
    cores = ['4095', ','.join(map(str, os.sched_getaffinity(0)))]
    for node in (0, 1):
        (tmp_path / f'devices/system/node/node{node}').mkdir(parents=True)
        (tmp_path / f'devices/system/node/node{node}/cpulist').write_text(cores[node])
    one, other = hardware.gpu_links(Wanted(), tmp_path)
    assert one.message == (
        f'cuda:0: PCIe x{width} of x16, 32.0 GT/s PCIe; NUMA node 1; peer access to cuda:1'
    )
    assert one.level is (OK if width == 16 else WARN) and other.level is OK
    assert 'PCIe link not known' in other.message
    (folder / 'numa_node').write_text('0')
    one, _ = hardware.gpu_links(Wanted(), tmp_path)
    assert one.level is WARN and one.remedy


def test_an_integrated_gpu_has_no_link(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = CudaDriver('12.6', (replace(CARD, integrated=True),))
    monkeypatch.setattr(hardware, 'cuda_driver', lambda: driver)
    assert not list(hardware.gpu_links(Wanted()))


@pytest.mark.gpu
def test_the_links_of_this_machine() -> None:
    devices = cuda_driver().devices
    if not devices:
        pytest.skip(cuda_driver().problem)
    found = list(hardware.gpu_links(Wanted()))
    print(*found, sep='\n')
    assert len(found) == sum(not device.integrated for device in devices)
    assert all(device.index not in peers(device, devices) for device in devices)
