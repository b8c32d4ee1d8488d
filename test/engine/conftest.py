"""TensorRT where no TensorRT is: TensorRT-RTX, which builds without a GPU, and real bindings.

The wheels are test dependencies, small enough for every run (RTX 90 MB, bindings 1 MB each). They
are installed from ``wheels/*.txt``, with hashes, when a test first asks for them, into ``build/``.
"""

from __future__ import annotations

import fcntl
import importlib
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from yolox_trt_ros.engine.tensorrt_versions import TensorRT

ROOT = Path(__file__).resolve().parents[2]
WHEELS = Path(__file__).parent / 'wheels'
MODELS = ROOT / 'models'
RTX = 'tensorrt_rtx-1.7.1'
CERTIFICATES = Path('/etc/ssl/certs/ca-certificates.crt')


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
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=100)
    if done.returncode:
        pytest.skip(f'{name} cannot be installed: {" ".join(done.stderr.split())[-300:]}')
    half.rename(folder)


def rtx_environment(folder: Path) -> dict[str, str]:
    """Return the environment of a process that shall find TensorRT-RTX."""
    return {**os.environ, 'PYTHONPATH': os.pathsep.join([str(ROOT), str(folder)])}


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


@pytest.fixture(scope='session')
def quantised(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return edge_n_cut with Q/DQ nodes, as ONNX Runtime quantises it from noise."""
    import numpy as np
    from onnxruntime import quantization

    class Noise(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            images = np.random.default_rng(0).uniform(0, 255, (2, 1, 3, 320, 480))
            self._images = iter(images.astype(np.float32))

        def get_next(self) -> dict[str, np.ndarray] | None:
            image = next(self._images, None)
            return None if image is None else {'images': image}

    path = tmp_path_factory.mktemp('quantised') / 'edge_n_cut.qdq.onnx'
    quantization.quantize_static(
        str(MODELS / 'edge_n_cut.onnx'),
        str(path),
        Noise(),
        quant_format=quantization.QuantFormat.QDQ,
        per_channel=True,
        activation_type=quantization.QuantType.QInt8,
        weight_type=quantization.QuantType.QInt8,
        op_types_to_quantize=['Conv'],
        extra_options={
            'ActivationSymmetric': True,
            'WeightSymmetric': True,
            'QuantizeBias': False,
            'AddQDQPairToWeight': True,
        },
    )
    return path
