"""Compiling the kernels, once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from yolox_trt_ros.detect.cuda.runtime import KERNELS, CudaDevice, source

ROOT = Path(__file__).resolve().parents[2]

# Makes kernels of both files and prints how many of their sources NVRTC was given.
COUNTING = """
from cupy.cuda import compiler
from yolox_trt_ros.detect.cuda.runtime import CudaDevice

given = []
create = compiler.nvrtc.createProgram

def counted(text, *rest):
    given.append('__global__' in text)
    return create(text, *rest)

compiler.nvrtc.createProgram = counted
device = CudaDevice(0)
kernels = device.kernels('letterbox.cu', ['letterbox<Half, kPlanar, false>'], ())
kernels += device.kernels('yolox.cu', ['sift<Maps<Half>>', 'trim'], ('--fmad=false',))
assert len(kernels) == 3
print(sum(given))
"""


@pytest.mark.gpu
def test_kernels_are_compiled_once_for_all_processes(cuda: CudaDevice, tmp_path: Path) -> None:
    paths = os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])
    environment = {**os.environ, 'CUPY_CACHE_DIR': str(tmp_path), 'PYTHONPATH': paths}
    counts = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, '-c', COUNTING],
            env=environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        counts.append(int(done.stdout))
    assert counts == [2, 0], 'CuPy from 14.2 on keeps what it compiled of templates'


@pytest.mark.parametrize('file', sorted(path.name for path in KERNELS.glob('*.cu')))
def test_a_source_holds_what_it_includes(file: str) -> None:
    """For the cache knows a kernel by its text."""
    text = source(file)
    assert '#include "host_cuda.h"' in text, 'the one of host compilers, for which it stays'
    assert '.cuh"' not in text and '#pragma once' not in text
    assert text.count('struct Half {') == 1
