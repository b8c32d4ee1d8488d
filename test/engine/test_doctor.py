"""What `doctor` says of this machine, of a Jetson's files, and of everything that can be wrong."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from yolox_trt_ros.core.config import EnginesConfig
from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.engine.cuda_devices import CudaDeviceInfo, CudaDriver, cuda_driver
from yolox_trt_ros.engine.tensorrt_versions import TensorRT
from yolox_trt_ros.tools import doctor
from yolox_trt_ros.tools._doctor import hardware, software, vehicle
from yolox_trt_ros.tools._doctor.finding import Finding, Level, Wanted, examine
from yolox_trt_ros.vehicle_files import load_vehicle

OK, WARN, FAIL = Level.OK, Level.WARN, Level.FAIL
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
    assert 'lanes name dla:0, dla:1' in failed['DLA']['told']
    assert all(f['remedy'] or 'pip install' in f['told'] for f in failed.values())


def test_broken_vehicle_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = {'/**': {'ros__parameters': {'camera_names': ['a'], 'lane_names': []}}}
    file = tmp_path / 'v.param.yaml'
    file.write_text(yaml.safe_dump(content))
    code, found = report(capsys, '--vehicle', str(file))
    assert code == 1
    assert found['findings'][0]['level'] == 'FAIL'
    assert 'lane_names: expected at least one lane' in found['findings'][0]['told']


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
        raise ConfigError('as it should be told')
        yield

    found = list(examine([broken, wrong], Wanted()))
    assert [f.level for f in found] == [OK, FAIL, FAIL]
    assert 'oops' in found[1].told and found[2].told == 'as it should be told'


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
def test_power_mode(orin: Path, mode: str, level: Level, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, 'power_mode', lambda: mode)
    board, power, gpu = hardware.jetson(Wanted(), orin)
    assert board.told == 'NVIDIA Jetson AGX Orin Developer Kit, R36 (release)'
    assert power.level is level and bool(power.remedy) is (level is WARN)
    assert gpu.level is WARN and '17000000.gpu: 306 to 1300 MHz' in gpu.told
    (orin / 'sys/class/devfreq/17000000.gpu/min_freq').write_text('1300500000\n')
    assert [f.level for f in hardware.clocks(orin)] == [OK]


def test_power_mode_of_nvpmodel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / 'nvpmodel'
    program.write_text('#!/bin/sh\necho "NV Power Mode: MODE_30W\n2"\n')
    program.chmod(0o755)
    monkeypatch.setenv('PATH', str(tmp_path), prepend=':')
    assert hardware.power_mode() == 'MODE_30W'


# -- memory, GPUs, packages --------------------------------------------------------------------


@pytest.mark.parametrize(('free_kib', 'level'), [(9 << 20, OK), (2 << 20, WARN), (9 << 10, FAIL)])
def test_memory(tmp_path: Path, free_kib: int, level: Level) -> None:
    file = tmp_path / 'meminfo'
    file.write_text(f'MemTotal:       32000000 kB\nMemAvailable:   {free_kib} kB\nHugePages: 0\n')
    (found,) = hardware.memory(Wanted(), file)
    assert found.level is level and bool(found.remedy) is (level is not OK)


RTX_CARD = CudaDeviceInfo(0, 'NVIDIA GeForce RTX 4090', '8.9', 24 << 30, False)
H100 = replace(RTX_CARD, name='NVIDIA H100', compute_capability='9.0')


def with_driver(monkeypatch: pytest.MonkeyPatch, *devices: CudaDeviceInfo, version: str) -> None:
    driver = CudaDriver(version, devices)
    for module in (hardware, software):
        monkeypatch.setattr(module, 'cuda_driver', lambda: driver)


def test_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    with_driver(monkeypatch, RTX_CARD, version='12.8')
    (found,) = hardware.gpus(wanted('desktop_8cam'))
    assert found.level is OK and 'cuda:0 NVIDIA GeForce RTX 4090' in found.told
    config = load_vehicle('desktop_8cam')
    two = replace(config, lanes=(replace(config.lanes[0], device='cuda:1'),))
    _, missing = hardware.gpus(Wanted.of(two))
    assert missing.level is FAIL and missing.told == 'there is no cuda:1'


@NO_GPU
def test_driver_that_is_not_there() -> None:
    assert cuda_driver().problem
    assert [f.level for f in hardware.gpus(Wanted())] == [OK]
    assert [f.level for f in hardware.gpus(wanted('desktop_8cam'))] == [FAIL]


def test_tensorrt_and_the_gpu(rtx: TensorRT, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(software, 'load_tensorrt', lambda: rtx)
    with_driver(monkeypatch, RTX_CARD, version='12.8')
    (found,) = software.tensorrt(wanted('orin_8cam'))
    assert found.level is OK and 'TensorRT-RTX 1.7.1' in found.told
    with_driver(monkeypatch, H100, version='12.8')
    (found,) = software.tensorrt(wanted('orin_8cam'))
    assert found.level is FAIL and 'does not run on NVIDIA H100 (9.0)' in found.told


def test_image_runtime_for_gpu_lanes() -> None:
    import onnxruntime

    (found,) = software.onnx_runtime(wanted('desktop_8cam'))
    has = 'CUDAExecutionProvider' in onnxruntime.get_available_providers()
    assert found.level is (OK if has else FAIL)


def test_unknown_middleware(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('RMW_IMPLEMENTATION', 'rmw_zenoh_cpp')
    (found,) = software.middleware(Wanted())
    assert found.level is WARN and 'rmw_fastrtps_cpp' in found.remedy


def test_transport(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        vehicle.dds, 'shortcomings', lambda config, environ: ['segment is small: make it larger']
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
        assert found[0].topic == 'engine of gpu' and 'there is no engine' in found[0].told
    assert not (tmp_path / 'engines').exists(), 'looking must not leave anything'
