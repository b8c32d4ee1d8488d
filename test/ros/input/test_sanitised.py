"""The tests of the C++ part once more, with it built for the address sanitizer."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from built import built
from fuzz.fuzz import include_options, library_options

pybind11 = pytest.importorskip('pybind11')

HERE = Path(__file__).parent
SOURCES = HERE.parents[2] / 'src'
RUN = """
import importlib.util, sys
import pytest, rclpy, yolox_trt_ros
spec = importlib.util.spec_from_file_location('yolox_trt_ros._native', sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
sys.modules[spec.name] = yolox_trt_ros._native = module
sys.exit(pytest.main(['-q', '-p', 'no:cacheprovider', *sys.argv[2:]]))
"""


# Instantiations of pybind11, which are slow to compile; their pointers are checked, too.
BINDINGS = ('module.cpp', 'results.cpp')
needs_compiler = pytest.mark.skipif(not shutil.which('g++'), reason='needs g++ with its sanitizers')


def build(folder: Path) -> None:
    command = ['g++', '-std=c++17', '-fPIC', '-O0', '-g1', '-w', '-fvisibility=hidden']
    command += [f'-I{sysconfig.get_path("include")}', f'-I{pybind11.get_include()}']
    command += include_options()
    objects = []
    for source in sorted(SOURCES.glob('*.cpp')):
        checks = ['-fsanitize=address']
        if source.name not in BINDINGS:
            checks += ['-fsanitize=undefined', '-fno-sanitize=vptr']
        objects.append(str(folder / f'{source.stem}.o'))
        subprocess.run([*command, *checks, '-c', str(source), '-o', objects[-1]], check=True)
    link = ['g++', '-shared', '-fsanitize=address,undefined', *objects, *library_options()]
    link += [f'-l{name}' for name in ('fastcdr', 'rcl', 'rcutils', 'rmw', 'rosidl_runtime_c')]
    subprocess.run([*link, '-o', str(folder / '_native.so')], check=True)


@needs_compiler
@pytest.mark.timeout(900)
def test_it_compiles_without_cores_that_nodes_want() -> None:
    assert (built('sanitised', build) / '_native.so').is_file()


@needs_compiler
@pytest.mark.ros
@pytest.mark.timeout(900)
def test_ingest_under_the_address_sanitizer() -> None:
    target = built('sanitised', build) / '_native.so'
    runtime = [_library(name) for name in ('libasan.so', 'libubsan.so', 'libstdc++.so')]
    environ = dict(os.environ)
    environ |= {'LD_PRELOAD': ' '.join(runtime), 'PYTHONMALLOC': 'malloc'}
    environ |= {'ASAN_OPTIONS': 'detect_leaks=0', 'UBSAN_OPTIONS': 'halt_on_error=1'}
    templates = '../output/test_cdr_templates.py'
    results = f'{templates}::test_results_are_published_out_of_a_buffer_that_is_used_again'
    many = f'{templates}::test_many_detections_make_room_for_themselves'
    names = (
        'test_ingest.py',
        'test_pinned_memory.py',
        'test_native_reader.py',
        many,
        results,
    )
    # A process of its own would not have the sanitised library.
    tests = [*(str(HERE / name) for name in names), '-k', 'not plain and not process']
    command = [sys.executable, '-c', RUN, str(target), *tests]
    done = subprocess.run(command, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    assert 'Sanitizer' not in done.stderr


def _library(name: str) -> str:
    return subprocess.check_output(['g++', f'-print-file-name={name}'], text=True).strip()
