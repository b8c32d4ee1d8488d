"""The CUDA device: memory, streams, events and compiled kernels.

Only :class:`CudaDevice` and the backends touch CuPy. Tests without a GPU put another
:class:`Device` in its place that runs the same kernels on the CPU.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from yolox_trt_ros.core.errors import ConfigError, MissingDependencyError
from yolox_trt_ros.core.numa import near, numa_node

KERNELS = Path(__file__).parent / 'kernels'

SETUP_LOCK = threading.Lock()
"""Held while a backend or a detector is made or closed. Loading kernels, a network's first run and
freeing memory wait for the whole device, which breaks the recording of a CUDA graph on any other
thread."""

OUT_OF_MEMORY = 2
"""``cudaErrorMemoryAllocation``."""

Launcher = Callable[[tuple[int, ...], tuple[int, ...], tuple[Any, ...]], None]
"""Called with grid, block and arguments; enqueues on the current stream. Arguments are NumPy
scalars, or arrays of one structured element, which the kernel gets by value."""

INCLUDE = re.compile(r'^#include "(\w+\.cuh)"\n', re.MULTILINE)


class Device(Protocol):
    """Memory, kernels and streams of one device. Streams and events are CuPy's or behave so."""

    integrated: bool
    """Whether host and device share their memory, so that nothing needs to be copied."""

    def kernels(self, file: str, names: Sequence[str], options: Sequence[str]) -> list[Launcher]:
        """Compile a file of ``kernels/`` and return the named instances of its templates."""
        ...

    def zeros(self, shape: Sequence[int], dtype: Any) -> Any:
        """Return an array on the device, written on the current stream.

        Raises:
            MemoryError: the device has no more.
        """
        ...

    def array(self, data: np.ndarray) -> Any:
        """Return a copy on the device, ready for what is then enqueued on the current stream."""
        ...

    def pinned(self, count: int, dtype: Any) -> np.ndarray:
        """Return an array (count,), count > 0, in host memory that kernels reach too.

        Raises:
            MemoryError: no more can be pinned.
        """
        ...

    def give_back(self) -> None:
        """Return memory that nobody uses any more to the driver, which may wait for the device."""
        ...

    def reach(self, data: np.ndarray) -> int | None:
        """Return where kernels and copy engines find an array of the host where it lies.

        ``None``: nowhere, for its memory is not pinned.
        """
        ...

    def address(self, array: Any) -> int:
        """Return where an array of this device, or :meth:`pinned`, lies for kernels."""
        ...

    def stream(self) -> Any:
        """Return a new stream, which does not wait for the default stream."""
        ...

    def use(self) -> None:
        """Make it the current device of the calling thread."""
        ...

    def event(self) -> Any:
        """Return a new event with timing, whose ``synchronize`` lets the thread sleep."""
        ...

    def elapsed_ns(self, first: Any, second: Any) -> int:
        """Return the device's time from one recorded event to another."""
        ...

    def upload(self, target: int, source: int, size: int, stream: Any) -> None:
        """Enqueue a copy of pinned bytes, from and to addresses of the device."""
        ...

    def mark(self, stage: str) -> AbstractContextManager[Any]:
        """Return a named range for profilers, to be entered as often as one likes."""
        ...


def require_cupy() -> Any:
    """Return the ``cupy`` module.

    Raises:
        MissingDependencyError: it is not installed, or finds no CUDA driver.
    """
    try:
        import cupy
    except ImportError as error:
        raise MissingDependencyError(
            'a cuda lane needs CuPy: pip install cupy-cuda13x (cupy-cuda12x for CUDA 12)'
        ) from error
    try:
        cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise MissingDependencyError(
            f'a cuda lane needs an NVIDIA GPU and its driver; CUDA says: {error}'
        ) from error
    return cupy


def source(file: str) -> str:
    """Return a file of ``kernels/`` with the headers beside it in place of their includes.

    CuPy's cache knows a kernel by the text it is given, not by what that text includes.
    """
    seen: set[str] = set()

    def insert(match: re.Match[str]) -> str:
        name = match[1]
        if name in seen:
            return ''
        seen.add(name)
        return expand(name)

    def expand(name: str) -> str:
        text = (KERNELS / name).read_text(encoding='utf-8').replace('#pragma once\n', '')
        return INCLUDE.sub(insert, text)

    return expand(file)


def _ranges(cupy: Any) -> Any:
    if not cupy.cuda.nvtx.available:
        return nullcontext
    from cupyx.profiler import time_range

    return time_range


