"""The detector of a tool that needs no vehicle: where, by what, how precisely."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from yolox_trt_ros.cli.options import refuse_unused
from yolox_trt_ros.compose import Model, available_cores, make_detector
from yolox_trt_ros.core.backends import BACKENDS
from yolox_trt_ros.core.config import EnginesConfig, LaneConfig, lane_problems
from yolox_trt_ros.core.detector import LaneDetector
from yolox_trt_ros.core.errors import ConfigError

if TYPE_CHECKING:
    from yolox_trt_ros.engine.lanes import LaneEngine


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument('--device', default='cpu', help='cpu, cuda:N or dla:N (default: cpu)')
    parser.add_argument(
        '--backend', default='onnxruntime',
        choices=[name for name, info in BACKENDS.items() if not info.simulated],
        help='what runs the network; tensorrt builds a missing engine (default: onnxruntime)',
    )  # fmt: skip
    parser.add_argument(
        '--precision', choices=('fp32', 'fp16', 'int8'), default='fp16',
        help='of a tensorrt engine (default: fp16)',
    )  # fmt: skip
    parser.add_argument(
        '--ranges', default='', help='of an int8 tensorrt engine without Q/DQ nodes'
    )


def detector_of(args: argparse.Namespace, name: str, model: Model) -> LaneDetector:
    """Return the detector that the arguments describe; builds a missing engine.

    Raises:
        ConfigError: there is no such device, or the backend does not run on it.
        MissingDependencyError: a package or a GPU is missing.
    """
    # A model of a fixed batch size is run whole, whatever part of it a tool fills.
    lane = replace(lane_of(args, name), max_batch=model.spec.input.batch or 1)
    if not BACKENDS[lane.backend].builds:
        return make_detector(lane, model)
    return make_detector(lane, model, engine_of(args, lane, model.path))


def engine_of(
    args: argparse.Namespace, lane: LaneConfig, model: Path, marked: tuple[str, ...] = ()
) -> LaneEngine:
    """Return the lane's engine of an ONNX file; builds a missing one.

    Args:
        args: of the command line.
        lane: the lane.
        model: the file.
        marked: tensors inside it that the engine shall give out as well.

    Raises:
        MissingDependencyError: TensorRT or a GPU is missing.
    """
    from yolox_trt_ros.cli.console import Console
    from yolox_trt_ros.engine.lanes import lane_engine

    with Console(stderr=True).status('looking for the engine …') as status:
        return lane_engine(
            lane,
            model,
            EnginesConfig(ranges=args.ranges),
            lambda fraction, _: status.update(f'building the engine: {fraction:.0%}'),
            marked=marked,
        )


def lane_of(args: argparse.Namespace, name: str) -> LaneConfig:
    """Return the lane that the arguments describe.

    Raises:
        ConfigError: its values do not go together, or one would have no effect.
    """
    if not BACKENDS[args.backend].precision:
        refuse_unused(args, add_arguments, 'precision ranges', '--backend tensorrt')
    elif args.precision != 'int8':
        refuse_unused(args, add_arguments, 'ranges', '--precision int8')
    lane = LaneConfig(
        name,
        device=args.device,
        backend=args.backend,
        precision=args.precision,
        threads=available_cores(),
    )
    if problems := lane_problems(lane):
        raise ConfigError('\n'.join(p.replace(f'lanes.{name}.', '--') for p in problems))
    return lane
