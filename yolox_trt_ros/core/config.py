"""The configuration of a vehicle as frozen dataclasses, and the checks across parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from yolox_trt_ros.core.backends import with_backend
from yolox_trt_ros.core.camera_config import CameraConfig as CameraConfig
from yolox_trt_ros.core.camera_config import CameraSimConfig as CameraSimConfig
from yolox_trt_ros.core.camera_config import RigConfig as RigConfig
from yolox_trt_ros.core.camera_config import camera_problems
from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.lane_config import PRECISIONS as PRECISIONS
from yolox_trt_ros.core.lane_config import LaneConfig as LaneConfig
from yolox_trt_ros.core.lane_config import lane_problems as lane_problems
from yolox_trt_ros.core.model_config import ModelConfig as ModelConfig
from yolox_trt_ros.core.model_config import NamedModelConfig as NamedModelConfig
from yolox_trt_ros.core.model_config import model_problems
from yolox_trt_ros.core.parameters import named_groups, parameter, read
from yolox_trt_ros.core.printing import shown
from yolox_trt_ros.core.topics import OUTPUTS, RESULTS, ResultTopic

MAX_CAMERAS = 8


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
class TrackingConfig:
    """Which detections of a camera are the same object, image after image."""

    method: str = parameter(
        'none',
        'bytetrack gives the objects of each camera numbers that stay (id of a Detection2D); some '
        '1 ms of CPU for 100 boxes, as part of the publish stage.',
        choices=('none', 'bytetrack'),
    )
    sure_score: float = parameter(
        0.6, 'Detections from this score on are matched first.', low=0.0, high=1.0
    )
    new_score: float = parameter(
        0.7, 'From this score on, what matches nothing begins a track.', low=0.0, high=1.0
    )
    least_iou: float = parameter(
        0.1, 'IoU of a box with where it is expected, from which on they match.', low=0.0, high=1.0
    )
    images: int = parameter(
        2, 'Images on end in which an object was seen before it has a number.', low=1, high=100
    )
    lost_s: float = parameter(
        1.0, 'Time in s after which an object that is not seen is forgotten.', low=0.0, high=60.0
    )


@dataclass(frozen=True, slots=True)
class SimConfig:
    """What camera_sim shows when a camera has no source of its own."""

    source: str = parameter(
        'world',
        'Folder of images or of videos, video file, or "world" for the rendered street.',
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
    tracking: TrackingConfig
    camera_names: tuple[str, ...] = parameter(
        (), 'Names of the cameras, in the order of tables and pictures.'
    )
    lane_names: tuple[str, ...] = parameter(
        (), 'Names of the lanes; each runs the network on one device.'
    )
    model_names: tuple[str, ...] = parameter(
        (), 'Names of further models, for cameras that name one as theirs; every lane runs all.'
    )
    cameras: tuple[CameraConfig, ...] = named_groups('camera_names', CameraConfig)
    lanes: tuple[LaneConfig, ...] = named_groups('lane_names', LaneConfig)
    models: tuple[NamedModelConfig, ...] = named_groups('model_names', NamedModelConfig)
    profile: str = parameter('', 'Engine profile (name or file) that simulated lanes follow.')
    outputs: tuple[str, ...] = parameter(
        ('detections',),
        'What is published of each image: detections (Detection2DArray), objects '
        '(DetectedObjectsWithFeature, as Autoware’s detector), debug_times (its times), and of '
        'models that give class masks mask (Image of class numbers) and color_mask.',
        choices=OUTPUTS,
    )
    class_id_format: str = parameter(
        'index',
        'What class_id of a hypothesis contains: the index of the class or its name.',
        choices=('index', 'name'),
    )
    mask_format: str = parameter(
        'mono8',
        'What data of a mask contains: a byte for each pixel, or rle: the run lengths of '
        'Autoware’s detector, 5 bytes each.',
        choices=('mono8', 'rle'),
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
    build_only: bool = parameter(False, 'Build the engines that the lanes lack, then end the node.')

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

    @property
    def used_models(self) -> dict[str, ModelConfig]:
        """Return the models that cameras have, by name; the empty name is that of ``model``."""
        given: dict[str, ModelConfig] = {'': self.model, **{m.name: m for m in self.models}}
        return {camera.model: given[camera.model] for camera in self.cameras}

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
        problems += self._output_problems()
        for lane in self.lanes:
            problems += lane_problems(lane)
        names = [lane.name for lane in self.lanes]
        topics: dict[str, str] = {}
        for camera in self.cameras:
            problems += camera_problems(camera, names, self.model_names)
            able = [n for n in self.lanes if n.name == camera.lane] or self.lanes
            if camera.crops and not any(lane.max_batch > 1 for lane in able):
                problems.append(
                    f'cameras.{camera.name}.crops: expected a lane of the camera with max_batch of '
                    '2 or more, for image and crop are in one batch; got 1'
                )
            other = topics.setdefault(camera.image_topic, camera.name)
            if other != camera.name:
                problems.append(
                    f'cameras.{camera.name}.topic: {shown(camera.image_topic)} is already the '
                    f'topic of {other}'
                )
        problems += self._model_problems()
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

    def _output_problems(self) -> list[str]:
        problems = []
        if not {'detections', 'objects'}.intersection(self.outputs):
            problems.append(f'outputs: expected detections or objects, got {shown(self.outputs)}')
        if twice := next((o for o in self.outputs if self.outputs.count(o) > 1), ''):
            problems.append(f'outputs: {twice} is listed twice')
        for output in {'objects', 'mask'}.intersection(self.outputs):
            problems += self._shared_topics(RESULTS[output])
        return problems

    def _shared_topics(self, result: ResultTopic) -> list[str]:
        problems = []
        owners: dict[str, str] = {}
        for camera in self.cameras:
            topic = result.named(camera)
            other = owners.setdefault(topic, camera.name)
            if other != camera.name:
                problems.append(
                    f'cameras.{camera.name}.{result.parameter}: {shown(topic)} is already the '
                    f'topic of {other}'
                )
        return problems

    def need_detections(self, who: str) -> None:
        """Refuse a vehicle that does not publish Detection2DArray.

        Args:
            who: reads them.

        Raises:
            ConfigError: it does not.
        """
        if 'detections' not in self.outputs:
            raise ConfigError(
                f'outputs: {who} reads detections, but the vehicle publishes '
                f'{", ".join(self.outputs)} only: add detections'
            )

    def _model_problems(self) -> list[str]:
        """Return what contradicts itself in the models."""
        problems = [p for model in (self.model, *self.models) for p in model_problems(model)]
        if any(camera.model for camera in self.cameras):
            problems += [
                f'lanes.{lane.name}.model: expected none where cameras have models of their own: '
                'every lane runs them all'
                for lane in self.lanes
                if lane.model
            ]
        return problems


def _group(problem: str) -> str:
    """Return what a problem's parameter belongs to: a camera, a lane …; empty: the vehicle."""
    return problem.partition(':')[0].rpartition('.')[0]
