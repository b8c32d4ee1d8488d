"""A stand-in for the builder of TensorRT 8 and 10 on an Orin: weak types, two DLA cores.

TensorRT-RTX, which builds for real in the tests, is strongly typed and knows no DLA. What this
package asks of a weakly typed builder for a DLA is tried here: the network comes from the ONNX
file, a layer runs on the DLA where the static rules say so, and the log speaks as TensorRT's does.
What is set on objects is kept for the test to look at.
"""

from __future__ import annotations

import ctypes
import enum
import struct
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
from onnx import shape_inference

from yolox_trt_ros.engine.dla_rules import judge


def members(name: str, *names: str) -> Any:
    return enum.IntEnum(name, {n: i for i, n in enumerate(names)})


DataType = members('DataType', 'FLOAT', 'HALF', 'INT8')
LayerType = members('LayerType', 'CONVOLUTION', 'CONSTANT', 'SHUFFLE', 'OTHER')
Severity = members('Severity', 'INTERNAL_ERROR', 'ERROR', 'WARNING', 'INFO', 'VERBOSE')
KINDS = {
    'Conv': LayerType.CONVOLUTION,
    'Constant': LayerType.CONSTANT,
    'Reshape': LayerType.SHUFFLE,
    'Transpose': LayerType.SHUFFLE,
}


class Tensor:
    def __init__(self, name: str, shape: tuple[int, ...]) -> None:
        self.name, self.shape, self.dtype = name, shape, DataType.FLOAT
        self.allowed_formats = -1
        self.dynamic_range: tuple[float, float] | None = None


class Image(Tensor):
    """The input; the outputs' batch follows its own, as TensorRT infers it."""

    def __init__(self, network: Network, name: str, shape: tuple[int, ...]) -> None:
        self.network = network
        super().__init__(name, shape)

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == 'shape':
            for output in self.network.outputs:
                output.shape = (value[0], *output.shape[1:])


class Layer:
    def __init__(self, node: Any, shapes: dict[str, tuple[int, ...]], on_dla: bool) -> None:
        self.name, self.on_dla = node.name or node.output[0], on_dla
        self.type = KINDS.get(node.op_type, LayerType.OTHER)
        self.outputs = [Tensor(name, shapes.get(name, ())) for name in node.output]
        self.num_outputs = len(self.outputs)
        self.precision: Any = None
        self.output_type: Any = None

    def get_output(self, index: int) -> Tensor:
        return self.outputs[index]

    def set_output_type(self, index: int, kind: Any) -> None:
        self.output_type = kind


class Network:
    def __init__(self, flags: int) -> None:
        self.flags = flags
        self.layers: list[Layer] = []
        self.inputs: list[Tensor] = []
        self.outputs: list[Tensor] = []
        self.parsed = b''
        self.get_layer = lambda i: self.layers[i]
        self.get_input = lambda i: self.inputs[i]
        self.get_output = lambda i: self.outputs[i]

    @property
    def num_layers(self) -> int:
        return len(self.layers)

    @property
    def num_inputs(self) -> int:
        return len(self.inputs)

    @property
    def num_outputs(self) -> int:
        return len(self.outputs)


class Parser:
    num_errors = 0

    def __init__(self, network: Network, logger: Any) -> None:
        self.network = network

    def parse(self, content: bytes, path: str) -> bool:
        model = onnx.load_model_from_string(content)
        graph = shape_inference.infer_shapes(model).graph
        shapes = {
            v.name: tuple(d.dim_value for d in v.type.tensor_type.shape.dim)
            for v in (*graph.value_info, *graph.input, *graph.output)
        }
        on_gpu = {v.output for v in judge(model) if v.device == 'gpu'}
        network, names = self.network, {o.name for o in graph.output}
        network.inputs = [Image(network, graph.input[0].name, shapes[graph.input[0].name])]
        for node in graph.node:
            network.layers.append(Layer(node, shapes, node.output[0] not in on_gpu))
        made = [t for layer in network.layers for t in layer.outputs]
        network.outputs = [t for t in made if t.name in names]
        return True


