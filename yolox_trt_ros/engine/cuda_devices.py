"""List the NVIDIA GPUs of this machine through the driver, without any package."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from dataclasses import dataclass

_DRIVER = 'libcuda.so.1'
_MANAGEMENT = 'libnvidia-ml.so.1'
_MAJOR, _MINOR, _INTEGRATED = 75, 76, 18  # CUdevice_attribute


@dataclass(frozen=True, slots=True)
class CudaDeviceInfo:
    """One GPU.

    Attributes:
        index: the N of ``cuda:N``.
        name: the vendor's name.
        compute_capability: such as ``8.7``.
        memory: bytes.
        integrated: whether it shares the host's memory, as on a Jetson.
        bus_id: where it sits on the PCI bus, such as ``0000:65:00.0``; '' if that is not known.
    """

    index: int
    name: str
    compute_capability: str
    memory: int
    integrated: bool
    bus_id: str = ''


@dataclass(frozen=True, slots=True)
class CudaDriver:
    """What the driver says.

    Attributes:
        version: of CUDA that it supports, such as ``12.6``; '' without a driver.
        devices: the GPUs, in CUDA's order; ``CUDA_VISIBLE_DEVICES`` applies.
        problem: why there are none; '' if there are.
    """

    version: str = ''
    devices: tuple[CudaDeviceInfo, ...] = ()
    problem: str = ''


def cuda_driver() -> CudaDriver:
    """Return what the CUDA driver says of itself and its GPUs; never raises."""
    try:
        cuda = ctypes.CDLL(_DRIVER)
    except OSError:
        return CudaDriver(problem=f'no NVIDIA driver ({_DRIVER} is not installed)')
    number = ctypes.c_int()
    cuda.cuDriverGetVersion(ctypes.byref(number))
    version = f'{number.value // 1000}.{number.value % 1000 // 10}'
    status = cuda.cuInit(0)
    if status == 0:
        status = cuda.cuDeviceGetCount(ctypes.byref(number))
    if status:
        return CudaDriver(version, problem=f'the driver does not start: {_error(cuda, status)}')
    devices = tuple(_device(cuda, index) for index in range(number.value))
    return CudaDriver(version, devices, '' if devices else 'the driver finds no GPU')


def peers(device: CudaDeviceInfo, others: Iterable[CudaDeviceInfo]) -> list[int]:
    """Return the numbers of those GPUs whose memory a GPU reaches without the host."""
    try:
        cuda = ctypes.CDLL(_DRIVER)
    except OSError:
        return []
    found, reaches = [], ctypes.c_int()
    for other in others:
        status = cuda.cuDeviceCanAccessPeer(ctypes.byref(reaches), device.index, other.index)
        if other.index != device.index and status == 0 and reaches.value:
            found.append(other.index)
    return found


def free_memory(device: CudaDeviceInfo) -> int | None:
    """Return the free memory of a GPU, bytes, or None if nobody knows; occupies none of it.

    The driver's management library is asked: CUDA itself would have to be started on the device.
    """
    try:
        nvml = ctypes.CDLL(_MANAGEMENT)
    except OSError:
        return None
    if not device.bus_id or nvml.nvmlInit_v2():
        return None
    try:
        handle, memory = ctypes.c_void_p(), _Memory()
        status = nvml.nvmlDeviceGetHandleByPciBusId_v2(
            device.bus_id.encode(), ctypes.byref(handle)
        ) or nvml.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory))
        return None if status else int(memory.free)
    finally:
        nvml.nvmlShutdown()


class _Memory(ctypes.Structure):
    """``nvmlMemory_t``."""

    _fields_ = tuple((name, ctypes.c_ulonglong) for name in ('total', 'free', 'used'))


def _device(cuda: ctypes.CDLL, index: int) -> CudaDeviceInfo:
    handle, name, memory = ctypes.c_int(), ctypes.create_string_buffer(256), ctypes.c_size_t()
    bus = ctypes.create_string_buffer(32)
    cuda.cuDeviceGet(ctypes.byref(handle), index)
    cuda.cuDeviceGetPCIBusId(bus, len(bus), handle)
    cuda.cuDeviceGetName(name, len(name), handle)
    cuda.cuDeviceTotalMem_v2(ctypes.byref(memory), handle)

    def attribute(which: int) -> int:
        value = ctypes.c_int()
        cuda.cuDeviceGetAttribute(ctypes.byref(value), which, handle)
        return value.value

    return CudaDeviceInfo(
        index,
        name.value.decode(errors='replace'),
        f'{attribute(_MAJOR)}.{attribute(_MINOR)}',
        memory.value,
        bool(attribute(_INTEGRATED)),
        bus.value.decode(),
    )


def _error(cuda: ctypes.CDLL, status: int) -> str:
    text = ctypes.c_char_p()
    cuda.cuGetErrorString(status, ctypes.byref(text))
    return (text.value or f'error {status}'.encode()).decode(errors='replace')
