"""Check Python, ROS 2 and the packages, and whether they fit together."""

from __future__ import annotations

import importlib
import os
import platform
import sys
from collections.abc import Iterator
from types import ModuleType

from yolox_trt_ros import __version__
from yolox_trt_ros.core.backends import BACKENDS, device_kind, with_backend
from yolox_trt_ros.core.config import LaneConfig
from yolox_trt_ros.doctor.finding import Finding, Severity, Wanted
from yolox_trt_ros.engine.cuda_devices import cuda_driver
from yolox_trt_ros.engine.tensorrt_versions import load_tensorrt
from yolox_trt_ros.ros.dds import settings

PYTHONS = ((3, 10), (3, 13))
RTX_CAPABILITIES = ('7.5', '8.0', '8.6', '8.9', '12.')


def python(wanted: Wanted) -> Iterator[Finding]:
    """Judge whether this Python is one that the package is made for."""
    message = f'{platform.python_version()} on {platform.machine()}, yolox_trt_ros {__version__}'
    right = PYTHONS[0] <= sys.version_info[:2] <= PYTHONS[1]
    remedy = '' if right else 'use Python 3.10 to 3.13'
    yield Finding(Severity.OK if right else Severity.FAIL, 'Python', message, remedy)


def ros(wanted: Wanted) -> Iterator[Finding]:
    """Judge whether there is a ROS 2, and whether the messages are built."""
    distro = os.environ.get('ROS_DISTRO')
    where = f'{distro}, sourced' if distro else 'wheels from PyPI'
    found, problem = _import('rclpy')
    if found is None:
        message = f'no rclpy: {problem}'
        yield Finding(Severity.FAIL, 'ROS 2', message, 'source a ROS 2 installation, or make setup')
        return
    yield Finding(Severity.OK, 'ROS 2', where)
    for name, remedy in (
        ('vision_msgs.msg', f'apt install ros-{distro or "<distro>"}-vision-msgs, or make setup'),
        ('yolox_trt_ros.msg', 'build the package with colcon, or make setup'),
    ):
        found, problem = _import(name)
        if found is None:
            yield Finding(Severity.FAIL, 'messages', f'{name}: {problem}', remedy)
    found, problem = _import('yolox_trt_ros._native')
    if found is None:
        message = f'the C++ part is not built: images come in by rclpy, slower ({problem})'
        yield Finding(Severity.WARN, 'image intake', message, 'build the package with colcon')
    else:
        yield Finding(Severity.OK, 'image intake', 'C++, without extra copies')


def middleware(wanted: Wanted) -> Iterator[Finding]:
    """Say which RMW there is."""
    rmw = settings.middleware()
    found, problem = _import(rmw)
    profile = settings.active_profile() or 'launch files give it the package’s profile'
    if rmw not in (*settings.FAST_DDS, settings.CYCLONE):
        message = f'{rmw}: nothing is known about eight cameras over it'
        yield Finding(
            Severity.WARN, 'middleware', message, f'RMW_IMPLEMENTATION={settings.DEFAULT_RMW}'
        )
    elif found is None and not os.environ.get('ROS_DISTRO'):
        yield Finding(Severity.FAIL, 'middleware', f'{rmw}: {problem}', 'make setup')
    else:
        yield Finding(Severity.OK, 'middleware', f'{rmw}; {profile}')


def packages(wanted: Wanted) -> Iterator[Finding]:
    """Judge whether the packages are there that every lane needs."""
    versions = []
    for name, package in (
        ('numpy', 'numpy'), ('cv2', 'opencv-python-headless'), ('yaml', 'pyyaml'), ('onnx', 'onnx'),
    ):  # fmt: skip
        found, problem = _import(name)
        if found is None:
            yield Finding(Severity.FAIL, name, problem, f'pip install {package}')
        else:
            versions.append(f'{name} {_version(found)}')
    yield Finding(Severity.OK, 'packages', ', '.join(versions))


