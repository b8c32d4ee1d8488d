"""Parse an ONNX file into a TensorRT network, with shapes, ranges and formats set."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from yolox_trt_ros.core.errors import ConfigError, ModelError
from yolox_trt_ros.engine.half import to_half, widen_weights
from yolox_trt_ros.engine.model_facts import ModelFacts
from yolox_trt_ros.engine.onnx_file import read_onnx
from yolox_trt_ros.engine.options import BuildOptions
from yolox_trt_ros.engine.tensorrt_versions import TensorRT

_DTYPES = {'FLOAT': 'float32', 'HALF': 'float16'}


@dataclass(frozen=True, slots=True)
class TensorFacts:
    """An input or output of an engine.

    Attributes:
        name: as in the ONNX.
        output: whether it is one.
        dtype: such as ``float16``; shape: -1 stands for a free batch.
        layout: TensorRT's name of it, in small letters, such as ``linear`` or ``chw16``.
        quantum: for int8, the value of one step; otherwise 1.
    """

    name: str
    output: bool
    dtype: str
    shape: tuple[int, ...]
    layout: str = 'linear'
    quantum: float = 1.0


def parse(
    tensorrt: TensorRT, network: Any, model: ModelFacts, options: BuildOptions, strong: bool
) -> Any:
    """Fill an empty network from the ONNX file and return the parser, which has to outlive it.

    Raises:
        ModelError: TensorRT does not know an operator; the error names the node.
    """
    graph = read_onnx(model.path)
    widen_weights(graph)
    if strong and options.precision == 'fp16' and not model.half:
        graph = to_half(graph)
    content = graph.SerializeToString()
    parser = tensorrt.module.OnnxParser(network, tensorrt.logger)
    if not parser.parse(content, str(model.path)):
        errors = [parser.get_error(i) for i in range(parser.num_errors)]
        message = '; '.join(_described(graph, error) for error in errors) or 'no reason given'
        raise ModelError(f'{model.path}: {tensorrt} cannot read it: {message}')
    return parser


def _described(graph: Any, error: Any) -> str:
    """Return a parser's error with the node that it is about."""
    index = error.node()
    if not 0 <= index < len(graph.graph.node):
        return str(error.desc())
    node = graph.graph.node[index]
    return f'{node.op_type} "{node.name or node.output[0]}": {error.desc()}'


def set_shapes(
    tensorrt: TensorRT, builder: Any, config: Any, network: Any, options: BuildOptions
) -> None:
    """Give the inputs their batch size, fixed or free, whatever the file says.

    Raises:
        ConfigError: the file's batch size is built into the model.
    """
    most = options.batch
    own, *_ = image_of(network).shape
    inputs = [network.get_input(i) for i in range(network.num_inputs)]
    batched = [t for t in inputs if len(tuple(t.shape)) > 1 and t.shape[0] == own]
    for tensor in batched:
        tensor.shape = (-1 if options.dynamic else most, *tuple(tensor.shape)[1:])
    _check_outputs(network, -1 if options.dynamic else most, options)
    if not options.dynamic:
        return
    each_its_own = profiles_of(tensorrt, options) > 1
    ranges = [(n, n) for n in range(1, most + 1)] if each_its_own else [(1, most)]
    if tensorrt.profile_sharing is not None:
        config.set_preview_feature(tensorrt.profile_sharing, True)
    for low, high in ranges:
        profile = builder.create_optimization_profile()
        for tensor in batched:
            _, *rest = tensor.shape
            profile.set_shape(tensor.name, (low, *rest), (high, *rest), (high, *rest))
        config.add_optimization_profile(profile)


def image_of(network: Any) -> Any:
    """Return the input that an image goes into."""
    inputs = [network.get_input(i) for i in range(network.num_inputs)]
    return next(tensor for tensor in inputs if len(tuple(tensor.shape)) == 4)


def profiles_of(tensorrt: TensorRT, options: BuildOptions) -> int:
    """Return how many optimisation profiles an engine has.

    At run time each batch size has a context of its own; where these cannot share a profile, each
    gets one.
    """
    return options.batch if options.dynamic and not tensorrt.shares_profiles else 1


