"""Engines of a vehicle's lanes: built when the node is configured, found afterwards."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tensorrt_wheels import ROOT, rtx_environment
from tiny_models import write_yolox

from yolox_trt_ros.compose import lane_specs, load_model
from yolox_trt_ros.core.config import Config
from yolox_trt_ros.core.errors import ConfigError, EngineError, MissingDependencyError
from yolox_trt_ros.engine import lanes, provide
from yolox_trt_ros.engine.cuda_devices import CudaDeviceInfo, CudaDriver
from yolox_trt_ros.engine.tensorrt_versions import TensorRT
from yolox_trt_ros.tools import build

CARD = CudaDriver('12.8', (CudaDeviceInfo(0, 'NVIDIA GeForce RTX 4090', '8.9', 24 << 30, False),))


@pytest.fixture
def config_of(
    rtx: TensorRT, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Config]:
    """Return a vehicle with one GPU lane, on a machine that seems to have a GPU."""
    monkeypatch.setattr(lanes, 'load_tensorrt', lambda: rtx)
    monkeypatch.setattr(lanes, 'cuda_driver', lambda: CARD)
    monkeypatch.setattr(provide, 'cuda_driver', lambda: CARD)
    write_yolox(tmp_path / 'm.onnx', layout='per_level')

    def make(**parameters: Any) -> Config:
        return Config.from_parameters({
            'camera_names': ['front'],
            'lane_names': ['gpu'],
            'lanes.gpu.device': 'cuda:0',
            'lanes.gpu.backend': 'tensorrt',
            'lanes.gpu.max_batch': 2,
            'model.path': str(tmp_path / 'm.onnx'),
            'engines.folder': str(tmp_path / 'engines'),
            **{name.replace('__', '.'): value for name, value in parameters.items()},
        })  # fmt: skip

    return make


def specs_of(config: Config, *tellers: Callable[..., None]) -> list[Any]:
    return lane_specs(config, load_model(config.model), *tellers)


def test_missing_engine_is_built_with_progress(
    config_of: Callable[..., Config], tmp_path: Path
) -> None:
    messages: list[tuple[float, str]] = []
    events: list[str] = []
    specs_of(config_of(), lambda *row: messages.append(row), events.append)
    assert {lane for _, lane in messages} == {'gpu'} and messages[-1][0] > 0.5
    assert len(events) == 1 and events[0].startswith('lane gpu: there is no engine')
    (engine,) = (tmp_path / 'engines').glob('*.engine')
    assert '"device_name": "NVIDIA GeForce RTX 4090"' in engine.with_suffix('.json').read_text()
    messages.clear()
    specs_of(config_of(engines__build='never'), lambda *row: messages.append(row), events.append)
    assert not messages and len(events) == 1


def test_nothing_is_built_where_the_file_forbids_it(config_of: Callable[..., Config]) -> None:
    with pytest.raises(EngineError, match=r'there is no engine .*engines\.build is "never"'):
        specs_of(config_of(engines__build='never'))


def test_lane_without_gpu_is_refused_before_anything_is_built(
    config_of: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, 'cuda_driver', lambda: CudaDriver(problem='no NVIDIA driver'))
    with pytest.raises(MissingDependencyError, match=r'lanes\.gpu: cuda:0 needs an NVIDIA GPU: no'):
        specs_of(config_of())
    assert not (tmp_path / 'engines').exists()


def test_gpu_that_is_not_there(config_of: Callable[..., Config]) -> None:
    with pytest.raises(ConfigError, match='expected one of cuda:0 to cuda:0 on this machine'):
        specs_of(config_of(lanes__gpu__device='cuda:1'))


def test_model_of_one_lane(config_of: Callable[..., Config], tmp_path: Path) -> None:
    folder = tmp_path / 'other'
    folder.mkdir()
    write_yolox(folder / 'n.onnx', layout='per_level', seed=1)
    specs_of(config_of(lanes__gpu__model=str(folder / 'n.onnx')))
    assert [f.name for f in (tmp_path / 'engines').glob('n-gpu-fp16-b2-*.engine')]


@pytest.mark.parametrize(
    ('parameters', 'message'),
    [
        ({'lanes__gpu__precision': 'half'}, r'precision: "half" is not one of its values'),
        ({'lanes__gpu__backend': 'onnxruntime', 'lanes__gpu__model': 'x'}, 'only a tensorrt lane'),
        (
            {'lanes__gpu__device': 'dla:0', 'lanes__gpu__max_batch': 1,
             'lanes__gpu__precision': 'fp32'},
            'in fp16 or int8, not in fp32',
        ),
        ({'engines__build': 'maybe'}, 'engines.build: "maybe" is not one of its values'),
    ],
)  # fmt: skip
def test_wrong_parameters(
    config_of: Callable[..., Config], parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        config_of(**parameters)


def test_command_for_a_vehicle(
    config_of: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def run(*arguments: str) -> int:
        parser = argparse.ArgumentParser()
        build.add_arguments(parser)
        return build.run(parser.parse_args(arguments))

    monkeypatch.setattr(build, 'load_vehicle', lambda name: config_of())
    assert run('--vehicle', 'mine') == 0
    assert len(list((tmp_path / 'engines').glob('*.engine'))) == 1
    monkeypatch.undo()
    with pytest.raises(ConfigError, match='no lane of laptop_8cam has the backend tensorrt'):
        run('--vehicle', 'laptop_8cam')
    with pytest.raises(ConfigError, match='expected either a MODEL or --vehicle'):
        run()
    with pytest.raises(ConfigError, match='--device: expected cuda:N or dla:N, got "cpu"'):
        run('edge_n', '--device', 'cpu')


VEHICLE = """
from yolox_trt_ros.compose import lane_specs, load_model
from yolox_trt_ros.vehicle_files import load_vehicle
from yolox_trt_ros.core.errors import MissingDependencyError
config = load_vehicle('orin_8cam')
try:
    lane_specs(config, load_model(config.model))
except MissingDependencyError as error:
    print(error)
"""


@pytest.mark.parametrize('with_tensorrt', [False, True])
def test_packaged_vehicle_says_what_the_machine_lacks(
    with_tensorrt: bool, rtx_folder: Path
) -> None:
    environ = rtx_environment(rtx_folder) if with_tensorrt else None
    done = subprocess.run(
        [sys.executable, '-c', VEHICLE], cwd=ROOT, capture_output=True, text=True, env=environ,
        timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    if not done.stdout:
        pytest.skip('this machine has TensorRT and a GPU')
    expected = 'lanes.gpu: cuda:0 needs an NVIDIA GPU' if with_tensorrt else 'is not installed'
    assert expected in done.stdout
