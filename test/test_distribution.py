"""What pip installs: the whole package, and nothing of its tests."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest

import yolox_trt_ros

ROOT = Path(__file__).resolve().parents[1]
SHARED = ('config', 'launch', 'models')
LISTING = """
import json, setuptools
from distutils.core import run_setup
setup = run_setup('setup.py', stop_after='config')
build = setup.get_command_obj('build_py')
build.ensure_finalized()
files = [path[len(build.build_lib) + 1 :] for path in build.get_outputs(include_bytecode=False)]
files += [f'{where}/{p.rpartition("/")[2]}' for where, paths in setup.data_files for p in paths]
print(json.dumps([setup.get_version(), files]))
"""


@pytest.fixture(scope='module')
def wheel() -> tuple[str, set[str]]:
    """Return the version and the files of the wheel that would be built; nothing is built."""
    pytest.importorskip('setuptools')
    command = [sys.executable, '-c', LISTING]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    version, files = json.loads(done.stdout.splitlines()[-1])
    assert len(files) == len(set(files))
    return version, set(files)


def present(*folders: str) -> set[str]:
    return {
        str(path.relative_to(ROOT))
        for folder in folders
        for path in (ROOT / folder).rglob('*')
        if path.is_file() and path.suffix not in ('.pyc', '.npy')
    }


def test_wheel_holds_all_that_the_package_needs(wheel: tuple[str, set[str]]) -> None:
    _, files = wheel
    share = 'share/yolox_trt_ros'
    assert {f for f in files if f.startswith('yolox_trt_ros/')} == present('yolox_trt_ros')
    assert {f'{share}/{f}' for f in present(*SHARED)} | {f'{share}/package.xml'} == {
        f for f in files if f.startswith(share)
    }
    assert {f'lib/{f}' for f in present('scripts')} == {
        f.replace('lib/yolox_trt_ros', 'lib/scripts') for f in files if f.startswith('lib/')
    }


def test_wheel_holds_nothing_of_the_tests(wheel: tuple[str, set[str]]) -> None:
    version, files = wheel
    assert version == yolox_trt_ros.__version__
    tops = {PurePosixPath(f).parts[0] for f in files}
    assert tops == {'yolox_trt_ros', 'share', 'lib'}  # no package that others have by that name
    # yolox_trt_ros.testing is for replay tests of users.
    assert not [f for f in files if 'test' in PurePosixPath(f).parts or f.endswith('.npy')]
    assert not [f for f in files if PurePosixPath(f).name.startswith('test_')]


INSTALLED = """
import sys
sys.path.insert(0, sys.argv[1])
import yolox_trt_ros
from yolox_trt_ros.core.resources import find_resource
assert yolox_trt_ros.__file__.startswith(sys.argv[1]), yolox_trt_ros.__file__
print(yolox_trt_ros.__version__, find_resource('models', 'edge_n', '.onnx'))
"""


@pytest.mark.parametrize(
    'site', ['lib/python3.12/site-packages', 'local/lib/python3.10/dist-packages', '.']
)
def test_what_lies_in_share_is_found_beside_an_installed_package(site: str, tmp_path: Path) -> None:
    folder = tmp_path / site
    shutil.copytree(ROOT / 'yolox_trt_ros' / 'core', folder / 'yolox_trt_ros' / 'core')
    shutil.copy(ROOT / 'yolox_trt_ros' / '__init__.py', folder / 'yolox_trt_ros')
    share = tmp_path / 'share' / 'yolox_trt_ros'
    (share / 'models').mkdir(parents=True)
    (share / 'models' / 'edge_n.onnx').touch()
    package = (ROOT / 'package.xml').read_text()
    version = yolox_trt_ros.__version__
    (share / 'package.xml').write_text(package.replace(f'<version>{version}', '<version>9.8.7'))
    command = [sys.executable, '-I', '-c', INSTALLED, str(folder.resolve())]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.split() == ['9.8.7', str(share.resolve() / 'models/edge_n.onnx')], (
        done.stderr
    )
