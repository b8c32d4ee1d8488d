"""Find and read vehicle files and engine profiles, by path or packaged name."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from yolox_trt_ros.core.config import Config, ModelConfig
from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.printing import one_line, shown
from yolox_trt_ros.core.profile import Profile
from yolox_trt_ros.core.resources import find_resource, resource_names
from yolox_trt_ros.core.schema import DRAFT, parameters_schema
from yolox_trt_ros.core.text_files import of_kind
from yolox_trt_ros.yaml_files import read_yaml

VEHICLE_SUFFIX = '.param.yaml'
PROFILE_SUFFIX = '.yaml'
SCHEMA = 'vehicle.schema.json'
"""In ``config/``; what an editor checks a vehicle file by."""
DETECTOR = 'detector'
"""Name of the node whose parameters the tools read."""
_OF_RCLPY = ('use_sim_time', 'start_type_description_service')
_OVERRIDES = 'qos_overrides'


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


def vehicle_parameters(path: Path, node: str = DETECTOR) -> dict[str, Any]:
    """Return the flat parameters of a vehicle's YAML.

    Args:
        path: a ROS parameter file whose sections, ``/**`` or by name, are for the node.
        node: whose parameters they are; in whatever namespace, for a tool is in none.

    Raises:
        ConfigError: it is not such a file, or has nothing for the node.
    """
    sections = parameter_sections(path)
    called = {name for name, _ in sections if name.rpartition('/')[2] == node}
    if len(called) > 1:
        raise ConfigError(
            f'{one_line(path)}: expected one {node}, got {", ".join(sorted(called))}: give each a '
            'file of its own'
        )
    flat: dict[str, Any] = {}
    for name, parameters in sections:  # later ones win, as with ROS
        if name in called or is_for(name, node):
            flat |= flatten('', parameters)
    if not flat:
        raise ConfigError(_for_others(path, sections, f'/{node}'))
    return {name: value for name, value in flat.items() if is_own(name)}


def is_own(name: str) -> bool:
    """Return whether a parameter is this package's, not one that rclpy declares by itself."""
    return name not in _OF_RCLPY and not name.startswith(f'{_OVERRIDES}.')


def vehicle_schema() -> dict[str, Any]:
    """Return the JSON Schema of a vehicle file.

    The parameters of sections that are for every node or for one called ``detector`` are checked;
    other sections may hold anything.
    """
    parameters = parameters_schema(Config)
    parameters['properties'] |= {name: {'type': 'boolean'} for name in _OF_RCLPY}
    parameters['properties'][_OVERRIDES] = {'type': 'object'}

    def section(inside: dict[str, Any]) -> dict[str, Any]:
        return {
            'type': 'object',
            **inside,
            'patternProperties': {
                rf'(^|/)(\*|\*\*|{DETECTOR})/?$': {'$ref': '#/definitions/section'}
            },
            'additionalProperties': {'$ref': '#/definitions/others'},
        }

    return {
        '$schema': DRAFT,
        'title': 'Vehicle file of yolox_trt_ros',
        'description': 'A ROS parameter file; docs/parameters.md is its reference.',
        **section({'minProperties': 1}),
        'definitions': {
            'section': section({'properties': {'ros__parameters': parameters}}),
            'others': section({'properties': {'ros__parameters': {'type': 'object'}}}),
        },
    }


def parameter_sections(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """Return the sections of a ROS parameter file: name or pattern of the nodes, and parameters.

    Raises:
        ConfigError: it is not such a file.
    """
    wanted = 'expected a ROS parameter file with "/**: ros__parameters:"'
    try:
        content = read_yaml(path, what='a ROS parameter file', aliases=False)
    except ConfigError as error:
        raise ConfigError(f'{error}; {wanted}') from error
    where = f'{one_line(path)}: {wanted}'
    sections: list[tuple[str, dict[str, Any]]] = []
    open_ones = [('', content)]
    while open_ones:
        above, group = open_ones.pop(0)
        for key, inner in group.items():
            if key == 'ros__parameters' and above:
                sections.append((above, of_kind(inner, dict, f'{where}: {above}')))
            else:
                name = f'{above}/{one_line(key).strip("/")}'
                open_ones.append((name, of_kind(inner, dict, f'{where}: {name}')))
    if not sections:
        raise ConfigError(f'{where}, got {shown(content)}')
    return sections


def is_for(section: str, node: str) -> bool:
    """Return whether ROS gives a section's parameters to a node of that fully qualified name."""
    parts = {'**': '(/[^/]+)*', '*': '/[^/]+'}
    pattern = ''.join(parts.get(p, '/' + re.escape(p)) for p in section.split('/') if p)
    return re.fullmatch(pattern, '/' + node.strip('/')) is not None


def keyed_for_others(arguments: Sequence[str], node: str) -> str:
    """Return a sentence for a node that none of its parameter files has anything for.

    Args:
        arguments: the command line that the node was started with.
        node: its fully qualified name.

    Returns:
        Whom the files are for; empty: one is for this node, or there is none.
    """
    problems = []
    for option, value in itertools.pairwise(arguments):
        if option == '--params-file':
            try:
                sections = parameter_sections(Path(value))
            except ConfigError as error:
                problems.append(str(error))
                continue
            if any(is_for(name, node) for name, _ in sections):
                return ''
            problems.append(_for_others(Path(value), sections, node))
    return '\n'.join(problems)


def _for_others(path: Path, sections: Sequence[tuple[str, object]], node: str) -> str:
    names = ', '.join(name for name, _ in sections)
    return (
        f'{one_line(path)}: expected a ROS parameter file with something for {node}, got '
        f'parameters for {names}: call the section "/**", which is for all nodes, or "{node}"'
    )


def flatten(prefix: str, value: Any) -> list[tuple[str, Any]]:
    """Return the dotted names and the values of nested dictionaries."""
    if not isinstance(value, dict):
        return [(prefix, value)]
    rows = []
    for key, inner in value.items():
        rows += flatten(f'{prefix}.{key}' if prefix else str(key), inner)
    return rows
