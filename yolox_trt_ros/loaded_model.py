"""A model that is in use: its file, what is known of it, and what of its answer counts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from yolox_trt_ros.core.backends import no_masks
from yolox_trt_ros.core.class_names import matching
from yolox_trt_ros.core.config import CameraConfig, Config, ModelConfig
from yolox_trt_ros.core.errors import ConfigError, did_you_mean
from yolox_trt_ros.core.model import ModelSpec, Thresholds
from yolox_trt_ros.core.rules import Rules
from yolox_trt_ros.detect.model import load_model_spec
from yolox_trt_ros.detect.thresholds import names_in_result, thresholds_of
from yolox_trt_ros.packaged_models import find_model, model_names
from yolox_trt_ros.published_models.catalogue import CATALOGUE

DEFAULT_MODEL = 'edge_n'

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Model:
    """A model file, what is known of it, and what may change while lanes run.

    Attributes:
        path, spec: the file, and what is known of it.
        thresholds: what counts as a detection.
        name: among the models of a vehicle.
        masks: whether somebody wants the class masks of a camera.
    """

    path: Path
    spec: ModelSpec
    thresholds: Thresholds
    name: str = ''
    masks: Callable[[str], bool] = no_masks

    @property
    def rules(self) -> Rules:
        """Return what of the model's answer counts for cameras that say nothing of it."""
        return self.rules_of(self.thresholds)

    @property
    def labels(self) -> tuple[str, ...]:
        """Return the names of classes in the result; ``class_id`` of a detection indexes them."""
        return self.rules.labels

    def thresholds_for(self, config: Config, shared: Sequence[str] = ()) -> Thresholds:
        """Return what a vehicle's parameters make of the thresholds.

        Args:
            config: the vehicle.
            shared: see :func:`detect.thresholds.thresholds_of`.

        Raises:
            ConfigError: a parameter names a class that there is not, or a file that is no map.
        """
        cameras = [camera for camera in config.cameras if camera.model == self.name]
        return thresholds_of(self.spec.labels, config.used_models[self.name], cameras, shared)

    def rules_of(self, thresholds: Thresholds) -> Rules:
        """Return the rules in thresholds of this model."""
        return thresholds.rules or Rules.of_all(self.spec.labels, thresholds.score)


@dataclass(frozen=True, slots=True)
class Models:
    """The models of a vehicle: a class has one number and name in the results of all.

    Attributes:
        by_name: loaded models; the empty name is that of the vehicle's ``model``.
        cameras: the name of each camera's model.
    """

    by_name: Mapping[str, Model]
    cameras: Mapping[str, str]

    @property
    def first(self) -> Model:
        """Return the first camera's model."""
        return next(iter(self.by_name.values()))

    def of(self, camera: str) -> Model:
        """Return a camera's model."""
        return self.by_name[self.cameras[camera]]

    @property
    def labels(self) -> tuple[str, ...]:
        """Return the names of classes in the result of any of them."""
        return self.first.labels

    @property
    def rules(self) -> Rules:
        """Return which classes the results of any of them may have, and what they are called."""
        return _common([model.rules for model in self.by_name.values()])

    def rules_for(self, config: Config) -> Rules:
        """Return what a vehicle's parameters make of these rules.

        Raises:
            ConfigError: see :meth:`Model.thresholds_for`.
        """
        found = self.thresholds_for(config)
        return _common([model.rules_of(found[name]) for name, model in self.by_name.items()])

    @property
    def by_camera(self) -> dict[str, Rules]:
        """Return the rules of each camera's model; empty: all have one."""
        several = self.cameras if len(self.by_name) > 1 else {}
        return {camera: self.by_name[name].rules for camera, name in several.items()}

    def thresholds_for(self, config: Config) -> dict[str, Thresholds]:
        """Return what a vehicle's parameters make of each model's thresholds.

        Raises:
            ConfigError: see :meth:`Model.thresholds_for`.
        """
        shared: list[str] = []
        if len(self.by_name) > 1:
            for name, model in self.by_name.items():
                own = names_in_result(model.spec.labels, config.used_models[name])
                shared += [label for label in own if matching(label, shared) is None]
        return {n: model.thresholds_for(config, shared) for n, model in self.by_name.items()}

    def use(self, thresholds: Mapping[str, Thresholds]) -> None:
        """Let these count from the next batch on."""
        for name, model in self.by_name.items():
            model.thresholds = thresholds[name]


def _common(rules: Sequence[Rules]) -> Rules:
    """Return rules by which every class counts that counts by any of some with common names."""
    if len(rules) == 1:
        return rules[0]
    wanted = np.array(sorted({number for own in rules for number in own.wanted}), np.int32)
    return Rules(np.zeros(len(wanted), np.float32), wanted, rules[0].labels)


def load_models(config: Config, on_event: Callable[[str], None] = _log.info) -> Models:
    """Return the models that a vehicle's cameras have.

    Raises:
        ModelError, ConfigError, MissingDependencyError: see :func:`load_model`.
    """
    cameras = {camera.name: camera.model for camera in config.cameras}
    # Classes are named by their numbers among those of all models, which are known only then.
    loaded = {
        name: Model(*_load(model, on_event), Thresholds(), name)
        for name, model in config.used_models.items()
    }
    models = Models(loaded, cameras)
    models.use(models.thresholds_for(config))
    return models


def load_model(
    config: ModelConfig,
    on_event: Callable[[str], None] = _log.info,
    cameras: Sequence[CameraConfig] = (),
) -> Model:
    """Return the model a configuration names.

    Args:
        config: its file or name, and thresholds.
        on_event: called with what is worth a line in the log.
        cameras: whose images it gets.

    Raises:
        ModelError: see :func:`yolox_trt_ros.detect.model.load_model_spec`.
        ConfigError, MissingDependencyError: see :func:`packaged_models.find_model`; or there is no
            model of that name.
    """
    path, spec = _load(config, on_event)
    return Model(path, spec, thresholds_of(spec.labels, config, cameras))


def _load(config: ModelConfig, on_event: Callable[[str], None]) -> tuple[Path, ModelSpec]:
    """Return the file of the model that a configuration names, and what is in it."""
    name = config.path or DEFAULT_MODEL
    path = find_model(name, on_event)
    if name in CATALOGUE and not path.is_file():
        raise ConfigError(
            f'{config.where}.path: {name} is not here yet: '
            f'python -m yolox_trt_ros models pull {name}'
        )
    if not path.is_file() and path == Path(name) and not path.suffix:
        packaged = ', '.join(model_names()) or 'none'
        raise ConfigError(
            f'{config.where}.path: expected an ONNX file, the name of a packaged model '
            f'({packaged}) or of one that "models list" shows, got "{name}"'
            f'{did_you_mean(name, CATALOGUE)}'
        )
    labels = Path(config.labels).expanduser() if config.labels else None
    return path, load_model_spec(path, labels, config.antialias, config.segmentation)
