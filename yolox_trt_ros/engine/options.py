"""Options of an engine, and checks whether TensorRT, model and options go together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from yolox_trt_ros.core.errors import ConfigError, ModelError
from yolox_trt_ros.engine.calibration import Calibration
from yolox_trt_ros.engine.model_facts import ModelFacts
from yolox_trt_ros.engine.tensorrt_versions import TensorRT

Precision = Literal['fp32', 'tf32', 'fp16', 'int8']
PRECISIONS: tuple[Precision, ...] = ('fp32', 'tf32', 'fp16', 'int8')
Typing = Literal['auto', 'strong', 'weak']
USUAL_LEVEL, MOST_LEVEL = 3, 5
"""TensorRT's own optimisation level, and the highest."""
_FLAGS = (
    'typing',
    'strict_dla',
    'native_outputs',
    'sparsity',
    'workspace_mib',
    'dla_sram_kib',
    'dla_local_dram_mib',
    'dla_global_dram_mib',
)


@dataclass(frozen=True)
class BuildOptions:
    """What is asked of an engine.

    Attributes:
        device: ``cuda:N`` or ``dla:N``.
        precision: of weights and activations.
        batch: images of one call; the most of them with ``dynamic``.
        dynamic: whether calls may hold fewer images (GPU only).
        calibration: ranges for INT8 without Q/DQ nodes.
        typing: ``strong``: types come from the ONNX file; ``weak``: TensorRT may choose among
            those the precision allows; ``auto``: strong where there is a choice and it can be.
        strict_dla: fail rather than let a layer fall back to the GPU.
        native_outputs: leave a DLA's outputs in its own layout, to be unpacked by the detector,
            instead of letting TensorRT copy them to rows and columns.
        sparsity: use 2:4 sparse kernels where the weights are so.
        optimization_level: how long TensorRT looks for fast kernels, 0 to 5 (8.6 and later).
        workspace_mib: most scratch memory of a layer, MiB; 0: no limit.
        dla_sram_kib, dla_local_dram_mib, dla_global_dram_mib: memory pools of a DLA loadable;
            0: TensorRT's default. Powers of two.
        marked: tensors inside the network that the engine shall give out as well, to be looked at.
            TensorRT does not fuse across them.
    """

    device: str = 'cuda:0'
    precision: Precision = 'fp16'
    batch: int = 1
    dynamic: bool = False
    calibration: Calibration | None = None
    typing: Typing = 'auto'
    strict_dla: bool = False
    native_outputs: bool = False
    sparsity: bool = False
    optimization_level: int = USUAL_LEVEL
    workspace_mib: int = 0
    dla_sram_kib: int = 0
    dla_local_dram_mib: int = 0
    dla_global_dram_mib: int = 0
    marked: tuple[str, ...] = ()

    @property
    def dla_core(self) -> int | None:
        """Return the N of ``dla:N``, or None for a GPU."""
        kind, _, number = self.device.partition(':')
        return int(number) if kind == 'dla' else None

    def flags(self) -> dict[str, Any]:
        """Return what else distinguishes engines, for the cache's key."""
        flags = {**{name: getattr(self, name) for name in _FLAGS}, 'marked': sorted(self.marked)}
        if self.optimization_level != USUAL_LEVEL:  # keys of engines without it stay as they were
            flags['optimization_level'] = self.optimization_level
        return flags


def strongly_typed(tensorrt: TensorRT, model: ModelFacts, options: BuildOptions) -> bool:
    """Return whether the network takes its types from the file, after checking the options.

    Raises:
        ConfigError: the options contradict each other, or TensorRT cannot do what they ask.
        ModelError: the model does not fit the options.
    """
    _check_device(options)
    if options.batch < 1:
        raise ConfigError(f'batch: expected 1 or more, got {options.batch}')
    if options.optimization_level != USUAL_LEVEL and not tensorrt.has_levels:
        raise ConfigError(f'optimization_level: needs TensorRT 8.6 or later, this is {tensorrt}')
    if tensorrt.strong_typing == 'always' and options.typing == 'weak':
        raise ConfigError(f'typing: {tensorrt} is always strongly typed')
    if tensorrt.strong_typing == 'never' and options.typing == 'strong':
        raise ConfigError(f'typing: strong needs TensorRT 10, this is {tensorrt}')
    choice = options.typing
    if choice == 'auto':
        # Through 10.x a DLA knows implicit quantisation only, and ranges are implicit as such.
        weak = options.dla_core is not None or options.calibration is not None
        choice = 'weak' if weak else 'strong'
    strong = tensorrt.strong_typing == 'always' or (
        tensorrt.strong_typing == 'option' and choice == 'strong'
    )
    _check_precision(tensorrt, model, options, strong)
    return strong


def chosen_precision(asked: str, model: ModelFacts) -> Precision:
    """Return the precision that a lane or a command line means by a word of ``PRECISIONS``."""
    for precision in PRECISIONS:
        if precision == asked:
            return precision
    return 'int8' if model.quantised else 'fp16'


def check_types(model: ModelFacts, precision: Precision) -> None:
    """Refuse a precision that contradicts the types in the file.

    Raises:
        ModelError: says which one fits.
    """
    name = model.path.name
    if precision in ('fp32', 'tf32') and model.half:
        raise ModelError(f'{name} is a float16 model: ask for precision fp16')
    if model.quantised and precision != 'int8':
        raise ModelError(f'{name} is quantised (Q/DQ nodes): ask for precision int8')


def _check_device(options: BuildOptions) -> None:
    if options.dla_core is None:
        if options.strict_dla or options.native_outputs:
            raise ConfigError(f'{options.device}: strict and native outputs are for a DLA')
        return
    if options.precision in ('fp32', 'tf32'):
        raise ConfigError(
            f'precision: {options.device} computes in fp16 or int8, not in {options.precision}'
        )
    if options.dynamic:
        raise ConfigError(f'batch: {options.device} takes batches of one fixed size')


def _check_precision(
    tensorrt: TensorRT, model: ModelFacts, options: BuildOptions, strong: bool
) -> None:
    name, precision = model.path.name, options.precision
    calibration = options.calibration
    if calibration is not None and (precision != 'int8' or model.quantised or strong):
        why = (
            f'precision {precision} needs none' if precision != 'int8'
            else f'{name} has its ranges in Q/DQ nodes' if model.quantised
            else f'{tensorrt} takes INT8 as Q/DQ nodes only: run quantize for a Q/DQ model'
        )  # fmt: skip
        raise ConfigError(f'ranges: {calibration.path} would not be used: {why}')
    if calibration and calibration.model_sha256 not in ('', model.sha256):
        raise ConfigError(
            f'ranges: {calibration.path} was made for another model than {model.path} (SHA-256 '
            f'{calibration.model_sha256[:12]}…, not {model.sha256[:12]}…)'
        )
    check_types(model, precision)
    if precision != 'int8':
        return
    if model.quantised and options.dla_core is not None and not strong:
        raise ModelError(
            f'{name}: with {tensorrt} a DLA takes no Q/DQ nodes: give the model without them and '
            'the range table that quantize wrote'
        )
    if not model.quantised and strong:
        raise ModelError(
            f'{name} has no Q/DQ nodes, and {tensorrt} takes INT8 in no other form here: '
            'run `python -m yolox_trt_ros quantize` and build its Q/DQ model'
        )
    if not model.quantised and calibration is None:
        raise ConfigError(f'ranges: int8 needs a range table for {name}: run quantize')
