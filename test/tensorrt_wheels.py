"""TensorRT where no TensorRT is: TensorRT-RTX, which builds without a GPU, and real bindings.

The wheels are test dependencies, small enough for every run (RTX 90 MB, bindings 1 MB each). They
are installed from ``wheels/*.txt``, with hashes, when a test first asks for them, into ``build/``.
"""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
WHEELS = Path(__file__).parent / 'engine' / 'wheels'
RTX = 'tensorrt_rtx-1.7.1'
CERTIFICATES = Path('/etc/ssl/certs/ca-certificates.crt')
INSTALL_S = 90.0


def installed(name: str) -> Path:
    """Return the folder that the packages of ``wheels/<name>.txt`` are installed in."""
    folder = ROOT / 'build' / 'tensorrt' / f'{name}-{sys.implementation.cache_tag}'
    if sys.platform != 'linux' or platform.machine() != 'x86_64':
        pytest.skip(f'{name}: its wheels are for Linux on x86-64, this is {platform.machine()}')
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f'{name}.lock').open('w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            install(name, folder)
    return folder


def install(name: str, folder: Path) -> None:
    uv = shutil.which('uv', path=f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}')
    if uv is None:
        pytest.skip(f'{name}: there is no uv to install it with')
    environ = dict(os.environ)
    if CERTIFICATES.exists():
        environ.setdefault('SSL_CERT_FILE', str(CERTIFICATES))
    half = folder.with_suffix('.part')
    shutil.rmtree(half, ignore_errors=True)
    command = [uv, 'pip', 'install', '--quiet', '--no-deps', '--require-hashes', '--only-binary']
    command += [':all:', '--python', sys.executable, '--target', str(half)]
    command += ['-r', str(WHEELS / f'{name}.txt')]
    try:
        done = subprocess.run(
            command, env=environ, capture_output=True, text=True, timeout=INSTALL_S
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f'{name} cannot be installed in {INSTALL_S:g} s: the registry is too slow')
    if done.returncode:
        pytest.skip(f'{name} cannot be installed: {" ".join(done.stderr.split())[-300:]}')
    half.rename(folder)


def rtx_environment(folder: Path) -> dict[str, str]:
    """Return the environment of a process that shall find TensorRT-RTX."""
    return {**os.environ, 'PYTHONPATH': os.pathsep.join([str(ROOT), str(folder)])}
