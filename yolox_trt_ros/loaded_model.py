"""A model that is in use: its file, what is known of it, and what of its answer counts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from yolox_trt_ros.core.config import CameraConfig, Config, ModelConfig
from yolox_trt_ros.core.errors import ConfigError, did_you_mean
from yolox_trt_ros.core.model import ModelSpec, Thresholds
from yolox_trt_ros.core.rules import Rules
from yolox_trt_ros.detect.model import load_model_spec
from yolox_trt_ros.detect.thresholds import thresholds_of
from yolox_trt_ros.packaged_models import find_model, model_names
from yolox_trt_ros.published_models.catalogue import CATALOGUE

DEFAULT_MODEL = 'edge_n'

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Model:
    """A model file, what is known of it, and thresholds that may change while lanes run."""

    path: Path
    spec: ModelSpec
    thresholds: Thresholds

    @property
    def rules(self) -> Rules:
        """Return what of the model's answer counts for cameras that say nothing of it."""
        return self._rules_of(self.thresholds)

    @property
    def labels(self) -> tuple[str, ...]:
        """Return the names of classes in the result; ``class_id`` of a detection indexes them."""
        return self.rules.labels

    def thresholds_for(self, config: Config) -> Thresholds:
        """Return what a vehicle's parameters make of the thresholds.

        Raises:
            ConfigError: a parameter names a class that there is not, or a file that is no map.
        """
        return thresholds_of(self.spec.labels, config.model, config.cameras)

    def rules_for(self, config: Config) -> Rules:
        """Return what a vehicle's parameters make of the rules.

        Raises:
            ConfigError: see :meth:`thresholds_for`.
        """
        return self._rules_of(self.thresholds_for(config))

    def _rules_of(self, thresholds: Thresholds) -> Rules:
        return thresholds.rules or Rules.of_all(self.spec.labels, thresholds.score)


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
    name = config.path or DEFAULT_MODEL
    path = find_model(name, on_event)
    if name in CATALOGUE and not path.is_file():
        raise ConfigError(
            f'model.path: {name} is not here yet: python -m yolox_trt_ros models pull {name}'
        )
    if not path.is_file() and path == Path(name) and not path.suffix:
        packaged = ', '.join(model_names()) or 'none'
        raise ConfigError(
            f'model.path: expected an ONNX file, the name of a packaged model ({packaged}) or of '
            f'one that "models list" shows, got "{name}"{did_you_mean(name, CATALOGUE)}'
        )
    labels = Path(config.labels).expanduser() if config.labels else None
    spec = load_model_spec(path, labels, config.antialias)
    return Model(path, spec, thresholds_of(spec.labels, config, cameras))
