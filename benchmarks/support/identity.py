"""What a measured figure belongs to: this package's state, the machine, and the libraries on it."""

from __future__ import annotations

import platform
import re
import subprocess
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from yolox_trt_ros import __version__
from yolox_trt_ros.compose import available_cores
from yolox_trt_ros.core.config import Config
from yolox_trt_ros.core.errors import MissingDependencyError
from yolox_trt_ros.engine.cuda_devices import cuda_driver

LIBRARIES = re.compile(
    r'numpy|opencv-.*|onnxruntime.*|cupy.*|tensorrt.*|torch|torchvision|cvcuda.*'
    r'|nvidia-(cuda-runtime|cuda-nvrtc|cudnn|nvimgcodec|nvjpeg)(-cu\d+)?'
)
KERNEL_DRIVER = Path('/proc/driver/nvidia/version')


def identity() -> dict[str, Any]:
    """Return package version and commit, processor, GPUs, driver, CUDA and library versions."""
    installed = {d.metadata['Name']: d.version for d in distributions() if d.metadata['Name']}
    found: dict[str, Any] = {
        'package': package_version(),
        'python': platform.python_version(),
        'cores': available_cores(),
        'processor': platform.processor() or platform.machine(),
        'libraries': {k: installed[k] for k in sorted(installed) if LIBRARIES.fullmatch(k.lower())},
    }
    driver = cuda_driver()
    if driver.devices:
        found['gpus'] = [device.name for device in driver.devices]
        found['driver'] = _kernel_driver() or f'for CUDA {driver.version}'
        found |= _cuda()
    return found


def package_version() -> str:
    """Return what ``git describe`` says in a checkout, else the version."""
    root = Path(__file__).resolve().parents[2]
    command = ['git', '-C', str(root), 'describe', '--always', '--dirty']
    if (root / '.git').exists():
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            return __version__
        if done.returncode == 0:
            return f'{__version__}, commit {done.stdout.strip()}'
    return __version__


def lane_devices(config: Config) -> list[str]:
    """Return where each lane runs, a GPU by its name."""
    gpus = {f'cuda:{device.index}': device.name for device in cuda_driver().devices}
    return [
        ', '.join(filter(None, (lane.name, lane.backend, lane.device, gpus.get(lane.device))))
        for lane in config.lanes
    ]


def _kernel_driver() -> str:
    """Return the version of the NVIDIA driver; '' where the kernel does not say."""
    text = KERNEL_DRIVER.read_text(errors='replace') if KERNEL_DRIVER.exists() else ''
    match = re.search(r'\d+\.\d+(\.\d+)?', text)
    return match.group() if match else ''


def _cuda() -> dict[str, str]:
    """Return the versions of the CUDA runtime and of NVRTC that CuPy uses."""
    from yolox_trt_ros.detect.cuda.runtime import require_cupy

    try:
        cupy = require_cupy()
    except MissingDependencyError:
        return {}
    number = cupy.cuda.runtime.runtimeGetVersion()
    nvrtc = '.'.join(map(str, cupy.cuda.nvrtc.getVersion()))
    return {'cuda': f'{number // 1000}.{number % 1000 // 10}', 'nvrtc': nvrtc}
