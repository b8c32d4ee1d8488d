"""Fixtures that tests of several folders share."""

from __future__ import annotations

import ast
import functools
import importlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import hypothesis
import pytest
from tensorrt_wheels import RTX, installed

from yolox_trt_ros.core.resources import cache_folder
from yolox_trt_ros.engine.tensorrt_versions import TensorRT

ROOT = Path(__file__).resolve().parents[1]
REAL = Path(os.environ.get('YOLOX_TRT_ROS_REAL') or ROOT.parent / 'shared' / 'real')

# How long an example takes says how busy the machine is.
hypothesis.settings.register_profile('untimed', deadline=None)
hypothesis.settings.load_profile('untimed')


SOAK = 'test_two_minutes_of_cameras'
_soak = pytest.StashKey[subprocess.Popen[str]]()


def pytest_configure(config: pytest.Config) -> None:
    """Give the run a cache folder of its own; pictures, which take a minute, stay where they are.

    Processes of ``make test`` inherit it.
    """
    if hasattr(config, 'workerinput'):
        return
    pictures = cache_folder('world')
    pictures.mkdir(parents=True, exist_ok=True)
    own = tempfile.TemporaryDirectory()
    config.add_cleanup(own.cleanup)
    os.environ['XDG_CACHE_HOME'] = own.name
    cache_folder('world').parent.mkdir()
    cache_folder('world').symlink_to(pictures)


@functools.cache
def _marked(file: str) -> frozenset[str]:
    """Return which functions of a file are marked ``ros``; "" stands for all."""
    text = (ROOT / file).read_text(encoding='utf-8')
    if 'mark.ros' not in text:
        return frozenset()
    tree = ast.parse(text)
    if any(isinstance(s, ast.Assign) and 'mark.ros' in ast.unparse(s) for s in tree.body):
        return frozenset({''})
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    return frozenset(
        f.name for f in functions if any('mark.ros' in ast.unparse(d) for d in f.decorator_list)
    )


def starts_nodes(test: str) -> bool:
    """Return whether a test starts ROS nodes, by its id: the process that divides loads no test."""
    name = test.partition('[')[0]
    marked = _marked(name.partition('::')[0])
    return '' in marked or name.rpartition('::')[2] in marked


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Divide the tests between the processes of ``make test``.

    Files go to whichever process is free. Tests of ROS nodes come last and go to one process: they
    share fixtures, look at the machine's shared memory, and want its cores.
    """
    from xdist.scheduler import LoadScopeScheduling

    class NodesInOneProcess(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return 'nodes' if starts_nodes(nodeid) else nodeid.partition('::')[0]

    return NodesInOneProcess(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run tests of ROS nodes last, and ask for the soak test's result after them.

    On a machine that others use, a node's service has been seen not to answer for a minute: Fast
    DDS takes a process that stood still for a second for dead (docs/dds.md). Tests of nodes get a
    second chance, which the summary counts (pytest-rerunfailures).
    """
    items.sort(key=lambda item: (starts_nodes(item.nodeid), item.name == SOAK))
    if config.pluginmanager.hasplugin('rerunfailures'):
        for item in items:
            if item.get_closest_marker('ros') and item.name != SOAK:
                item.add_marker(pytest.mark.flaky(reruns=1))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Start the soak test with the first test of nodes: it takes long and little CPU time."""
    stash = item.config.stash
    wanted = item.get_closest_marker('ros') and _soak not in stash
    if wanted and any(other.name == SOAK for other in item.session.items):
        script = Path(__file__).parent / 'soak' / 'soak.py'
        command = [sys.executable, str(script), '--seconds', '120', '--size', '320', '240']
        stash[_soak] = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )


@pytest.fixture
def soak(pytestconfig: pytest.Config) -> subprocess.Popen[str]:
    """Return the running soak test."""
    return pytestconfig.stash[_soak]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """End a soak test that nobody waited for."""
    process = session.config.stash.get(_soak, None)
    if process and process.poll() is None:
        process.terminate()
        process.wait()


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
