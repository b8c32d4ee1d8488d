"""What `doctor` says of this machine, of a Jetson's files, and of everything that can be wrong."""

from __future__ import annotations

import argparse
import ctypes
import dataclasses
import json
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from yolox_trt_ros.core.config import EnginesConfig
from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.doctor import hardware, memory, software, vehicle
from yolox_trt_ros.doctor.finding import Finding, Severity, Wanted, examine
from yolox_trt_ros.engine import cuda_devices
from yolox_trt_ros.engine.cuda_devices import CudaDeviceInfo, CudaDriver, cuda_driver
from yolox_trt_ros.engine.tensorrt_versions import TensorRT
from yolox_trt_ros.tools import doctor
from yolox_trt_ros.vehicle_files import load_vehicle

OK, WARN, FAIL = Severity.OK, Severity.WARN, Severity.FAIL
NO_GPU = pytest.mark.skipif(bool(cuda_driver().devices), reason='this machine has a GPU')


def wanted(name: str) -> Wanted:
    return Wanted.of(load_vehicle(name))


def report(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    parser = argparse.ArgumentParser()
    doctor.add_arguments(parser)
    code = doctor.run(parser.parse_args([*arguments, '--json']))
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return code, found


def test_this_machine_runs_what_needs_no_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    code, found = report(capsys, '--vehicle', 'laptop_8cam')
    failed = [f for f in found['findings'] if f['level'] == 'FAIL']
    # The machine of a test may be short of memory or of room; the program must not be.
    assert {f['topic'] for f in failed} <= {'memory'}
    assert found['fit'] is (code == 0) is not failed
    topics = {f['topic'] for f in found['findings']}
    assert topics >= {'Python', 'ROS 2', 'packages', 'ONNX Runtime', 'memory', 'GPU', 'model'}


@NO_GPU
def test_orin_is_more_than_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    code, found = report(capsys, '--vehicle', 'orin_8cam')
    assert code == 1 and not found['fit']
    failed = {f['topic']: f for f in found['findings'] if f['level'] == 'FAIL'}
    assert {'GPU', 'DLA'} <= set(failed)
    assert 'lanes name dla:0, dla:1' in failed['DLA']['message']
    assert all(f['remedy'] or 'pip install' in f['message'] for f in failed.values())


def test_broken_vehicle_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = {'/**': {'ros__parameters': {'camera_names': ['a'], 'lane_names': []}}}
    file = tmp_path / 'v.param.yaml'
    file.write_text(yaml.safe_dump(content))
    code, found = report(capsys, '--vehicle', str(file))
    assert code == 1
    assert found['findings'][0]['level'] == 'FAIL'
    assert 'lane_names: expected at least one lane' in found['findings'][0]['message']


def test_screen(capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    doctor.add_arguments(parser)
    doctor.run(parser.parse_args([]))
    text = capsys.readouterr().out
    assert 'this machine can' in text and 'Python' in text
    assert len(text.splitlines()) < 60, 'one screen was promised'


def test_strict_counts_warnings(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def doubtful(_: Wanted) -> Iterator[Finding]:
        yield Finding(WARN, 'x', 'y', 'z')

    monkeypatch.setattr(doctor, 'CHECKS', (doubtful,))
    assert report(capsys)[0] == 0
    assert report(capsys, '--strict')[0] == 1


def test_check_that_breaks_down_is_a_finding() -> None:
    def broken(_: Wanted) -> Iterator[Finding]:
        yield Finding(OK, 'x', 'first')
        raise ZeroDivisionError('oops')

    def wrong(_: Wanted) -> Iterator[Finding]:
        raise ConfigError('as it should be shown')
        yield

    found = list(examine([broken, wrong], Wanted()))
    assert [f.level for f in found] == [OK, FAIL, FAIL]
    assert 'oops' in found[1].message and found[2].message == 'as it should be shown'


# -- a Jetson's files --------------------------------------------------------------------------


@pytest.fixture
def orin(tmp_path: Path) -> Path:
    """Return the files of an AGX Orin with JetPack 6 that `jetson` reads."""
    files = {
        'etc/nv_tegra_release': '# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic\n',
        'proc/device-tree/model': 'NVIDIA Jetson AGX Orin Developer Kit\0',
        'sys/class/devfreq/17000000.gpu/min_freq': '306000000\n',
        'sys/class/devfreq/17000000.gpu/max_freq': '1300500000\n',
        'sys/class/devfreq/8188050000.nvdla0/min_freq': '0\n',
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    return tmp_path


def test_no_jetson(tmp_path: Path) -> None:
    assert not list(hardware.jetson(Wanted(), tmp_path))


@pytest.mark.parametrize(
    ('mode', 'level'), [('MAXN', OK), ('MODE_30W', WARN), ('', WARN)], ids=['full', 'saving', '?']
)
def test_power_mode(
    orin: Path, mode: str, level: Severity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, 'power_mode', lambda: mode)
    board, power, gpu = hardware.jetson(Wanted(), orin)
    assert board.message == 'NVIDIA Jetson AGX Orin Developer Kit, R36 (release)'
    assert power.level is level and bool(power.remedy) is (level is WARN)
    assert gpu.level is WARN and '17000000.gpu: 306 to 1300 MHz' in gpu.message
    (orin / 'sys/class/devfreq/17000000.gpu/min_freq').write_text('1300500000\n')
    assert [f.level for f in hardware.clocks(orin)] == [OK]


def test_power_mode_of_nvpmodel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / 'nvpmodel'
    program.write_text('#!/bin/sh\necho "NV Power Mode: MODE_30W\n2"\n')
    program.chmod(0o755)
    monkeypatch.setenv('PATH', str(tmp_path), prepend=':')
    assert hardware.power_mode() == 'MODE_30W'


# -- memory, GPUs, packages --------------------------------------------------------------------


def meminfo(folder: Path, free: int) -> Path:
    file = folder / 'meminfo'
    file.write_text(f'MemTotal: 32000000 kB\nMemAvailable: {free >> 10} kB\nHugePages: 0\n')
    return file


@pytest.mark.parametrize(('share', 'level'), [(2.1, OK), (1.1, WARN), (0.9, FAIL)])
@pytest.mark.parametrize('name', ['', 'laptop_8cam', 'orin_8cam'])
def test_memory(tmp_path: Path, name: str, share: float, level: Severity) -> None:
    asked = wanted(name) if name else Wanted()
    needed = memory.host_bytes(asked.config) if asked.config else memory.EXAMPLE
    (found,) = memory.memory(asked, meminfo(tmp_path, int(needed * share)))
    assert found.level is level and bool(found.remedy) is (level is not OK)
    assert f' about {needed / memory.GIB:.1f}' in found.message


RTX_CARD = CudaDeviceInfo(0, 'NVIDIA GeForce RTX 4090', '8.9', 24 << 30, False)
H100 = replace(RTX_CARD, name='NVIDIA H100', compute_capability='9.0')


def with_driver(monkeypatch: pytest.MonkeyPatch, *devices: CudaDeviceInfo, version: str) -> None:
    driver = CudaDriver(version, devices)
    for module in (hardware, software):
        monkeypatch.setattr(module, 'cuda_driver', lambda: driver)


def test_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    with_driver(monkeypatch, RTX_CARD, version='12.8')
    (found,) = hardware.gpus(wanted('desktop_8cam'))
    assert found.level is OK and 'cuda:0 NVIDIA GeForce RTX 4090' in found.message
    config = load_vehicle('desktop_8cam')
    two = replace(config, lanes=(replace(config.lanes[0], device='cuda:1'),))
    _, missing = hardware.gpus(Wanted.of(two))
    assert missing.level is FAIL and missing.message == 'there is no cuda:1'


def report_free(
    monkeypatch: pytest.MonkeyPatch, free: int | None, *devices: CudaDeviceInfo
) -> None:
    monkeypatch.setattr(memory, 'cuda_driver', lambda: CudaDriver('12.8', devices))
    monkeypatch.setattr(memory, 'free_memory', lambda device: free)


def test_memory_of_gpus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    vehicle_of = wanted('desktop_8cam')
    assert vehicle_of.config
    needed = memory.gpu_bytes(vehicle_of.config, 0)
    # A context, a network and two batches of eight images: more than one GiB, less than the card.
    assert 1 << 30 < needed < 8 << 30
    for share, level in ((2.1, OK), (1.1, WARN), (0.9, FAIL)):
        report_free(monkeypatch, int(needed * share), RTX_CARD)
        (found,) = memory.gpu_memory(vehicle_of)
        assert found.level is level and bool(found.remedy) is (level is not OK), found
    report_free(monkeypatch, 1 << 20, replace(RTX_CARD, index=1))
    (unused,) = memory.gpu_memory(vehicle_of)
    assert unused.level is OK and 'no lane is on it' in unused.message
    report_free(monkeypatch, None, RTX_CARD)
    (unknown,) = memory.gpu_memory(vehicle_of)
    assert unknown.level is OK and 'nobody knows' in unknown.message


def test_a_jetson_has_one_memory_for_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    orin = wanted('orin_8cam')
    assert orin.config
    report_free(monkeypatch, None, replace(RTX_CARD, integrated=True))
    assert not list(memory.gpu_memory(orin))
    both = memory.host_bytes(orin.config) + memory.gpu_bytes(orin.config, 0)
    (found,) = memory.memory(orin, meminfo(tmp_path, int(both * 0.9)))
    assert found.level is FAIL and f' about {both / memory.GIB:.1f}' in found.message


def test_more_lanes_larger_batches_and_builds_need_more() -> None:
    config = load_vehicle('orin_8cam')
    base = memory.gpu_bytes(config, 0)
    gpu = config.lanes[0]
    assert memory.gpu_bytes(replace(config, lanes=(gpu,)), 0) < base
    larger = tuple(replace(lane, max_batch=lane.max_batch + 4) for lane in config.lanes)
    assert memory.gpu_bytes(replace(config, lanes=larger), 0) > base
    never = replace(config, engines=EnginesConfig(build='never'))
    assert memory.gpu_bytes(never, 0) == base - memory.BUILD
    assert memory.gpu_bytes(config, 1) == 0


def test_free_memory_as_the_management_library_gives_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = replace(RTX_CARD, bus_id='0000:65:00.0')
    code = """
        #include <string.h>
        static int users;
        int nvmlInit_v2(void) { users++; return 0; }
        int nvmlShutdown(void) { users--; return 0; }
        int users_left(void) { return users; }
        int nvmlDeviceGetHandleByPciBusId_v2(const char *id, void **device) {
            *device = &users;
            return strcmp(id, "0000:65:00.0") ? 6 : 0;
        }
        int nvmlDeviceGetMemoryInfo(void *device, unsigned long long *memory) {
            memory[0] = 24ull << 30, memory[1] = 5ull << 30, memory[2] = 19ull << 30;
            return device != (void *)&users;
        }
    """
    library = tmp_path / 'libnvml.so'
    command = ['gcc', '-shared', '-fPIC', '-x', 'c', '-', '-o', str(library)]
    subprocess.run(command, input=code, text=True, check=True)
    monkeypatch.setattr(cuda_devices, '_MANAGEMENT', str(library))
    assert cuda_devices.free_memory(card) == 5 << 30
    assert cuda_devices.free_memory(replace(card, bus_id='0000:66:00.0')) is None
    assert ctypes.CDLL(str(library)).users_left() == 0
    monkeypatch.setattr(cuda_devices, '_MANAGEMENT', 'libnothing.so')
    assert cuda_devices.free_memory(card) is None


@NO_GPU
def test_driver_that_is_not_there() -> None:
    assert cuda_driver().problem
    assert [f.level for f in hardware.gpus(Wanted())] == [OK]
    assert [f.level for f in hardware.gpus(wanted('desktop_8cam'))] == [FAIL]


def test_tensorrt_and_the_gpu(rtx: TensorRT, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(software, 'load_tensorrt', lambda: rtx)
    with_driver(monkeypatch, RTX_CARD, version='12.8')
    message, fits = software.tensorrt(None, ['cuda'])
    assert fits and 'TensorRT-RTX 1.7.1' in message
    with_driver(monkeypatch, H100, version='12.8')
    message, fits = software.tensorrt(None, ['cuda'])
    assert not fits and 'does not run on NVIDIA H100 (9.0)' in message


def test_image_runtime_for_gpu_lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    # What auto stands for depends on what is installed.
    monkeypatch.setattr(
        software, 'with_backend', lambda lane: dataclasses.replace(lane, backend='onnxruntime')
    )
    found = next(software.backends(wanted('desktop_2gpu_8cam')))
    has = 'CUDAExecutionProvider' in onnxruntime.get_available_providers()
    assert found.level is (OK if has else FAIL)


def test_unknown_middleware(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('RMW_IMPLEMENTATION', 'rmw_zenoh_cpp')
    (found,) = software.middleware(Wanted())
    assert found.level is WARN and 'rmw_fastrtps_cpp' in found.remedy


def test_transport(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        vehicle.settings,
        'shortcomings',
        lambda config, environ: ['segment is small: make it larger'],
    )
    (found,) = vehicle.transport(Wanted())
    assert found == Finding(WARN, 'images', 'segment is small', 'make it larger')


def test_engines(rtx: TensorRT, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from yolox_trt_ros.engine import lanes

    monkeypatch.setattr(lanes, 'load_tensorrt', lambda: rtx)
    monkeypatch.setattr(lanes, 'cuda_driver', lambda: CudaDriver('12.8', (RTX_CARD,)))
    config = load_vehicle('orin_8cam')
    for build, level in (('auto', WARN), ('never', FAIL)):
        settings = EnginesConfig(build=build, folder=str(tmp_path / 'engines'))
        lane = replace(config.lanes[0], name='gpu')
        found = list(vehicle.engines(Wanted.of(replace(config, engines=settings, lanes=(lane,)))))
        assert [f.level for f in found] == [level]
        assert found[0].topic == 'engine of gpu' and 'there is no engine' in found[0].message
    assert not (tmp_path / 'engines').exists(), 'looking must not leave anything'
