"""A stand-in for TensorRT's runtime: real networks, real layouts, on the CPU.

TensorRT runs no engine without a GPU. What this package does around it (names, batches, layouts,
order of calls) is tried with engines that are an ONNX file and a description of how inputs and
outputs lie in memory; ONNX Runtime computes. Memory is read and written at the given addresses,
in the layout that the engine has, as TensorRT documents it. Misuse that TensorRT would answer
with a crash is an assertion here.
"""

from __future__ import annotations

import ctypes
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime

DTYPES = {
    'FLOAT': np.float32,
    'HALF': np.float16,
    'INT8': np.int8,
    'INT32': np.int32,
    'INT64': np.int64,
}
COMPONENTS = {'CHW16': 16, 'CHW32': 32, 'DLA_HWC4': 4}
ALIGNED = 64  # bytes of a row of DLA_LINEAR, pixels of 4 of DLA_HWC4


@dataclass
class Description:
    """What an engine of this stand-in consists of."""

    path: str
    batch: int = 1  # -1: free, up to `most`
    most: int = 1
    profiles: int = 1
    kinds: dict[str, tuple[str, str]] = field(default_factory=dict)
    quanta: dict[str, float] = field(default_factory=dict)

    def serialise(self) -> bytes:
        return json.dumps(asdict(self)).encode()