class CudaDevice:
    """A CUDA device and its context, made current for the calling thread.

    Args:
        index: the N of ``cuda:N``.

    Attributes:
        name: the vendor's.
        node: NUMA node of the host that it sits at; None: there is one only, or nobody knows.

    Raises:
        MissingDependencyError: no CuPy, no driver.
        ConfigError: there is no such device.
    """

    def __init__(self, index: int) -> None:
        self._cupy = require_cupy()
        self._runtime = runtime = self._cupy.cuda.runtime
        self._pinned, self._any_direction = runtime.memoryTypeHost, runtime.memcpyDefault
        count = runtime.getDeviceCount()
        if index >= count:
            raise ConfigError(
                f'device: expected one of cuda:0 to cuda:{count - 1} on this machine, '
                f'got cuda:{index}'
            )
        self.index = index
        self.use()
        properties = runtime.getDeviceProperties(index)
        self.name: str = properties['name'].decode()
        self.integrated = bool(properties['integrated'])
        bus_id = runtime.deviceGetPCIBusId(index)
        self.node = None if self.integrated else numa_node(bus_id)
        # A pool of its own: what one device gives back must not become another one's, for it lies
        # at that one's node.
        self._pinned_pool = self._cupy.cuda.PinnedMemoryPool(self._pin)
        self._range = _ranges(self._cupy)

    def use(self) -> None:
        """Make it the current device of the calling thread."""
        self._cupy.cuda.Device(self.index).use()

    def kernels(self, file: str, names: Sequence[str], options: Sequence[str]) -> list[Launcher]:
        """Compile by NVRTC, or load what was compiled before from CuPy's cache on disk.

        CuPy keeps instances of templates there from 14.2 on; an older one compiles at every start.
        """
        module = self._cupy.RawModule(
            code=source(file), options=('-std=c++17', *options), name_expressions=list(names)
        )
        return [module.get_function(name) for name in names]

    def zeros(self, shape: Sequence[int], dtype: Any) -> Any:
        """Return a ``cupy.ndarray``."""
        return self._cupy.zeros(tuple(shape), dtype)

    def array(self, data: np.ndarray) -> Any:
        """Return a ``cupy.ndarray`` of the data's bytes."""
        return self._cupy.asarray(data.view(np.uint8))

    def pinned(self, count: int, dtype: Any) -> np.ndarray:
        """Return pinned memory, which every device of the machine reaches; zeros.

        It lies at the device's NUMA node, where the machine has several.
        """
        size = count * np.dtype(dtype).itemsize
        try:
            with near(self.node):
                memory = self._pinned_pool.malloc(size)
        except self._runtime.CUDARuntimeError as error:
            if error.status != OUT_OF_MEMORY:
                raise
            raise MemoryError(f'CUDA cannot pin {size >> 20} MiB more') from error
        array = np.frombuffer(memory, dtype, count)
        array.view(np.uint8).fill(0)
        return array

    def give_back(self) -> None:
        """Empty CuPy's memory pools."""
        with self._cupy.cuda.Device(self.index):
            self._cupy.get_default_memory_pool().free_all_blocks()
            self._pinned_pool.free_all_blocks()

    def _pin(self, size: int) -> Any:
        cuda = self._cupy.cuda
        memory = cuda.PinnedMemory(size, cuda.runtime.hostAllocPortable)
        return cuda.PinnedMemoryPointer(memory, 0)

    def reach(self, data: np.ndarray) -> int | None:
        """Return the address; some GPUs see registered memory at another one than the host."""
        attributes = self._runtime.pointerGetAttributes(data.ctypes.data)
        return attributes.devicePointer if attributes.type == self._pinned else None

    def address(self, array: Any) -> int:
        """Return the address; pinned memory has the same one on host and device."""
        return array.ctypes.data if isinstance(array, np.ndarray) else array.data.ptr

    def stream(self) -> Any:
        """Return a ``cupy.cuda.Stream``."""
        return self._cupy.cuda.Stream(non_blocking=True)

    def event(self) -> Any:
        """Return a ``cupy.cuda.Event``."""
        return self._cupy.cuda.Event(block=True)

    def elapsed_ns(self, first: Any, second: Any) -> int:
        """Return the time between two events that the device has passed."""
        return int(self._cupy.cuda.get_elapsed_time(first, second) * 1e6)

    def upload(self, target: int, source: int, size: int, stream: Any) -> None:
        """Enqueue an asynchronous copy."""
        self._runtime.memcpyAsync(target, source, size, self._any_direction, stream.ptr)

    def mark(self, stage: str) -> AbstractContextManager[Any]:
        """Return an NVTX range, or nothing where CuPy was built without NVTX."""
        marked: AbstractContextManager[Any] = self._range(stage)
        return marked