def backends(wanted: Wanted) -> Iterator[Finding]:
    """Judge whether the packages of each backend are there, and fit what its lanes run on."""
    lanes = wanted.config.lanes if wanted.config else (LaneConfig(''),)
    for name, info in BACKENDS.items():
        if info.modules:
            kinds = {device_kind(x.device) for x in lanes if with_backend(x).backend == name}
            yield _backend(name, sorted(kinds))


def _backend(name: str, kinds: list[str]) -> Finding:
    """Return what is to be said of a backend whose lanes are on these kinds of device."""
    info = BACKENDS[name]
    found = [_import(module) for module in info.modules]
    module = next((module for module, _ in found if module is not None), None)
    remedy = info.install[kinds[-1] if kinds else next(iter(info.install))]
    if module is not None:
        message, fits = _FITS.get(name, _there)(module, kinds)
        if fits or not kinds:
            return Finding(Severity.OK, info.title, message)
        return Finding(Severity.FAIL, info.title, message, remedy)
    if not kinds and name != LaneConfig('').backend:
        return Finding(Severity.OK, info.title, f'not installed; only {name} lanes need it')
    return Finding(Severity.FAIL if kinds else Severity.WARN, info.title, found[0][1], remedy)


def _there(module: ModuleType, kinds: list[str]) -> tuple[str, bool]:
    return _version(module), True


def onnx_runtime(module: ModuleType, kinds: list[str]) -> tuple[str, bool]:
    """Return what ONNX Runtime runs on, and whether that is all its lanes are on."""
    providers = [p.removesuffix('ExecutionProvider') for p in module.get_available_providers()]
    message = f'{_version(module)}, runs on {", ".join(providers)}'
    return message, 'cuda' not in kinds or 'CUDA' in providers


def tensorrt(module: ModuleType | None, kinds: list[str]) -> tuple[str, bool]:
    """Return which TensorRT is used, and whether it knows this machine's GPUs."""
    found = load_tensorrt()  # raises with the remedy
    message = f'{found}, types {"from the ONNX" if found.strong_typing == "always" else "chosen"}'
    unknown = [
        device
        for device in cuda_driver().devices
        if not device.compute_capability.startswith(RTX_CAPABILITIES)
    ]
    if found.name != 'tensorrt_rtx' or not unknown:
        return message, True
    message += f'; it does not run on {unknown[0].name} ({unknown[0].compute_capability})'
    return message, False


_FITS = {'onnxruntime': onnx_runtime, 'tensorrt': tensorrt}
"""Backends of which more is to be said than that they are installed."""


def cupy(wanted: Wanted) -> Iterator[Finding]:
    """Judge whether CuPy is there, and made for this driver's CUDA."""
    driver = cuda_driver()
    major = driver.version.partition('.')[0] or '13'
    found, problem = _import('cupy')
    if found is None:
        needed = wanted.gpu
        message = problem if needed else 'not installed; only lanes on a GPU need it'
        remedy = f'pip install cupy-cuda{major}x' if needed else ''
        yield Finding(wanted.lacking(needed), 'CuPy', message, remedy)
        return
    number = found.cuda.runtime.runtimeGetVersion()
    built = f'{number // 1000}.{number % 1000 // 10}'
    message = f'{_version(found)} for CUDA {built}'
    if driver.version and number // 1000 > int(major):
        message += f', the driver knows CUDA up to {driver.version}'
        remedy = f'pip install cupy-cuda{major}x instead, or a newer driver'
        yield Finding(wanted.lacking(wanted.gpu), 'CuPy', message, remedy)
    else:
        yield Finding(Severity.OK, 'CuPy', message)


def _import(name: str) -> tuple[ModuleType | None, str]:
    """Return a module, or None and what went wrong."""
    try:
        return importlib.import_module(name), ''
    except ModuleNotFoundError as error:
        return None, 'not installed' if error.name == name.partition('.')[0] else str(error)
    except Exception as error:  # a package that breaks while it loads is as good as missing
        return None, f'it does not load: {error}'


def _version(module: ModuleType) -> str:
    return str(getattr(module, '__version__', 'of unknown version'))
