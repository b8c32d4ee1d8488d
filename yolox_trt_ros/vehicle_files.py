"""Vehicle files and engine profiles: from a path or a packaged name to what is in them."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from yolox_trt_ros.core.config import Config, ModelConfig
from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.printing import one_line
from yolox_trt_ros.core.profile import Profile
from yolox_trt_ros.core.resources import find_resource, resource_names
from yolox_trt_ros.core.text_files import member
from yolox_trt_ros.yaml_files import read_yaml

VEHICLE_SUFFIX = '.param.yaml'
PROFILE_SUFFIX = '.yaml'


def load_profile(name: str) -> Profile:
    """Return an engine profile.

    Args:
        name: a path, or the name of a packaged profile.

    Raises:
        ConfigError: the file is missing or not a profile.
    """
    path = find_resource('config/profiles', name, PROFILE_SUFFIX)
    if not os.path.lexists(path):
        packaged = ', '.join(resource_names('config/profiles', PROFILE_SUFFIX)) or 'none'
        raise ConfigError(f'engine profile "{name}" does not exist; packaged ones: {packaged}')
    return Profile.from_dict(read_yaml(path, what='an engine profile'), one_line(path))


def load_vehicle(name: str) -> Config:
    """Return the configuration in a vehicle's YAML, for programs that are no ROS node.

    Args:
        name: a path, or the name of a packaged vehicle file.

    Raises:
        ConfigError: the file is missing, not a ROS parameter file, or its values are wrong.
    """
    path = find_resource('config/vehicles', name, VEHICLE_SUFFIX)
    if not os.path.lexists(path):
        packaged = ', '.join(resource_names('config/vehicles', VEHICLE_SUFFIX)) or 'none'
        raise ConfigError(f'vehicle file "{name}" does not exist; packaged ones: {packaged}')
    return Config.from_parameters(vehicle_parameters(path))


def chosen_model(config: Config, path: str = '', labels: str = '') -> ModelConfig:
    """Return a vehicle's model with what a command line puts in its place, as a node would.

    Args:
        config: the vehicle.
        path, labels: ``model.path`` and ``model.labels``; empty: the vehicle's own.
    """
    model = config.model
    return replace(model, path=path or model.path, labels=labels or model.labels)


def vehicle_parameters(path: Path) -> dict[str, Any]:
    """Return the flat parameters of a vehicle's YAML.

    Args:
        path: a ROS parameter file with one ``/**`` section.

    Raises:
        ConfigError: it is not such a file.
    """
    content = read_yaml(path, what='a ROS parameter file', aliases=False)
    where = f'{one_line(path)}: expected a ROS parameter file'
    nodes = member(content, '/**', dict, where)
    return dict(flatten('', member(nodes, 'ros__parameters', dict, f'{where}: /**')))


def flatten(prefix: str, value: Any) -> list[tuple[str, Any]]:
    """Return the dotted names and the values of nested dictionaries."""
    if not isinstance(value, dict):
        return [(prefix, value)]
    rows = []
    for key, inner in value.items():
        rows += flatten(f'{prefix}.{key}' if prefix else str(key), inner)
    return rows