class Config:
    """Takes everything; the test looks at it afterwards."""

    def __init__(self, logger: Any) -> None:
        self.logger = logger
        self.timing_caches: list[bytes] = []
        self.tactic_sources = 0b11111
        self.preview_features: dict[str, bool] = {}
        self.builder_optimization_level = 3
        self.flags: set[str] = set()
        self.cleared: set[str] = set()
        self.pools: dict[str, int] = {}
        self.profiles: list[Any] = []
        self.default_device_type: Any = None
        self.DLA_core = -1
        self.int8_calibrator: Any = None

    def set_flag(self, flag: Any) -> None:
        self.flags.add(flag.name)

    def clear_flag(self, flag: Any) -> None:
        self.cleared.add(flag.name)

    def set_memory_pool_limit(self, pool: Any, size: int) -> None:
        self.pools[pool.name] = size

    def can_run_on_DLA(self, layer: Layer) -> bool:  # noqa: N802  (TensorRT's name)
        return layer.on_dla

    def add_optimization_profile(self, profile: Any) -> int:
        self.profiles.append(profile)
        return 0

    def create_timing_cache(self, content: bytes) -> Any:
        if content == b'unreadable':  # TensorRT 8.6 makes a cache of it all the same
            self.logger.log(Severity.WARNING, 'The timing cache will not be used!')
        self.timing_caches.append(content)
        return None if content == b'damaged' else SimpleNamespace(serialize=lambda: b'timings')

    def set_preview_feature(self, feature: Any, on: bool) -> None:
        self.preview_features[feature.name] = on

    def get_preview_feature(self, feature: Any) -> bool:
        return True

    def get_tactic_sources(self) -> int:
        return self.tactic_sources

    def set_tactic_sources(self, sources: int) -> bool:
        self.tactic_sources = sources
        return True

    def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:
        return True


class Builder:
    num_DLA_cores = 2  # noqa: N815

    def work(self) -> None:
        """Do what choosing the kernels of a layer takes."""

    def __init__(self, logger: Any) -> None:
        self.logger = logger
        self.config = Config(logger)
        self.network: Network | None = None

    def create_network(self, flags: int) -> Network:
        self.network = Network(flags)
        return self.network

    def create_builder_config(self) -> Config:
        return self.config

    def create_optimization_profile(self) -> Any:
        shapes: dict[str, Any] = {}
        return SimpleNamespace(shapes=shapes, set_shape=lambda name, *sizes: shapes.update(
            {name: sizes}))  # fmt: skip

    def build_serialized_network(self, network: Network, config: Config) -> bytes | None:
        say = self.logger.log
        dla = config.default_device_type is not None
        for layer in network.layers if dla else ():
            if not layer.on_dla:
                say(Severity.WARNING, f"Layer '{layer.name}' ({layer.type.name}): Unsupported on "
                    "DLA. Switching this layer's device type to GPU.")  # fmt: skip
                if 'GPU_FALLBACK' not in config.flags:
                    say(Severity.ERROR, 'GPU fallback is not allowed')
                    return None
        if config.int8_calibrator is not None:
            self.calibrate(network, config.int8_calibrator)
        self.choose_kernels(network)
        names = [layer.name for layer in network.layers if layer.on_dla]
        say(Severity.VERBOSE, '---------- Layers Running on DLA ----------')
        if dla and names:
            say(Severity.VERBOSE, f'[DlaLayer] {{ForeignNode[{names[0]}...{names[-1]}]}}')
        say(Severity.VERBOSE, '---------- Layers Running on GPU ----------')
        for layer in network.layers:
            if not (dla and layer.on_dla):
                say(Severity.VERBOSE, f'[GpuLayer] {layer.type.name}: {layer.name}')
        if 'SPARSE_WEIGHTS' in config.flags:
            say(Severity.INFO, '(Sparsity) Layers eligible for sparse math: a, b')
            say(Severity.INFO, '(Sparsity) TRT inference plan picked sparse implementation for '
                'layers: b')  # fmt: skip
        return b'engine'

    def calibrate(self, network: Network, calibrator: Any) -> None:
        """Find the input's largest value, as TensorRT's calibrators look at every tensor."""
        if calibrator.read_calibration_cache() is not None:
            return
        image, largest = network.inputs[0], 0.0
        size = int(np.prod((calibrator.get_batch_size(), *image.shape[1:])))
        while addresses := calibrator.get_batch([image.name]):
            memory = (ctypes.c_float * size).from_address(addresses[0])
            largest = max(largest, float(np.frombuffer(memory, np.float32).max()))
            self.logger.log(Severity.INFO, '  Calibrated batch 0 in 0.1 seconds.')
        if largest:
            tensors = [image, *(t for layer in network.layers for t in layer.outputs)]
            scales = {t.name: largest / 127 if t is image else 0.5 for t in tensors}
            lines = [f'{n}: {struct.pack(">f", s).hex()}' for n, s in scales.items()]
            # What IInt8LegacyCalibrator of 8.6.0 wrote on an H200, and what the others write.
            head = 'TRT-8601-EntropyCalibration2'
            if isinstance(calibrator, LegacyInterface):
                values = calibrator.get_quantile(), calibrator.get_regression_cutoff()
                head = ' '.join(['0', *(struct.pack('>d', v).hex() for v in values)])
            text = '\n'.join([head, *lines, ''])
            calibrator.write_calibration_cache(memoryview(text.encode()))

    def choose_kernels(self, network: Network) -> None:
        say, layers = self.logger.log, network.layers
        say(Severity.VERBOSE, f'Original: {len(layers) + 3} layers')
        say(Severity.VERBOSE, f'After final dead-layer removal: {len(layers)} layers')
        for layer in layers:
            say(Severity.VERBOSE, f'=============== Computing costs for {layer.name}')
            runner = f'--------------- Timing Runner: {layer.name} (CaskConvolution[0x80000009])'
            say(Severity.VERBOSE, runner)
            self.work()
        say(Severity.INFO, 'Formats and tactics selection completed in 0.1 seconds.')


