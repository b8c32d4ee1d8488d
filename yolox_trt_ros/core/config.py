"""The configuration of a vehicle as frozen dataclasses, and the checks across parameters."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from yolox_trt_ros.core.backends import (
    BACKEND_NAMES,
    BACKENDS,
    backends_on,
    device_kind,
    with_backend,
)
from yolox_trt_ros.core.camera_config import CameraConfig as CameraConfig
from yolox_trt_ros.core.camera_config import CameraSimConfig as CameraSimConfig
from yolox_trt_ros.core.camera_config import RigConfig as RigConfig
from yolox_trt_ros.core.camera_config import camera_problems
from yolox_trt_ros.core.class_scores import score_problems
from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.parameters import named_groups, parameter, read
from yolox_trt_ros.core.printing import shown

MAX_CAMERAS = 8
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


@dataclass(frozen=True, slots=True)
class EnginesConfig:
    """Where the engines of tensorrt lanes come from."""

    build: str = parameter(
        'auto',
        'auto builds missing engines at configure, which takes minutes; never fails instead.',
        choices=('auto', 'never'),
    )
    folder: str = parameter(
        '', 'Folder of the engine cache; empty: ~/.cache/yolox_trt_ros/engines.'
    )
    trust_folder: bool = parameter(
        False,
        'Load engines that other users own or may write. An engine is code: only set this for a '
        'folder whose users you trust.',
    )
    ranges: str = parameter(
        '',
        'Range table or TensorRT calibration cache for int8 engines of models without Q/DQ nodes.',
    )
    optimization_level: int = parameter(
        3,
        'How long TensorRT looks for fast kernels when it builds an engine: 0 is built quickest, 5 '
        'runs fastest. TensorRT 8.6 and later.',
        low=0,
        high=5,
    )


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The network and how its output becomes detections."""

    path: str = parameter(
        '', 'ONNX file, or name of a packaged model or of a pulled one; empty: edge_n.'
    )
    labels: str = parameter(
        '', 'Text file with one class name per line; empty: the file beside the model.'
    )
    class_map: str = parameter(
        '',
        'CSV or YAML file that gives classes of the model other names in the result, several the '
        'same one; Autoware’s remap CSV too. Empty: names are the model’s.',
        runtime=True,
    )
    classes: tuple[str, ...] = parameter(
        (),
        'Classes to detect, by name or number in the result; empty: all.',
        runtime=True,
        numbers=True,
    )
    antialias: bool = parameter(
        False,
        'Average over areas when an image shrinks by more than two; costs time, reduces aliasing.',
    )
    score_threshold: float = parameter(
        0.3,
        'Drop detections whose objectness × class score is lower.',
        low=0.0,
        high=1.0,
        runtime=True,
    )
    class_thresholds: tuple[str, ...] = parameter(
        (),
        'Other score thresholds of single classes, such as person=0.2.',
        runtime=True,
    )
    nms_iou: float = parameter(
        0.45,
        'IoU above which non-maximum suppression drops the box with the lower score.',
        low=0.0,
        high=1.0,
        runtime=True,
    )
    class_agnostic: bool = parameter(
        False, 'Let boxes of different classes suppress each other.', runtime=True
    )
    max_detections: int = parameter(
        300, 'Largest number of detections per image.', low=1, high=10000, runtime=True
    )
    clip_boxes: bool = parameter(
        False,
        'Clip boxes to the image. If false, boxes of partly visible objects extend beyond it.',
        runtime=True,
    )


@dataclass(frozen=True, slots=True)
class LimitsConfig:
    """When diagnostics turn from OK to WARN to ERROR."""

    window_s: float = parameter(
        5.0, 'Time in s over which rates and percentiles are computed.', low=0.5, high=600.0
    )
    latency_warn_ms: float = parameter(
        200.0, 'WARN when the p95 from arrival to publication is above this.', low=0.0, high=60000.0
    )
    latency_error_ms: float = parameter(
        1000.0,
        'ERROR when the p95 from arrival to publication is above this.',
        low=0.0,
        high=60000.0,
    )
    drop_ratio_warn: float = parameter(
        0.2, 'WARN when a larger share of the received frames is dropped.', low=0.0, high=1.0
    )
    drop_ratio_error: float = parameter(
        0.9, 'ERROR when a larger share of the received frames is dropped.', low=0.0, high=1.0
    )
    rate_ratio_warn: float = parameter(
        0.8, 'WARN when fewer images than this share of rate_hz arrive.', low=0.0, high=1.0
    )


@dataclass(frozen=True, slots=True)
class SimConfig:
    """What camera_sim shows when a camera has no source of its own."""

    source: str = parameter(
        'world', 'Folder of images, video file, or "world" for the rendered street.'
    )
    seed: int = parameter(300011, 'Seed of the rendered world and of the jitter.', low=0)
    trigger: str = parameter(
        'staggered',
        'When cameras of the same rate expose: staggered over the period, or together.',
        choices=('staggered', 'together'),
    )
    camera_info: bool = parameter(True, 'Publish a CameraInfo with each image.')
    ground_truth: bool = parameter(True, 'Publish the boxes of the rendered world with each image.')


@dataclass(frozen=True, slots=True)
class Config:
    """Everything the nodes and tools know about one vehicle.

    ``cameras`` are those that are used: listed in ``camera_names``, and enabled.
    """

    model: ModelConfig
    limits: LimitsConfig
    sim: SimConfig
    engines: EnginesConfig
    camera_names: tuple[str, ...] = parameter(
        (), 'Names of the cameras, in the order of tables and pictures.'
    )
    lane_names: tuple[str, ...] = parameter(
        (), 'Names of the lanes; each runs the network on one device.'
    )
    cameras: tuple[CameraConfig, ...] = named_groups('camera_names', CameraConfig)
    lanes: tuple[LaneConfig, ...] = named_groups('lane_names', LaneConfig)
    profile: str = parameter('', 'Engine profile (name or file) that simulated lanes follow.')
    class_id_format: str = parameter(
        'index',
        'What class_id of a hypothesis contains: the index of the class or its name.',
        choices=('index', 'name'),
    )
    ingest: str = parameter(
        'auto',
        'Source of the images: auto subscribes through C++ if that is built, else through rclpy; '
        'plain subscribes through rclpy; simulated runs camera_sim and replayed plays a bag inside '
        'the node, without messages.',
        choices=('auto', 'plain', 'simulated', 'replayed'),
    )
    bag: str = parameter('', 'Bag that the node plays when ingest is replayed.')
    build_timeout_s: float = parameter(
        1800.0,
        'Time limit in s for building the detector of a lane, and again for measuring it.',
        low=1.0,
        high=86400.0,
    )
    lockstep: bool = parameter(
        False, 'Process every frame, in order of the stamps. For replays; latency is not bounded.'
    )
    autostart: bool = parameter(True, 'Configure and activate the node when it starts.')

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
        config = replace(
            config,
            cameras=tuple(c for c in config.cameras if c.enabled),
            lanes=tuple(map(with_backend, config.lanes)),
        )
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
        problems += score_problems('model', self.model.class_thresholds)
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
