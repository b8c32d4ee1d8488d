"""The lane of a tool that detects without a vehicle: where, by what, how precisely."""

from __future__ import annotations

import argparse

from yolox_trt_ros.compose import available_cores
from yolox_trt_ros.core.config import LaneConfig, lane_problems
from yolox_trt_ros.core.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument('--device', default='cpu', help='cpu, cuda:N or dla:N (default: cpu)')
    parser.add_argument(
        '--backend', choices=('onnxruntime', 'tensorrt'), default='onnxruntime',
        help='what runs the network; tensorrt builds a missing engine (default: onnxruntime)',
    )  # fmt: skip
    parser.add_argument(
        '--precision', choices=('fp32', 'fp16', 'int8'), default='fp16',
        help='of a tensorrt engine (default: fp16)',
    )  # fmt: skip


def lane_of(args: argparse.Namespace, name: str) -> LaneConfig:
    """Return the lane that the arguments describe.

    Raises:
        ConfigError: there is no such device, or the backend does not run on it.
    """
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
