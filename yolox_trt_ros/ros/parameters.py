"""ROS parameters to the configuration and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node
from rclpy.parameter import Parameter as RosParameter

from yolox_trt_ros.core.config import Config
from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.parameters import Parameter, table


def is_own(name: str) -> bool:
    """Return whether a parameter is this package's, not one that rclpy declares by itself."""
    return not name.startswith(('use_sim_time', 'start_type_description_service', 'qos_overrides.'))


def read_parameters(node: Node) -> dict[str, Any]:
    """Return the node's own parameters by dotted name, those of rclpy left out."""
    return {
        name: list(p.value) if p.type_.name.endswith('_ARRAY') else p.value
        for name, p in node.get_parameters_by_prefix('').items()
        if is_own(name)
    }


def read_config(node: Node) -> Config:
    """Return the checked configuration of a node.

    The node must have been created with ``allow_undeclared_parameters`` and
    ``automatically_declare_parameters_from_overrides``, so that names nobody knows can be refused
    instead of being silently ignored.

    Raises:
        ConfigError: see :meth:`Config.from_parameters`.
    """
    return Config.from_parameters(read_parameters(node))


def forget_removed(node: Node, before: Config) -> None:
    """Undeclare the parameters of cameras and lanes that the lists name no more.

    Only those that the node knew: a name that was never listed is a mistake, and is told.

    Args:
        node: not configured now.
        before: its former configuration.
    """
    given = read_parameters(node)
    for group, listed, known in (
        ('cameras', 'camera_names', before.camera_names),
        ('lanes', 'lane_names', before.lane_names),
    ):
        removed = {f'{group}.{name}.' for name in set(known) - set(given.get(listed, ()))}
        for name in given:
            if any(name.startswith(prefix) for prefix in removed):
                node.undeclare_parameter(name)


def flat_table(config: Config) -> dict[str, Parameter]:
    """Return the description of every parameter of a vehicle by its full name."""
    rows: dict[str, Parameter] = {}
    for p in table(Config):
        group, star, _ = p.name.partition('<name>')
        if not star:
            rows[p.name] = p
            continue
        names = config.camera_names if group == 'cameras.' else config.lane_names
        for name in names:
            rows[p.name.replace('<name>', name)] = p
    return rows


def declare_all(node: Node, config: Config) -> None:
    """Declare every parameter with type, range and description, keeping the values given."""
    given = read_parameters(node)
    for name, p in flat_table(config).items():
        value = given.get(name, p.default)
        if p.kind is float:
            value = float(value)
        if name in given:
            node.undeclare_parameter(name)
        # rclpy cannot tell an empty list's type from its value.
        typed = RosParameter.Type.STRING_ARRAY if p.kind is tuple else None
        node.declare_parameter(name, list(value) if typed else value, descriptor(name, p))


def descriptor(name: str, p: Parameter) -> ParameterDescriptor:
    """Return a parameter's description as ``ros2 param describe`` shows it."""
    text = p.description
    if not p.runtime:
        text += ' Read when the node is configured.'
    message = ParameterDescriptor(name=name, description=text)
    message.additional_constraints = f'one of: {", ".join(p.choices)}' if p.choices else ''
    if p.low is not None and p.high is not None:
        if p.kind is float:
            message.floating_point_range = [FloatingPointRange(from_value=p.low, to_value=p.high)]
        elif p.kind is int:
            message.integer_range = [IntegerRange(from_value=int(p.low), to_value=int(p.high))]
    return message


def check_change(current: Mapping[str, Any], changed: Mapping[str, Any]) -> Config:
    """Return the configuration of a configured node after a change.

    Args:
        current: the node's parameters.
        changed: what somebody wants to set.

    Raises:
        ConfigError: a value is wrong, or may not change while the node is configured.
    """
    known = flat_table(Config.from_parameters(current))
    for name in changed:
        if name in known and not known[name].runtime:
            raise ConfigError(
                f'{name}: is read when the node is configured; clean it up, set it, configure'
            )
    return Config.from_parameters({**current, **changed})