def _check_outputs(network: Any, batch: int, options: BuildOptions) -> None:
    """Refuse a model in which the batch size of the file is built in, by a reshape mostly."""
    for i in range(network.num_outputs):
        output = network.get_output(i)
        if tuple(output.shape)[:1] != (batch,):
            raise ConfigError(
                f'batch: the model does not take batches of {options.batch}: with them its output '
                f'"{output.name}" is {tuple(output.shape)}; export it with a free batch size'
            )


def mark_inner(network: Any, names: Iterable[str]) -> None:
    """Make tensors inside the network outputs of it.

    Args:
        network: with the batch size set.
        names: as in the ONNX. A tensor that TensorRT's parser does not make is left out: the
            engine's list of tensors says which are there.
    """
    wanted = set(names)
    outputs = {network.get_output(i).name for i in range(network.num_outputs)}
    layers = [network.get_layer(i) for i in range(network.num_layers)]
    for tensor in [x.get_output(i) for x in layers for i in range(x.num_outputs)]:
        if tensor.name in wanted - outputs:
            network.mark_output(tensor)


def set_ranges(tensorrt: TensorRT, config: Any, network: Any, options: BuildOptions) -> None:
    """Give every tensor its range, and keep in FP16 the layers that the table keeps there.

    Raises:
        ConfigError: the table lacks tensors of this network.
    """
    calibration, module = options.calibration, tensorrt.module
    assert calibration
    layers = [network.get_layer(i) for i in range(network.num_layers)]
    constant = module.LayerType.CONSTANT
    made = [x.get_output(i) for x in layers if x.type != constant for i in range(x.num_outputs)]
    tensors = [image_of(network), *made]
    # The parser makes tensors of its own, which no table can know; they keep their precision.
    known = [tensor for tensor in tensors if not tensor.name.startswith('(Unnamed Layer')]
    calibration.check_covers(tensor.name for tensor in known)
    for tensor in known:
        most = calibration.ranges[tensor.name]
        tensor.dynamic_range = (-most, most)
    kept = [x for x in layers if x.get_output(0) and x.get_output(0).name in calibration.keep_fp16]
    for layer in kept:
        layer.precision = module.float16
        layer.set_output_type(0, module.float16)
    if kept:
        config.set_flag(module.BuilderFlag.PREFER_PRECISION_CONSTRAINTS)


def set_formats(
    tensorrt: TensorRT, network: Any, options: BuildOptions, strong: bool
) -> tuple[TensorFacts, ...]:
    """Choose types and layouts of inputs and outputs; return them as they then are."""
    module = tensorrt.module
    formats = module.TensorFormat
    image = image_of(network)
    outputs = [network.get_output(i) for i in range(network.num_outputs)]
    quanta: dict[str, float] = {}
    layouts: dict[str, str] = {}
    for tensor in (image, *outputs):
        kind, layout = None, formats.LINEAR
        if not strong and options.precision not in ('fp32', 'tf32'):
            kind = module.float16
        if options.dla_core is not None and (tensor is image or options.native_outputs):
            layout = formats.CHW16
            if options.precision == 'int8' and options.calibration is not None:
                kind, layout = module.int8, formats.CHW32
                quanta[tensor.name] = options.calibration.quantum(tensor.name)
        if kind is not None and tensor.dtype.name not in ('INT32', 'INT64'):
            tensor.dtype = kind
        if tensor.dtype == module.float32:  # no format of a DLA holds it
            layout = formats.LINEAR
        tensor.allowed_formats = 1 << int(layout)
        layouts[tensor.name] = layout.name.lower()
    return tuple(
        TensorFacts(
            tensor.name,
            tensor is not image,
            _DTYPES.get(tensor.dtype.name, tensor.dtype.name.lower()),
            tuple(tensor.shape),
            layouts[tensor.name],
            quanta.get(tensor.name, 1.0),
        )
        for tensor in (image, *outputs)
    )