def strides_of(shape: tuple[int, ...], layout: str, dtype: Any) -> tuple[int, ...]:
    """Return strides in vectors, as TensorRT counts them."""
    if len(shape) < 4:
        return tuple(int(np.prod(shape[axis + 1 :])) for axis in range(len(shape)))
    _, channels, height, width = shape
    groups = -(-channels // COMPONENTS.get(layout, 1))
    if layout in ('DLA_LINEAR', 'DLA_HWC4'):
        item = np.dtype(dtype).itemsize * COMPONENTS.get(layout, 1)
        width = -(-width * item // ALIGNED) * ALIGNED // item
    return (groups * height * width, height * width, width, 1)


class Enum:
    def __init__(self, name: str) -> None:
        self.name = name


class HostEngine:
    def __init__(self, description: Description, core: int | None) -> None:
        self.description, self.core = description, core
        self.session = onnxruntime.InferenceSession(
            description.path, providers=['CPUExecutionProvider']
        )
        self.inputs = [v.name for v in self.session.get_inputs()]
        self.names = [*self.inputs, *(v.name for v in self.session.get_outputs())]
        self.num_io_tensors = len(self.names)
        self.num_optimization_profiles = description.profiles
        self.contexts: list[HostContext] = []

    def get_tensor_name(self, index: int) -> str:
        return self.names[index]

    def get_tensor_mode(self, name: str) -> Enum:
        return Enum('INPUT' if name in self.inputs else 'OUTPUT')

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        values = {v.name: v for v in (*self.session.get_inputs(), *self.session.get_outputs())}
        return (self.description.batch, *values[name].shape[1:])

    def get_tensor_dtype(self, name: str) -> Enum:
        return Enum(self.description.kinds.get(name, ('FLOAT', ''))[0])

    def get_tensor_format(self, name: str) -> Enum:
        return Enum(self.description.kinds.get(name, ('', 'LINEAR'))[1])

    def get_tensor_components_per_element(self, name: str) -> int:
        return COMPONENTS.get(self.get_tensor_format(name).name, -1)

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[tuple[int, ...]]:
        rest = self.get_tensor_shape(name)[1:]
        most = self.description.most if self.description.profiles == 1 else profile + 1
        return [(1, *rest), (most, *rest), (most, *rest)]

    def create_execution_context(self) -> HostContext:
        context = HostContext(self)
        self.contexts.append(context)
        return context

    def create_engine_inspector(self) -> Any:
        text = json.dumps({'Layers': ['one', 'two|'], 'Bindings': self.names})
        text = text.replace('|', '\x1e\n\t')  # as TensorRT 8.6 has it
        return SimpleNamespace(get_engine_information=lambda form: text)


class HostContext:
    """Runs when it is asked to, in the caller's thread."""

    def __init__(self, engine: HostEngine) -> None:
        self.engine = engine
        self.addresses: dict[str, int] = {}
        self.profile = 0 if not engine.contexts else -1
        self.batch = max(0, engine.description.batch)
        self.profiler: Any = None
        self.enqueue_emits_profile = False
        self.runs = 0

    def set_optimization_profile_async(self, profile: int, stream: int) -> bool:
        self.profile = profile
        return 0 <= profile < self.engine.num_optimization_profiles

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        assert self.profile >= 0, 'a context of a dynamic engine needs a profile first'
        assert self.batch in (0, shape[0]) or name == self.engine.inputs[0]
        low = self.profile + 1 if self.engine.num_optimization_profiles > 1 else 1
        high = self.engine.get_tensor_profile_shape(name, self.profile)[2][0]
        self.batch = shape[0]
        return low <= shape[0] <= high

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (self.batch, *self.engine.get_tensor_shape(name)[1:])

    def get_tensor_strides(self, name: str) -> tuple[int, ...]:
        dtype = DTYPES[self.engine.get_tensor_dtype(name).name]
        layout = self.engine.get_tensor_format(name).name
        return strides_of(self.get_tensor_shape(name), layout, dtype)

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return address != 0

    def execute_async_v3(self, stream: int) -> bool:
        assert set(self.addresses) == set(self.engine.names), 'a tensor has no address'
        image, *further = self.engine.inputs
        outputs = self.engine.names[1 + len(further) :]
        quanta = self.engine.description.quanta
        values = self.read(image) * np.float32(quanta.get(image, 1.0))
        feeds = {image: values.astype(np.float32)}
        kinds = {'tensor(int64)': np.int64, 'tensor(float)': np.float32}
        for value in self.engine.session.get_inputs()[1:]:
            feeds[value.name] = self.read(value.name).astype(kinds[value.type])
        results = self.engine.session.run(outputs, feeds)
        for name, result in zip(outputs, results, strict=True):
            self.write(name, result / quanta.get(name, 1.0))
        self.runs += 1
        if self.profiler is not None and self.enqueue_emits_profile:
            self.profiler.report_layer_time('one', 0.5)
            self.profiler.report_layer_time('two', 1.5)
        return True

    def memory(self, name: str) -> np.ndarray:
        """Return the tensor's memory as [n, groups, …, components]."""
        shape, strides = self.get_tensor_shape(name), self.get_tensor_strides(name)
        dtype = np.dtype(DTYPES[self.engine.get_tensor_dtype(name).name])
        wide = max(1, self.engine.get_tensor_components_per_element(name))
        vectors = (shape[0], -(-shape[1] // wide), *shape[2:])
        count = strides[0] * shape[0] * wide
        buffer = (ctypes.c_uint8 * (count * dtype.itemsize)).from_address(self.addresses[name])
        steps = [stride * wide * dtype.itemsize for stride in strides]
        return np.lib.stride_tricks.as_strided(
            np.frombuffer(buffer, dtype), (*vectors, wide), (*steps, dtype.itemsize)
        )

    def read(self, name: str) -> np.ndarray:
        shape = self.get_tensor_shape(name)
        dense = np.moveaxis(self.memory(name), -1, 2)
        return dense.reshape(shape[0], -1, *shape[2:])[:, : shape[1]].astype(np.float32)

    def write(self, name: str, values: np.ndarray) -> None:
        memory = self.memory(name)
        if memory.dtype == np.int8:
            values = np.clip(np.round(values), -128, 127)
        wide = memory.shape[-1]
        padded = np.zeros((len(values), memory.shape[1] * wide, *values.shape[2:]), np.float32)
        padded[:, : values.shape[1]] = values
        groups = padded.reshape(len(values), -1, wide, *values.shape[2:])
        memory[...] = np.moveaxis(groups, 2, -1)


class HostRuntime:
    num_DLA_cores = 2  # noqa: N815  (TensorRT's name)

    def __init__(self, logger: Any) -> None:
        self.DLA_core: int | None = None

    def deserialize_cuda_engine(self, content: bytes) -> HostEngine | None:
        try:
            description = Description(**json.loads(content))
        except ValueError:
            return None
        return HostEngine(description, self.DLA_core)


class HostProfiler:
    def report_layer_time(self, layer_name: str, ms: float) -> None:
        raise NotImplementedError


def host_tensorrt() -> Any:
    """Return what the backend uses of the module."""
    return SimpleNamespace(
        Runtime=HostRuntime,
        IProfiler=HostProfiler,
        LayerInformationFormat=SimpleNamespace(JSON='json'),
        __version__='0',
    )


def engine_of(path: Path, **description: Any) -> bytes:
    return Description(str(path), **description).serialise()