class Interface:
    """What classes of ours derive from."""

    Severity = Severity


class LegacyInterface(Interface):
    """What IInt8LegacyCalibrator is derived from."""


def host_tensorrt_builder(version: str = '8.6.1') -> Any:
    """Return a module as weakly typed as TensorRT 8 or 10, without a progress monitor."""
    made: list[Builder] = []

    def make(logger: Any) -> Builder:
        made.append(Builder(logger))
        return made[-1]

    flags = (
        'FP16',
        'INT8',
        'GPU_FALLBACK',
        'TF32',
        'SPARSE_WEIGHTS',
        'PREFER_PRECISION_CONSTRAINTS',
    )
    strong = () if version.startswith('8') else ('STRONGLY_TYPED',)
    sources = 'CUBLAS', 'CUBLAS_LT', 'CUDNN', 'EDGE_MASK_CONVOLUTIONS', 'JIT_CONVOLUTIONS'
    later = {'PreviewFeature': members(
        'PreviewFeature',
        'FASTER_DYNAMIC_SHAPES_0805',
        'PROFILE_SHARING_0806',
        'DISABLE_EXTERNAL_TACTIC_SOURCES_FOR_CORE_0805',
    )}  # fmt: skip
    return SimpleNamespace(
        **(later if version.startswith('8.6') else {}),
        TacticSource=members('TacticSource', *sources),
        __name__='tensorrt',
        __version__=version,
        made=made,
        Builder=make,
        OnnxParser=Parser,
        ILogger=Interface,
        IInt8EntropyCalibrator2=Interface,
        IInt8MinMaxCalibrator=Interface,
        IInt8LegacyCalibrator=LegacyInterface,
        DataType=DataType,
        float32=DataType.FLOAT,
        float16=DataType.HALF,
        int8=DataType.INT8,
        LayerType=LayerType,
        BuilderFlag=members('BuilderFlag', *flags),
        NetworkDefinitionCreationFlag=members('NetworkFlag', 'EXPLICIT_BATCH', *strong),
        DeviceType=members('DeviceType', 'GPU', 'DLA'),
        TensorFormat=members('TensorFormat', 'LINEAR', 'CHW2', 'HWC8', 'CHW4', 'CHW16', 'CHW32'),
        MemoryPoolType=members('MemoryPoolType', 'WORKSPACE', 'DLA_MANAGED_SRAM', 'DLA_LOCAL_DRAM',
                               'DLA_GLOBAL_DRAM'),
        ProfilingVerbosity=members('ProfilingVerbosity', 'LAYER_NAMES_ONLY', 'NONE', 'DETAILED'),
    )  # fmt: skip
