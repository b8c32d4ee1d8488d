"""Convert ROS parameters to the configuration and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node
from rclpy.parameter import Parameter as RosParameter

from yolox_trt_ros.core.config import Config
from yolox_trt_ros.core.errors import ConfigError, did_you_mean
from yolox_trt_ros.core.parameters import Parameter, find, not_listed, table
from yolox_trt_ros.core.printing import one_line
from yolox_trt_ros.vehicle_files import is_own

LISTS = {'cameras': 'camera_names', 'lanes': 'lane_names', 'models': 'model_names'}
Type = RosParameter.Type


def read_parameters(node: Node) -> dict[str, Any]:
    """Return the node's own parameters by dotted name, those of rclpy left out."""
    return {
        name: value_of(p) for name, p in node.get_parameters_by_prefix('').items() if is_own(name)
    }


def value_of(parameter: RosParameter[Any]) -> Any:
    """Return a parameter's value; arrays as lists."""
    return list(parameter.value) if parameter.type_.name.endswith('_ARRAY') else parameter.value


def typed(parameter: RosParameter[Any]) -> RosParameter[Any]:
    """Return a parameter with the type that this package gives it, where its value has that too.

    A whole number where a fraction may be, numbers where they are taken for strings, and an empty
    list, which has no type of its own.
    """
    row = find(Config, parameter.name)
    kind = row.kind if row else None
    if kind is float and parameter.type_ is Type.INTEGER:
        return RosParameter(parameter.name, Type.DOUBLE, float(parameter.value))
    if kind is tuple and parameter.type_.name.endswith('_ARRAY') and not len(parameter.value):
        return RosParameter(parameter.name, Type.STRING_ARRAY, [])
    if row and row.numbers and parameter.type_ is Type.INTEGER_ARRAY:
        return RosParameter(parameter.name, Type.STRING_ARRAY, list(map(str, parameter.value)))
    return parameter


def forget_removed(node: Node, before: Config) -> None:
    """Undeclare the parameters of cameras and lanes that the lists name no more.

    Only of those that the node ran: what was never listed is there to be listed later.

    Args:
        node: not configured now.
        before: its former configuration.
    """
    given = read_parameters(node)
    for group, listed in LISTS.items():
        gone = set(getattr(before, listed)) - set(given.get(listed) or ())
        for name in given:
            if name.startswith(tuple(f'{group}.{one}.' for one in gone)):
                node.undeclare_parameter(name)


def flat_table(given: Mapping[str, Any] | Config) -> dict[str, Parameter]:
    """Return the description of every parameter of a vehicle by its full name.

    Args:
        given: a configuration, or checked parameters: these may describe cameras and lanes that
            are not listed, too.
    """
    flat: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
    names = {
        f'{group}.': list(flat.get(listed) or () if flat else getattr(given, listed))
        for group, listed in LISTS.items()
    }
    rows: dict[str, Parameter] = {}
    for p in table(Config):
        group, star, _ = p.name.partition('<name>')
        for name in names[group] if star else ('',):
            full = p.name.replace('<name>', name)
            rows[full] = p
    return rows


def declare_given(node: Node) -> None:
    """Declare what a node was given with the types it should have, before anything is checked.

    rclpy would declare it with the types of the values, and 10 could never become 12.5. What is
    wrong or unknown gets no type, so that it can be set right, or deleted.
    """
    for name, given in node._parameter_overrides.items():
        if not is_own(name) or node.has_parameter(name):
            continue
        row, value = find(Config, name), value_of(given)
        if value is None:  # an empty list is all that a parameter file can say so
            if row and row.kind is tuple:
                _declare(node, name, row, ())
            continue
        try:
            if row:
                _declare(node, name, row, row.check(value))
                continue
        except ConfigError:
            pass
        free = ParameterDescriptor(dynamic_typing=True)
        node.declare_parameter(name, value, free, ignore_override=True)


def declare_all(node: Node) -> Config:
    """Declare every parameter of a node, with type, range and description, and read them.

    Values that were given or set stay; they, and not the parameter file, are what counts.

    Returns:
        The checked configuration.

    Raises:
        ConfigError: see :meth:`Config.from_parameters`.
    """
    given = read_parameters(node)
    config = Config.from_parameters(given)
    rows = flat_table(given)
    for name in given.keys() - rows.keys():
        row = find(Config, name)
        assert row, 'the configuration refuses unknown names'
        rows[name] = row
    for name, row in rows.items():
        _declare(node, name, row, row.check(given[name]) if name in given else row.default)
    return config


def _declare(node: Node, name: str, p: Parameter, value: Any) -> None:
    """Declare a parameter, unless it is declared so already."""
    if node.has_parameter(name):
        if node.describe_parameter(name).description:
            return
        node.undeclare_parameter(name)
    given = list(value) or [''] if p.kind is tuple else value
    # An override is what the file says: it would undo whatever was set since.
    node.declare_parameter(name, given, descriptor(name, p), ignore_override=True)
    if p.kind is tuple and not value:  # rclpy takes an empty list for one of bytes
        empty = RosParameter(name, Type.STRING_ARRAY, [])
        Node.set_parameters_atomically(node, [empty])


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


def check_values(current: Mapping[str, Any], changed: Mapping[str, Any]) -> dict[str, Any]:
    """Return what really changes when somebody sets parameters.

    Args:
        current: the node's parameters.
        changed: what somebody wants to set; None: to delete.

    Returns:
        Checked values by name, those left out that the node has already.

    Raises:
        ConfigError: a name is unknown, or a value wrong in itself.
    """
    new: dict[str, Any] = {}
    for name, value in changed.items():
        row = find(Config, name)
        if row is None:
            if value is None and name in current:
                new[name] = None
                continue
            known = [*flat_table({n: current.get(n) or () for n in LISTS.values()}), *current]
            near = did_you_mean(name, set(known))
            raise ConfigError(f'{one_line(name[:80])}: no such parameter{near}')
        checked = row.check(value)
        if name not in current or not _same(row, current[name], checked):
            new[name] = list(checked) if row.kind is tuple else checked
    return new


def _same(row: Parameter, value: Any, checked: Any) -> bool:
    try:
        return bool(row.check(value) == checked)
    except ConfigError:
        return False


def resting(given: Mapping[str, Any], config: Config) -> Iterable[str]:
    """Return the cameras and lanes that are described and take no part, such as ``cameras.rear``.

    Args:
        given: a node's parameters.
        config: what was made of them.
    """
    used = {camera.name for camera in config.cameras}
    off = [f'cameras.{name}' for name in config.camera_names if name not in used]
    return [*not_listed(Config, given), *off]
