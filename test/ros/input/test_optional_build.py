"""Without one of the libraries that the C++ part needs the package is built without that part."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fuzz.fuzz import prefixes

pytest.importorskip('pybind11')

SOURCES = Path(__file__).parents[3] / 'src'
NEEDED = ('fastcdr', 'rcl', 'rcutils', 'rmw', 'rosidl_runtime_c')
PROJECT = f"""
cmake_minimum_required(VERSION 3.16)
project(yolox_trt_ros CXX)
set(PYTHON_INSTALL_DIR lib)
add_subdirectory({SOURCES} native)
"""


def configure(folder: Path, libraries: tuple[str, ...]) -> str:
    """Return what CMake says where a ROS 2 has only these libraries."""
    prefix = folder / 'prefix'
    (prefix / 'lib').mkdir(parents=True)
    (folder / 'CMakeLists.txt').write_text(PROJECT)
    for name in libraries:
        found = [p / 'lib' / f'lib{name}.so' for p in prefixes()]
        (prefix / 'lib' / f'lib{name}.so').symlink_to(next(p for p in found if p.exists()))
    headers = next(p for p in prefixes() if (p / 'include' / 'rcl').is_dir())
    (prefix / 'include').symlink_to(headers / 'include')
    done = subprocess.run(
        ['cmake', '-S', folder, '-B', folder / 'build', f'-DPython3_EXECUTABLE={sys.executable}'],
        env={**os.environ, 'AMENT_PREFIX_PATH': str(prefix), 'CMAKE_PREFIX_PATH': str(prefix)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    return done.stdout


@pytest.mark.skipif(not shutil.which('cmake') or not shutil.which('g++'), reason='needs CMake, g++')
@pytest.mark.parametrize('lacking', ['', 'rmw'])
def test_a_library_is_missing(tmp_path: Path, lacking: str) -> None:
    said = configure(tmp_path, tuple(name for name in NEEDED if name != lacking))
    assert ('The C++ part is not built' in said) == bool(lacking)
    assert not lacking or f'not found: {lacking})' in ' '.join(said.split())
