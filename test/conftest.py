"""Fixtures that tests of several folders share."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from types import ModuleType

import hypothesis
import pytest
from tensorrt_wheels import RTX, installed

from yolox_trt_ros.engine.tensorrt_versions import TensorRT

ROOT = Path(__file__).resolve().parents[1]
REAL = Path(os.environ.get('YOLOX_TRT_ROS_REAL') or ROOT.parent / 'shared' / 'real')

# How long an example takes says how busy the machine is.
hypothesis.settings.register_profile('untimed', deadline=None)
hypothesis.settings.load_profile('untimed')


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Divide the tests between the processes of ``make test``.

    One process runs the tests with ROS nodes, so that they share fixtures and never meet; the other
    takes the rest file by file. What runs longest begins first.
    """
    for item in items:
        if not item.get_closest_marker('xdist_group'):
            alone = item.get_closest_marker('ros')
            item.add_marker(pytest.mark.xdist_group('ros' if alone else item.path.name))
    first = {'ros': 0, 'soak': 1}
    items.sort(key=lambda item: first.get(_group(item), 2))


def _group(item: pytest.Item) -> str:
    marker = item.get_closest_marker('xdist_group')
    return str(marker.args[0]) if marker else ''


@pytest.fixture(scope='session')
def real() -> Path:
    """Return the folder with a trained model, photographs and what is to be found in them."""
    if not (REAL / 'reference_detections.json').is_file():
        pytest.skip(f'no real model and photographs at {REAL} (set YOLOX_TRT_ROS_REAL)')
    return REAL


@pytest.fixture(scope='session')
def rtx_folder() -> Path:
    """Return where TensorRT-RTX is installed, for ``PYTHONPATH`` of other processes."""
    return installed(RTX)


@pytest.fixture(scope='session')
def rtx(rtx_folder: Path) -> TensorRT:
    """Return TensorRT-RTX, loaded into this process without being installed in it."""
    module: ModuleType
    sys.path.append(str(rtx_folder))
    try:
        module = importlib.import_module('tensorrt_rtx_bindings')
    finally:
        sys.path.remove(str(rtx_folder))
    return TensorRT(module)
