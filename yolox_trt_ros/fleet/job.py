"""What every worker of a run has in common: model, vehicle, device, where results go."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from yolox_trt_ros import __version__
from yolox_trt_ros.core.config import Config, LaneConfig, ModelConfig
from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.printing import one_line
from yolox_trt_ros.detector import Detector, lane_of
from yolox_trt_ros.loaded_model import load_model


@dataclass(frozen=True, slots=True)
class FleetJob:
    """One run; it can be pickled.

    Attributes:
        model: what runs, with thresholds.
        config: the vehicle; None: cameras have no rules of their own.
        out: folder or URI of the results.
        labels, truth_labels: class names of detections, and of ground truth topics.
        name, sha256: of the model's file.
        segment_s: longest segment, seconds.
        lane: device, backend, precision, threads and batch of each worker.
        ranges: see :class:`detector.Detector`.
        limits: of reading bags, by the variable of the environment that sets each.
    """

    model: ModelConfig
    config: Config | None
    out: str
    labels: tuple[str, ...]
    truth_labels: tuple[str, ...]
    name: str
    sha256: str
    segment_s: float
    lane: LaneConfig = field(default_factory=lane_of)
    ranges: str = ''
    limits: Mapping[str, str] = field(default_factory=dict)

    def detector(self) -> Detector:
        """Return the detector that a worker runs, with the vehicle's rules for its cameras."""
        cameras = self.config.cameras if self.config else ()
        most = max([self.lane.max_batch, *(1 + len(camera.crops) for camera in cameras)])
        made = Detector.of(self.model, replace(self.lane, max_batch=most), self.ranges)
        if self.config is not None:
            made.model.thresholds = made.model.thresholds_for(self.config)
        return made

    def identity(self) -> dict[str, Any]:
        """Return what results of one folder have to agree in.

        Raises:
            ConfigError: the ranges cannot be read.
        """
        model = self.model
        about = {
            name: getattr(model, name)
            for name in (
                'classes', 'antialias', 'score_threshold', 'class_thresholds', 'nms_iou',
                'class_agnostic', 'max_detections', 'clip_boxes',
            )
        }  # fmt: skip
        rules = {
            camera.name: [camera.image_topic, camera.crop, *camera.crops,
                          camera.score_threshold, *camera.class_thresholds,
                          *camera.ignore, *camera.levels]
            for camera in (self.config.cameras if self.config else ())
        }  # fmt: skip
        about = {name: list(v) if isinstance(v, tuple) else v for name, v in about.items()}
        return {
            'model': self.name,
            'model_sha256': self.sha256,
            'version': __version__,
            'labels': list(self.labels),
            'truth_labels': list(self.truth_labels),
            'segment_s': self.segment_s,
            'device': self.lane.device.partition(':')[0],
            'backend': self.lane.backend,
            'precision': self.lane.precision,
            'ranges_sha256': self._ranges_digest(),
            'thresholds': about,
            'cameras': rules,
        }

    def _ranges_digest(self) -> str:
        if not self.ranges:
            return ''
        try:
            return hashlib.sha256(Path(self.ranges).read_bytes()).hexdigest()
        except OSError as error:
            raise ConfigError(
                f'{one_line(self.ranges)}: ranges cannot be read: {error.strerror}'
            ) from error


def job_of(model: ModelConfig, config: Config | None, **values: Any) -> FleetJob:
    """Return a job whose model is there and can be loaded.

    Raises:
        ModelError, ConfigError: see :func:`loaded_model.load_model`.
    """
    own = next((c for c in (config.cameras if config else ()) if c.model), None)
    if own is not None:
        raise ConfigError(
            f'cameras.{own.name}.model: drives are run with one model: take a vehicle file with '
            'the cameras of one model at a time'
        )
    loaded = load_model(model, cameras=config.cameras if config else ())
    digest = hashlib.sha256(loaded.path.read_bytes()).hexdigest()
    model = replace(
        model,
        path=str(loaded.path.absolute()),
        labels=_absolute(model.labels),
        class_map=_absolute(model.class_map),
        segmentation=False,  # no table has masks
    )
    if config is not None:
        config = replace(config, model=model)
    labels = tuple(loaded.labels)
    return FleetJob(model, config, labels=labels, name=loaded.path.name, sha256=digest, **values)


def _absolute(name: str) -> str:
    return str(Path(name).expanduser().absolute()) if name else ''


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return what differs between the runs of two jobs, a sentence each."""
    return [
        f'{name} was {before.get(name)}, is {now.get(name)}'
        for name in now
        if before.get(name) != now.get(name)
    ]


def check_same(before: Mapping[str, Any], job: FleetJob) -> None:
    """See that results of a job can be added to those that are there.

    Raises:
        ConfigError: they are of another model, thresholds or segments.
    """
    if found := differences(before, job.identity()):
        raise ConfigError(
            f'{job.out}: its results are of another run: {"; ".join(found)}: resume with the same '
            'options, or choose another --out'
        )
