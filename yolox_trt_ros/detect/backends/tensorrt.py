"""TensorRT engines on a GPU or DLA, on the detector's stream, with buffers at fixed addresses."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from yolox_trt_ros.core.backends import LaneSetup
from yolox_trt_ros.core.config import LaneConfig
from yolox_trt_ros.core.detector import LaneDetector
from yolox_trt_ros.core.errors import ConfigError, EngineError, LaneError, ModelError
from yolox_trt_ros.core.model import ModelSpec
from yolox_trt_ros.detect.backends.tensorrt_tensors import EngineTensor
from yolox_trt_ros.detect.cuda.lane import cuda_detector
from yolox_trt_ros.detect.cuda.runtime import SETUP_LOCK, Device


def lane_detector(lane: LaneConfig, setup: LaneSetup) -> LaneDetector:
    """Return the detector of a lane on a GPU or a DLA.

    Raises:
        EngineError: the engine was removed or damaged since it was built.
    """
    assert setup.engine is not None
    content, device, core = setup.engine()
    stream = device.stream()
    with SETUP_LOCK:
        backend = TensorRtBackend(content, setup.spec, device, stream, lane.max_batch, core)
    return cuda_detector(lane, setup, device, stream, backend)


@dataclass(frozen=True, slots=True)
class Engine:
    """A serialised engine and what it takes to load it.

    Attributes:
        module: ``tensorrt`` or ``tensorrt_rtx``.
        logger: the process's one ``ILogger``.
        content: the engine's bytes, already verified.
        name: for messages.
        quanta: of int8 inputs and outputs, the value of one step.
    """

    module: Any
    logger: Any
    content: bytes
    name: str
    quanta: Mapping[str, float]


class TensorRtBackend:
    """Runs an engine; calls only enqueue.

    Each batch size has a context of its own, so that a CUDA graph may hold calls of every size. A
    graph cannot hold a DLA's work.

    Args:
        engine: what to run.
        spec: of the model that it was built from.
        device: the GPU; for a DLA the one that shares its memory.
        stream: ``cupy.cuda.Stream`` that everything is enqueued on.
        max_batch: most images of one call.
        dla_core: the core to run on, or None for the GPU.
        arrays: the module of the device's arrays; ``cupy`` where None.

    Attributes:
        form: of the input, as the engine has it.
        input: device array in that form; written before :meth:`infer`.
        outputs: device arrays (batch, …), in the spec's order.
        output_dtype: float32 or float16.
        segmentation: device array (batch, …) of class masks; None: the model gives none.
        tensors: input and outputs as the engine lays them out.
        sizes: of the batches that are run, ascending.
        recordable: whether a CUDA graph can hold what :meth:`infer` enqueues.

    Raises:
        EngineError: TensorRT does not load the engine, or there is no such DLA core.
        ModelError: the engine's inputs and outputs are not those of the model.
        ConfigError: the engine takes fewer images than ``max_batch``.
    """

    def __init__(
        self,
        engine: Engine,
        spec: ModelSpec,
        device: Device,
        stream: Any,
        max_batch: int,
        dla_core: int | None = None,
        arrays: Any = None,
    ) -> None:
        self._spec, self._device, self._stream = spec, device, stream
        self.input: Any = None
        self.outputs: list[Any] = []
        self.segmentation: Any = None
        self._unpack: list[Callable[[], None]] = []
        self._bound: dict[str, Any] = {}
        self._module, self._name = engine.module, engine.name
        self._runtime, self._engine = load_engine(engine, dla_core)
        self._check_names()
        self._fixed = self._check_batch(max_batch)
        batch = self._fixed or max_batch
        self._contexts = {batch: self._new_context(batch)}
        self.recordable = dla_core is None
        with stream:
            self._allocate(self._contexts[batch], batch, engine.quanta, arrays)
            self._prepare(batch)
        stream.synchronize()

    def infer(self, images: int, masks: bool = False) -> None:
        """Enqueue the network for the first ``images`` images of the input tensor.

        TensorRT writes all outputs or none, whether masks are wanted or not.

        Raises:
            LaneError: TensorRT refused the call.
        """
        del masks
        size = self._fixed or images
        self._enqueue(self._contexts[size], size)

    def layers(self) -> int:
        """Return how many layers the engine has; a DLA's loadable is one."""
        inspector = self._engine.create_engine_inspector()
        text = inspector.get_engine_information(self._module.LayerInformationFormat.JSON)
        # TensorRT 8.6 writes control characters into names as they are.
        return len(json.loads(text, strict=False)['Layers'])

    def layer_times(self, runs: int = 10) -> list[tuple[str, float]]:
        """Return each layer's mean time, milliseconds, in the engine's order.

        TensorRT measures layer by layer, which takes longer than an undisturbed run; the whole of
        a DLA's loadable is one layer.
        """
        times: dict[str, float] = {}

        class Profiler(self._module.IProfiler):  # type: ignore[name-defined]
            def __init__(self, base: Any) -> None:
                base.__init__(self)

            def report_layer_time(self, layer_name: str, ms: float) -> None:
                times[layer_name] = times.get(layer_name, 0.0) + ms / runs

        size = max(self._contexts)
        context = self._contexts[size]
        context.profiler = Profiler(self._module.IProfiler)
        context.enqueue_emits_profile = True
        for _ in range(runs):
            self._enqueue(context, size)
            self._stream.synchronize()
        return list(times.items())

    def close(self) -> None:
        """Free contexts, engine and runtime, in this order; calling it twice is allowed."""
        self._contexts.clear()
        self._engine = None
        self._runtime = None
        self._unpack.clear()
        self._bound.clear()
        self.input, self.outputs, self.segmentation = None, [], None

    def _check_names(self) -> None:
        engine = self._engine
        has = {engine.get_tensor_name(i) for i in range(engine.num_io_tensors)}
        spec = self._spec
        further = [value.name for value in spec.input.further]
        wants = {spec.input.name, *further, *spec.head.outputs, *spec.left_out}
        if spec.segmentation:
            wants.add(spec.segmentation.output)
        if has != wants:
            raise ModelError(
                f'{self._name}: expected the inputs and outputs of the model, '
                f'{sorted(wants)}, got {sorted(has)}: it was built from another model'
            )

    def _check_batch(self, max_batch: int) -> int:
        """Return the engine's fixed batch size, or 0 if calls may be smaller."""
        name = self._spec.input.name
        size, *_ = self._engine.get_tensor_shape(name)
        most = size
        if size < 0:
            last = self._engine.num_optimization_profiles - 1
            most, *_ = self._engine.get_tensor_profile_shape(name, last)[2]
        if max_batch > most:
            raise ConfigError(f'max_batch: {self._name} takes up to {most} images, not {max_batch}')
        return max(0, size)

    def _new_context(self, batch: int) -> Any:
        """Return a context for calls of one size."""
        context = self._engine.create_execution_context()
        if context is None:
            raise EngineError(
                f'{self._name}: TensorRT makes no execution context, mostly for want of memory'
            )
        self._set_shape(context, batch)
        return context

    def _set_shape(self, context: Any, batch: int) -> None:
        if self._fixed:
            return
        # One profile for all sizes, or one for each in turn, see engine.builder.
        profile = batch - 1 if self._engine.num_optimization_profiles > 1 else 0
        taken = context.set_optimization_profile_async(profile, self._stream.ptr)
        image = self._spec.input
        for name in (image.name, *(value.name for value in image.further)):
            size, *rest = self._engine.get_tensor_shape(name)
            shape = (batch if size < 0 else size, *rest)
            if not (taken and context.set_input_shape(name, shape)):
                raise EngineError(f'{self._name}: TensorRT refuses an input {name} of {shape}')

    def _allocate(self, context: Any, batch: int, quanta: Mapping[str, float], arrays: Any) -> None:
        """Make all buffers; an output that is not rows of floats gets a second, unpacked one."""
        spec, device = self._spec, self._device
        name = spec.input.name
        image = EngineTensor.of(self._engine, context, name)
        self.form = image.input_format(self._quantum(image, quanta))
        shape = self.form.shape(batch, spec.input.height, spec.input.width)
        self.input = device.zeros(shape, self.form.dtype)
        tensors = [EngineTensor.of(self._engine, context, output) for output in spec.head.outputs]
        self.tensors = [image, *tensors]
        for value in spec.input.further:  # by TensorRT's type: older ones make int32 of int64
            own = EngineTensor.of(self._engine, context, value.name)
            numbers = replace(value, dtype=own.dtype.name, shape=own.shape).array(batch)
            self._bound[value.name] = device.array(numbers)
        for left_out in spec.left_out:  # TensorRT writes all outputs or none
            tensor = EngineTensor.of(self._engine, context, left_out)
            self._bound[left_out] = device.zeros((tensor.size,), tensor.dtype)
        integers = spec.head.integers()
        for tensor in tensors:
            wanted = np.dtype(integers.get(tensor.name, tensor.dtype))
            if tensor.dtype.kind != wanted.kind:
                raise ModelError(
                    f'{self._name}: expected {tensor.name} in {wanted}, the engine has '
                    f'{tensor.dtype}'
                )
        kinds = {t.dtype for t in tensors if t.plain and t.name not in integers}
        if len(kinds) > 1:
            raise ModelError(f'{self._name}: its outputs have the types {sorted(map(str, kinds))}')
        self.output_dtype = kinds.pop() if kinds else np.dtype(np.float16)
        self.outputs = [
            device.zeros(shape, integers.get(tensor.name, self.output_dtype))
            for shape, tensor in zip(spec.head.fixed(spec.input, batch), tensors, strict=True)
        ]
        self._bound[name] = self.input
        for tensor, output in zip(tensors, self.outputs, strict=True):
            self._write_to(output, tensor, quanta, arrays)
        if spec.segmentation:
            masks = EngineTensor.of(self._engine, context, spec.segmentation.output)
            dtype = np.float16 if masks.dtype == np.int8 else masks.dtype
            self.segmentation = device.zeros((batch, *spec.segmentation.shape), dtype)
            self._write_to(self.segmentation, masks, quanta, arrays)

    def _write_to(
        self, output: Any, tensor: EngineTensor, quanta: Mapping[str, float], arrays: Any
    ) -> None:
        """Have an output written to an array, unpacked if it is no rows of numbers."""
        self._bound[tensor.name] = output
        if not tensor.plain:
            raw = self._bound[tensor.name] = self._device.zeros((tensor.size,), tensor.dtype)
            quantum = self._quantum(tensor, quanta)
            module = arrays or _cupy()
            self._unpack.append(partial(tensor.unpack, raw, output, quantum, module))
        elif tensor.dtype != output.dtype:  # older TensorRT makes int32 of int64
            raw = self._bound[tensor.name] = self._device.zeros(output.shape, tensor.dtype)
            self._unpack.append(partial(output.__setitem__, ..., raw))

    def _quantum(self, tensor: EngineTensor, quanta: Mapping[str, float]) -> float:
        if tensor.dtype != np.int8:
            return 1.0
        if tensor.name not in quanta:
            raise ModelError(f'{self._name}: nothing says what a step of {tensor.name} stands for')
        return quanta[tensor.name]

    def _prepare(self, batch: int) -> None:
        """Bind the buffers for every batch size, and run it: a first run allocates."""
        if not self._fixed:
            self._contexts |= {size: self._new_context(size) for size in range(1, batch)}
        self.sizes = sorted(self._contexts)
        for size, context in self._contexts.items():
            self._bind(context)
            self._enqueue(context, size)

    def _bind(self, context: Any) -> None:
        for name, array in self._bound.items():
            if not context.set_tensor_address(name, self._device.address(array)):
                raise EngineError(f'{self._name}: TensorRT refuses the buffer of {name}')

    def _enqueue(self, context: Any, size: int) -> None:
        if not context.execute_async_v3(self._stream.ptr):
            raise LaneError(f'{self._name}: TensorRT refused to run a batch of {size}')
        for unpack in self._unpack:
            unpack()


def load_engine(engine: Engine, dla_core: int | None) -> tuple[Any, Any]:
    """Return runtime and engine; the runtime has to outlive the engine."""
    try:
        runtime = engine.module.Runtime(engine.logger)
    except TypeError as error:  # how the bindings tell of a null pointer
        raise EngineError(f'TensorRT does not start, is there a GPU? ({error})') from error
    if dla_core is not None:
        cores = runtime.num_DLA_cores
        if dla_core >= cores:
            raise EngineError(
                f'{engine.name}: expected one of {cores} DLA cores of this machine, '
                f'got dla:{dla_core}'
            )
        # Before deserialising: afterwards it is ignored, and every engine runs on core 0.
        runtime.DLA_core = dla_core
    loaded = runtime.deserialize_cuda_engine(engine.content)
    if loaded is None:
        raise EngineError(
            f'{engine.name}: TensorRT {engine.module.__version__} does not load it; the log says '
            'why. It fits one TensorRT version and one kind of GPU: delete it and it is built anew'
        )
    return runtime, loaded


def _cupy() -> Any:
    import cupy

    return cupy
