"""Kernels run twice: on the CPU, compiled by the host compiler, and on a GPU where there is one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from host_device import HostDevice, build, shared_folder
from tiny_models import write_yolox

from yolox_trt_ros.core.errors import MissingDependencyError
from yolox_trt_ros.detect.cuda.runtime import CudaDevice


@pytest.fixture(scope='session')
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the compiled kernels; each file is compiled where it is first used."""
    folder = shared_folder(tmp_path_factory, 'kernels')
    try:
        build(folder, 'letterbox.cu')
    except FileNotFoundError as error:
        pytest.skip(f'{error}: the kernels cannot be run on the CPU')
    return folder


@pytest.fixture(params=['host', pytest.param('gpu', marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> Any:
    if request.param == 'host':
        return HostDevice(request.getfixturevalue('library'))
    return gpu()


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return write_yolox(tmp_path / 'tiny.onnx', scores='logit')


@pytest.fixture
def cuda() -> CudaDevice:
    return gpu()


def gpu() -> CudaDevice:
    try:
        return CudaDevice(0)
    except MissingDependencyError as error:
        pytest.skip(str(error))
