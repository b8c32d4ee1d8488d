"""What a vehicle's YAML says, checked as a whole before anything starts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from yolox_trt_ros.core.backends import BACKENDS, backends_on, device_kind
from yolox_trt_ros.core.camera_config import CameraConfig as CameraConfig
from yolox_trt_ros.core.camera_config import CameraSimConfig as CameraSimConfig
from yolox_trt_ros.core.camera_config import RigConfig as RigConfig
from yolox_trt_ros.core.camera_config import camera_problems
from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.parameters import named_groups, parameter, read
from yolox_trt_ros.core.printing import shown

MAX_CAMERAS = 8
DEVICE = re.compile(r'cpu|cuda:\d+|dla:\d+')


@dataclass(frozen=True, slots=True)
class LaneConfig:
    """One engine executor."""

    name: str
    device: str = parameter('cpu', 'cpu, cuda:N or dla:N.')
    backend: str = parameter(
        'onnxruntime',
        'What runs the network.',
        choices=BACKENDS,
    )
    max_batch: int = parameter(1, 'Most frames in one call; DLA lanes: 1.', low=1, high=64)
    in_flight: int = parameter(1, 'Batches submitted and not yet collected.', low=1, high=8)
    threads: int = parameter(
        0, 'CPU threads of a cpu lane; 0: the cores divided among the cpu lanes.', low=0, high=256
    )
    precision: str = parameter(
        'fp16', 'Precision of a tensorrt lane’s engine.', choices=('fp32', 'fp16', 'int8')
    )
    model: str = parameter(
        '', 'ONNX file of this tensorrt lane alone, such as a Q/DQ variant; empty: model.path.'
    )


@dataclass(frozen=True, slots=True)
class EnginesConfig:
    """Where the engines of tensorrt lanes come from."""

    build: str = parameter(
        'auto',
        'auto: missing engines are built at configure, which takes minutes; never: refuse.',
        choices=('auto', 'never'),
    )
    folder: str = parameter('', 'Where engines are kept; empty: ~/.cache/yolox_trt_ros/engines.')
    trust_folder: bool = parameter(
        False,
        'Whether engines are loaded that other users own or may write; an engine is code.',
    )
    ranges: str = parameter(
        '', 'Range table or TensorRT calibration cache of int8 engines without Q/DQ nodes.'
    )


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The network and how its output becomes detections."""

    path: str = parameter('', 'ONNX file, or the name of a packaged model; empty: edge_n.')
    labels: str = parameter('', 'Text file, one class name a line; empty: beside the model.')
    antialias: bool = parameter(
        False,
        'Whether images that shrink by more than two are averaged over areas; costs time.',
    )
    score_threshold: float = parameter(
        0.3, 'Lowest objectness × class score.', low=0.0, high=1.0, runtime=True
    )
    nms_iou: float = parameter(
        0.45, 'Overlap above which the lower box is dropped.', low=0.0, high=1.0, runtime=True
    )
    class_agnostic: bool = parameter(
        False, 'Whether boxes of different classes suppress each other.', runtime=True
    )
    max_detections: int = parameter(
        300, 'Most detections of one image.', low=1, high=10000, runtime=True
    )
    clip_boxes: bool = parameter(
        False,
        'Whether boxes end at the image’s border, or as far beyond as the object.',
        runtime=True,
    )


@dataclass(frozen=True, slots=True)
class LimitsConfig:
    """When diagnostics turn from OK to WARN to ERROR."""

    window_s: float = parameter(5.0, 'Span of rates and percentiles.', low=0.5, high=600.0)
    latency_warn_ms: float = parameter(200.0, 'p95 arrival to publication.', low=0.0, high=60000.0)
    latency_error_ms: float = parameter(
        1000.0, 'p95 arrival to publication.', low=0.0, high=60000.0
    )
    drop_ratio_warn: float = parameter(0.2, 'Dropped per received frame.', low=0.0, high=1.0)
    drop_ratio_error: float = parameter(0.9, 'Dropped per received frame.', low=0.0, high=1.0)
    rate_ratio_warn: float = parameter(
        0.8, 'Received rate against the camera’s rate_hz.', low=0.0, high=1.0
    )


@dataclass(frozen=True, slots=True)
class SimConfig:
    """What camera_sim shows when a camera has no source of its own."""

    source: str = parameter(
        'world', 'A folder of images, a video file, or "world" for the rendered street.'
    )
    seed: int = parameter(300011, 'Seed of the rendered world and of the jitter.', low=0)
    trigger: str = parameter(
        'staggered',
        'Whether cameras of one rate expose evenly spread over the period, or all together.',
        choices=('staggered', 'together'),
    )
    camera_info: bool = parameter(True, 'Whether CameraInfo is published beside each image.')
    ground_truth: bool = parameter(True, 'Whether the world publishes its boxes beside each image.')


