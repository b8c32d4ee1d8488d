"""A device that is the CPU: it runs the package's CUDA kernels, compiled by the host compiler.

Streams do at once what they are given, so nothing that depends on overlap can be seen here.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import re
import shutil
import subprocess
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from yolox_trt_ros.core.model import ModelSpec
from yolox_trt_ros.detect.backends.onnxruntime import OnnxRuntimeCpuBackend
from yolox_trt_ros.detect.backends.onnxruntime_cuda import batch_sizes
from yolox_trt_ros.detect.cuda.preprocess import InputFormat
from yolox_trt_ros.detect.cuda.runtime import KERNELS, Launcher

HOST = Path(__file__).parent / 'host'
ONE_AT_A_TIME = threading.Lock()


READER = re.compile(r'template <class T> struct (\w+) :')


def shared_folder(factory: pytest.TempPathFactory, name: str) -> Path:
    """Return a folder that all processes of one run of the tests have."""
    folder = factory.getbasetemp()
    if 'PYTEST_XDIST_WORKER' in os.environ:
        folder = folder.parent
    (folder / name).mkdir(exist_ok=True)
    return folder / name


def build(folder: Path, file: str, more: Sequence[str] = ()) -> Path:
    """Compile a file of the kernels, once in all processes; ``more`` are words for the compiler."""
    compiler = shutil.which('g++') or shutil.which('clang++')
    if compiler is None:
        raise FileNotFoundError('no C++ compiler')
    library = folder / f'{file}.so'
    with (folder / f'{file}.lock').open('w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not library.exists():
            _compile(compiler, library, file, more)
    return library


def _compile(compiler: str, library: Path, file: str, more: Sequence[str]) -> None:
    flags = ['-std=c++17', '-O1', '-ffp-contract=off', '-fPIC', '-shared', '-fvisibility=hidden']
    flags += ['-Wall', '-Werror', '-Wno-unknown-pragmas']
    flags += ['-U_FORTIFY_SOURCE']  # it forbids the jumps between the stacks of threads
    readers = ' '.join(f'USE({name})' for name in READER.findall((KERNELS / file).read_text()))
    if readers:
        flags += [f'-DREADERS(USE)={readers}', f'-DKERNELS="{file}"']
    paths = [f'-I{HOST}', f'-I{KERNELS}']
    command = [compiler, *flags, *paths, str(HOST / 'kernels.cpp'), *more, '-o', f'{library}.part']
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    Path(f'{library}.part').replace(library)


class HostStream:
    """Does what it is given at once; while it records a graph, when that is launched."""

    recording: ClassVar[list[Callable[[], None]] | None] = None

    def __enter__(self) -> HostStream:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def wait_event(self, event: HostEvent) -> None:
        assert event.done

    def synchronize(self) -> None:
        assert HostStream.recording is None, 'a recording may not wait'

    def begin_capture(self) -> None:
        assert HostStream.recording is None
        HostStream.recording = []

    def end_capture(self) -> HostGraph:
        recorded, HostStream.recording = HostStream.recording, None
        assert recorded is not None
        return HostGraph(recorded)

    @classmethod
    def enqueue(cls, work: Callable[[], None]) -> None:
        if cls.recording is None:
            work()
        else:
            cls.recording.append(work)


class HostGraph:
    def __init__(self, recorded: list[Callable[[], None]]) -> None:
        self._recorded = recorded

    def launch(self, stream: HostStream) -> None:
        for work in self._recorded:
            work()


class HostEvent:
    time_ns = 0

    @property
    def done(self) -> bool:
        return self.time_ns > 0

    def record(self, stream: HostStream | None = None) -> None:
        self.time_ns = time.monotonic_ns()

    def synchronize(self) -> None:
        assert self.done


class Mark:
    def __init__(self, stage: str, marked: list[str]) -> None:
        self._stage, self._marked = stage, marked

    def __enter__(self) -> None:
        self._marked.append(self._stage)

    def __exit__(self, *_: object) -> None:
        self._marked.append(f'/{self._stage}')


def _living(references: list[weakref.ref[np.ndarray]]) -> list[np.ndarray]:
    return [array for array in (reference() for reference in references) if array is not None]


class HostDevice:
    """A :class:`Device` whose memory is the host's.

    Attributes:
        most: bytes that can be pinned at once.
        given_back: how often :meth:`give_back` was called.
        marked: stages entered so far, as a profiler would see them.
    """

    integrated = False

    def __init__(self, library: Path) -> None:
        self._folder = library
        self.most = 1 << 40
        self.given_back = 0
        self.marked: list[str] = []
        self._pinned: list[weakref.ref[np.ndarray]] = []
        self._arrays: list[weakref.ref[np.ndarray]] = []

    def held(self) -> int:
        """Return how many arrays somebody still has."""
        return len(_living(self._arrays)) + len(_living(self._pinned))

    def size_of(self, name: str, file: str = 'letterbox.cu') -> int:
        return self._library(file).size_of(name.encode())

    def kernels(self, file: str, names: Sequence[str], options: Sequence[str]) -> list[Launcher]:
        file = 'letterbox.cu' if file in ('stamp.cu', 'segment.cu') else file
        return [self._launcher(self._library(file), name) for name in names]

    def zeros(self, shape: Sequence[int], dtype: Any) -> np.ndarray:
        return self._remember(np.zeros(tuple(shape), dtype))

    def array(self, data: np.ndarray) -> np.ndarray:
        return self._remember(data.copy())

    def pinned(self, count: int, dtype: Any) -> np.ndarray:
        array = np.zeros(count, dtype)
        if array.nbytes + sum(a.nbytes for a in _living(self._pinned)) > self.most:
            raise MemoryError(f'{array.nbytes >> 20} MiB are too many')
        self._pinned.append(weakref.ref(array))
        return array

    def give_back(self) -> None:
        self.given_back += 1

    def reach(self, data: np.ndarray) -> int | None:
        locked = any(np.shares_memory(data, array) for array in _living(self._pinned))
        return data.ctypes.data if locked else None

    def address(self, array: np.ndarray) -> int:
        return array.ctypes.data

    def stream(self) -> HostStream:
        return HostStream()

    def use(self) -> None:
        pass

    def event(self) -> HostEvent:
        return HostEvent()

    def elapsed_ns(self, first: HostEvent, second: HostEvent) -> int:
        return second.time_ns - first.time_ns

    def upload(self, target: int, source: int, size: int, stream: HostStream) -> None:
        spans = [(a.ctypes.data, a.nbytes) for a in _living(self._pinned)]
        assert any(
            at <= end and end + size <= at + n for at, n in spans for end in (source, target)
        ), 'only pinned memory can be copied asynchronously'
        ctypes.memmove(target, source, size)

    def mark(self, stage: str) -> AbstractContextManager[None]:
        return Mark(stage, self.marked)

    def _remember(self, array: np.ndarray) -> np.ndarray:
        self._arrays.append(weakref.ref(array))
        return array

    def _library(self, file: str) -> ctypes.CDLL:
        return ctypes.CDLL(str(build(self._folder, file)))

    def _launcher(self, library: ctypes.CDLL, name: str) -> Launcher:
        def launch(
            grid: tuple[int, ...], block: tuple[int, ...], arguments: tuple[Any, ...]
        ) -> None:
            sizes = [(*size, *(1,) * (3 - len(size))) for size in (grid, block)]
            # As on a GPU, arguments are those of now, whenever the kernel runs.
            kept = [np.array(a) for a in arguments]
            HostStream.enqueue(partial(self._launch, library, name, *sizes, kept))

        return launch

    @staticmethod
    def _launch(
        library: ctypes.CDLL,
        name: str,
        grid: Sequence[int],
        block: Sequence[int],
        arguments: list[np.ndarray],
    ) -> None:
        pointers = (ctypes.c_void_p * len(arguments))(*(a.ctypes.data for a in arguments))
        sizes = [(ctypes.c_uint * 3)(*size) for size in (grid, block)]
        with ONE_AT_A_TIME:
            assert library.launch(name.encode(), *sizes, pointers) == 0, name


def current_stream(device: Any) -> Any:
    if isinstance(device, HostDevice):
        return HostStream()
    import cupy

    return cupy.cuda.get_current_stream()


class HostBackend:
    """ONNX Runtime on the CPU in the place of a GPU's backend."""

    recordable = True

    def __init__(self, path: Path, spec: ModelSpec, max_batch: int) -> None:
        self.form, self.output_dtype = InputFormat(), np.dtype(np.float32)
        self.sizes = [spec.input.batch] if spec.input.batch else batch_sizes(max_batch)
        self._backend = OnnxRuntimeCpuBackend(path, spec, max_batch, threads=1)
        self.input = self._backend.input
        shapes = spec.head.batched(spec.input, max_batch)
        kinds = [spec.head.integers().get(name, 'float32') for name in spec.head.outputs]
        self.outputs = [np.zeros(*one) for one in zip(shapes, kinds, strict=True)]
        self.segmentation: np.ndarray | None = None
        if masks := spec.segmentation:
            self.segmentation = np.zeros((max_batch, *masks.shape), masks.integers or np.float32)

    def infer(self, images: int, masks: bool = False) -> None:
        HostStream.enqueue(partial(self._infer, images))

    def close(self) -> None:
        pass

    def _infer(self, images: int) -> None:
        self._backend.infer(images, masks=self.segmentation is not None)
        if self.segmentation is not None:
            self.segmentation[:images] = self._backend.segmentation
        for mine, output in zip(self.outputs, self._backend.outputs, strict=True):
            mine[:images] = output
