"""The parameters of one lane: its device, backend and precision."""

from __future__ import annotations

import re
from dataclasses import dataclass

from yolox_trt_ros.core.backends import BACKEND_NAMES, BACKENDS, backends_on, device_kind
from yolox_trt_ros.core.parameters import parameter
from yolox_trt_ros.core.printing import shown

PRECISIONS = ('auto', 'fp32', 'tf32', 'fp16', 'int8')
DEVICE = re.compile(r'cpu|cuda:\d+|dla:\d+')


@dataclass(frozen=True, slots=True)
class LaneConfig:
    """One engine executor.

    Attributes:
        name: of the lane.
        reason: why it has its backend, where ``auto`` was asked for.
    """

    name: str
    device: str = parameter('cpu', 'Device that runs the lane: cpu, cuda:N or dla:N.')
    backend: str = parameter(
        'onnxruntime',
        'Library that runs the network; auto is tensorrt where that is installed, else '
        'onnxruntime; simulated follows an engine profile and finds nothing.',
        choices=BACKEND_NAMES,
    )
    max_batch: int = parameter(1, 'Largest batch; must be 1 on a DLA.', low=1, high=64)
    in_flight: int = parameter(
        1, 'Number of batches that may be submitted before the first is done.', low=1, high=8
    )
    price: float = parameter(
        1.0,
        'Price of a millisecond on this lane: at 2, a frame goes elsewhere if it is done there in '
        'less than twice the time and within its deadline.',
        low=0.01,
        high=100.0,
    )
    threads: int = parameter(
        0,
        'Number of threads of a cpu lane; 0: cpu lanes share the cores equally.',
        low=0,
        high=256,
    )
    precision: str = parameter(
        'auto',
        'Precision in which a GPU or a DLA computes: auto is int8 for a model with Q/DQ nodes, '
        'else fp16; tf32 is float32 with the short mantissa of tensor cores. A cpu lane computes '
        "as the model's file says.",
        choices=PRECISIONS,
    )
    model: str = parameter(
        '', 'ONNX file for this tensorrt lane only, such as a Q/DQ variant; empty: model.path.'
    )
    reason: str = ''


def lane_problems(lane: LaneConfig) -> list[str]:
    """Return what contradicts itself in a lane, each with what would be right."""
    where = f'lanes.{lane.name}'
    problems = []
    if not DEVICE.fullmatch(lane.device):
        problems.append(f'{where}.device: expected cpu, cuda:N or dla:N, got {shown(lane.device)}')
    elif lane.backend not in (fit := backends_on(lane.device)):
        kind = device_kind(lane.device)
        problems.append(f'{where}.backend: a {kind} lane needs one of {", ".join(fit)}')
    if lane.device.startswith('dla') and lane.max_batch != 1:
        problems.append(
            f'{where}.max_batch: expected 1 on a dla lane (a DLA gains nothing from batching), '
            f'got {lane.max_batch}'
        )
    problems += _precision_problems(where, lane)
    if lane.model and not BACKENDS[lane.backend].builds:
        builds = ' or '.join(name for name, info in BACKENDS.items() if info.builds)
        problems.append(f'{where}.model: only a {builds} lane may have a model of its own')
    return problems


def _precision_problems(where: str, lane: LaneConfig) -> list[str]:
    kind = '' if BACKENDS[lane.backend].simulated else device_kind(lane.device)
    if kind == 'dla' and lane.precision in ('fp32', 'tf32'):
        return [f'{where}.precision: a DLA computes in fp16 or int8, not in {lane.precision}']
    if kind == 'cpu' and lane.precision not in ('auto', 'fp32'):
        wanted = "a cpu lane computes as the model's file says: expected auto or fp32"
        return [f'{where}.precision: {wanted}, got {lane.precision}']
    return []