@dataclass(frozen=True, slots=True)
class Config:
    """Everything the nodes and tools know about one vehicle.

    ``cameras`` are those that are used: listed in ``camera_names``, and enabled.
    """

    model: ModelConfig
    limits: LimitsConfig
    sim: SimConfig
    engines: EnginesConfig
    camera_names: tuple[str, ...] = parameter((), 'The cameras, in the order they are shown.')
    lane_names: tuple[str, ...] = parameter((), 'The engine executors.')
    cameras: tuple[CameraConfig, ...] = named_groups('camera_names', CameraConfig)
    lanes: tuple[LaneConfig, ...] = named_groups('lane_names', LaneConfig)
    profile: str = parameter('', 'Engine profile that simulated lanes follow.')
    class_id_format: str = parameter(
        'index',
        'class_id of a hypothesis: the label’s index or its name.',
        choices=('index', 'name'),
    )
    ingest: str = parameter(
        'auto',
        'How images come in: auto (C++ where it is built, else rclpy), plain (rclpy), or without '
        'messages: simulated (camera_sim inside the node) or replayed (a bag inside the node).',
        choices=('auto', 'plain', 'simulated', 'replayed'),
    )
    bag: str = parameter('', 'Recorded drive that is played inside the node: ingest replayed.')
    build_timeout_s: float = parameter(
        1800.0,
        'Longest time in which a lane must have built, and again have measured, its detector.',
        low=1.0,
        high=86400.0,
    )
    lockstep: bool = parameter(
        False, 'Whether every frame is processed, in stamp order: for replay, not for driving.'
    )
    autostart: bool = parameter(True, 'Whether the node configures and activates itself.')

    @classmethod
    def from_parameters(cls, flat: Mapping[str, Any]) -> Config:
        """Return the checked configuration.

        Args:
            flat: dotted parameter names and values, as ROS or a YAML file gives them.

        Raises:
            ConfigError: all problems, one a line, each naming the parameter, the value and what
                would be right.
        """
        config, problems = read(cls, flat)
        config = replace(config, cameras=tuple(c for c in config.cameras if c.enabled))
        # What is wrong in itself is not held against its neighbours too.
        wrong = {_group(problem) for problem in problems}
        if '' not in wrong:
            problems += [c for c in config._contradictions() if _group(c) not in wrong]
        if problems:
            raise ConfigError('\n'.join(problems))
        checked: Config = config
        return checked

    def _contradictions(self) -> list[str]:
        problems = []
        if not 1 <= len(self.cameras) <= MAX_CAMERAS:
            off = len(set(self.camera_names)) - len(self.cameras)
            problems.append(
                f'camera_names: expected 1 to {MAX_CAMERAS} cameras, got {len(self.cameras)}'
                + (f', and {off} that are not enabled' if off else '')
            )
        if not self.lanes:
            problems.append('lane_names: expected at least one lane, got none')
        for lane in self.lanes:
            problems += lane_problems(lane)
        names = [lane.name for lane in self.lanes]
        topics: dict[str, str] = {}
        for camera in self.cameras:
            problems += camera_problems(camera, names)
            other = topics.setdefault(camera.image_topic, camera.name)
            if other != camera.name:
                problems.append(
                    f'cameras.{camera.name}.topic: {shown(camera.image_topic)} is already the '
                    f'topic of {other}'
                )
        limits = self.limits
        for kind in ('latency', 'drop_ratio'):
            unit = '_ms' if kind == 'latency' else ''
            warn, error = f'{kind}_warn{unit}', f'{kind}_error{unit}'
            if getattr(limits, warn) > getattr(limits, error):
                problems.append(
                    f'limits.{warn}: expected at most limits.{error} = '
                    f'{getattr(limits, error):g}, got {getattr(limits, warn):g}'
                )
        return problems


def _group(problem: str) -> str:
    """Return what a problem's parameter belongs to: a camera, a lane …; empty: the vehicle."""
    return problem.partition(':')[0].rpartition('.')[0]


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
    if lane.device.startswith('dla') and lane.precision == 'fp32':
        problems.append(f'{where}.precision: a DLA computes in fp16 or int8, not in fp32')
    if lane.model and not BACKENDS[lane.backend].builds:
        builds = ' or '.join(name for name, info in BACKENDS.items() if info.builds)
        problems.append(f'{where}.model: only a {builds} lane may have a model of its own')
    return problems
