"""Parameters as dataclass fields: how they are declared, read and checked.

The same table gives ROS its descriptors, the tools their YAML check and the users their reference,
so a parameter is described in one place: the dataclass field that holds its value.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from functools import cache
from typing import Any, get_type_hints

from yolox_trt_ros.core.errors import ConfigError, did_you_mean
from yolox_trt_ros.core.nearest import nearest
from yolox_trt_ros.core.printing import one_line, shown

NAME = re.compile(r'[A-Za-z][A-Za-z0-9_]*')
"""What a camera or lane may be called: its name becomes part of ROS topic names."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter as its user sees it.

    Attributes:
        name: dotted, units as a suffix; ``<name>`` stands for a camera's or lane's name.
        kind: ``bool``, ``int``, ``float``, ``str`` or ``tuple`` (of strings).
        default: used when the parameter is not given.
        description: one sentence.
        low, high: inclusive range of a number, or ``None``.
        choices: valid strings, of a list too, or empty when any is.
        runtime: whether it may change while the node is active.
        numbers: whether whole numbers are taken for strings in a list.
        other_names: names in lower case that stand for one of the choices, for suggestions.
    """

    name: str
    kind: type
    default: Any
    description: str
    low: float | None = None
    high: float | None = None
    choices: Collection[str] = ()
    runtime: bool = False
    other_names: Mapping[str, str] = field(default_factory=dict)
    numbers: bool = False

    def check(self, value: Any) -> Any:
        """Return ``value`` as this parameter's type.

        Raises:
            ConfigError: wrong type, out of range, or not one of the choices.
        """
        value = self._typed(value)
        for item in value if self.kind is tuple else (value,):
            if self.choices and item not in self.choices:
                meant = self.other_names.get(item.lower())
                near = did_you_mean(meant or item, self.choices)
                raise ConfigError(f'{self.name}: {shown(item)} is not one of its values{near}')
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if number and not (
            (self.low is None or value >= self.low) and (self.high is None or value <= self.high)
        ):
            raise ConfigError(f'{self.name}: expected {self.range_text()}, got {shown(value)}')
        return value

    def range_text(self) -> str:
        """Return the range in words, or an empty string."""
        if self.low is None:
            return '' if self.high is None else f'at most {self.high:g}'
        return f'{self.low:g} or more' if self.high is None else f'{self.low:g} to {self.high:g}'

    def _typed(self, value: Any) -> Any:
        if self.kind is float and isinstance(value, int) and not isinstance(value, bool):
            try:
                return float(value)
            except OverflowError:
                return float('inf') if value > 0 else float('-inf')  # which no range holds
        if self.kind is tuple and isinstance(value, (list, tuple)):
            if self.numbers and all(type(item) is int for item in value):
                return tuple(map(str, value))
            if all(isinstance(item, str) for item in value):
                return tuple(value)
        elif type(value) is self.kind and value == value:  # NaN is no value of any parameter
            return value
        wanted = 'list of strings' if self.kind is tuple else self.kind.__name__
        raise ConfigError(f'{self.name}: expected {wanted}, got {_quoted(value)}')


def _quoted(value: Any) -> str:
    return one_line(repr(value)) if isinstance(value, str) and len(value) < 80 else shown(value)


def parameter(
    default: Any,
    description: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: Collection[str] = (),
    runtime: bool = False,
    other_names: Mapping[str, str] | None = None,
    numbers: bool = False,
) -> Any:
    """Declare a dataclass field that is a parameter; see :class:`Parameter`."""
    kind, names = type(default), other_names or {}
    spec = Parameter('', kind, default, description, low, high, choices, runtime, names, numbers)
    return field(default=default, metadata={'parameter': spec})


def named_groups(names_parameter: str, group: type) -> Any:
    """Declare a field that holds one ``group`` per name listed in ``names_parameter``."""
    return field(default=(), metadata={'names': names_parameter, 'group': group})


def table(cls: type, prefix: str = '', name: str = '<name>') -> Iterator[Parameter]:
    """Yield every parameter of a dataclass and of the groups in it.

    Args:
        cls: a dataclass whose fields were made by :func:`parameter`, :func:`named_groups`, or are
            dataclasses of that kind.
        prefix: put before each name, with its dot.
        name: stands for the camera or lane in the names of per-name groups.
    """
    hints = _hints(cls)
    for f in fields(cls):
        if 'parameter' in f.metadata:
            spec = f.metadata['parameter']
            values = {k: getattr(spec, k) for k in spec.__slots__}
            yield Parameter(**{**values, 'name': prefix + f.name})
        elif 'group' in f.metadata:
            yield from table(f.metadata['group'], f'{prefix}{f.name}.{name}.')
        elif f.default is MISSING and hasattr(hints[f.name], '__dataclass_fields__'):
            yield from table(hints[f.name], f'{prefix}{f.name}.')


def build(cls: type, flat: Mapping[str, Any]) -> Any:
    """Return an instance of the table's dataclass from dotted names and values.

    Raises:
        ConfigError: every problem found, one a line; see :func:`read`.
    """
    value, problems = read(cls, flat)
    if problems:
        raise ConfigError('\n'.join(problems))
    return value


def read(cls: type, flat: Mapping[str, Any]) -> tuple[Any, list[str]]:
    """Return an instance of the table's dataclass from dotted names and values, and what is wrong.

    Returns:
        The instance, with defaults in place of wrong values, and one sentence per problem, each
        beginning with the parameter's name and a colon: unknown names (with the nearest valid
        one), wrong types, values out of range.
    """
    problems: list[str] = []
    known: set[str] = set()
    value = _build(cls, flat, '', '', problems, known)
    for name in sorted(set(flat) - known):
        row, block = find(cls, name), _block(cls, name)
        if row is None:
            problems.append(f'{one_line(name)}: no such parameter{did_you_mean(name, known)}')
            continue
        try:
            row.check(flat[name])
        except ConfigError as error:
            problems.append(str(error))
        if block and (problem := _slip(block, flat)):
            problems.append(problem)
    return value, list(dict.fromkeys(problems))


def find(cls: type, name: str) -> Parameter | None:
    """Return a parameter's description by its full name, whether or not its group is listed."""
    block = _block(cls, name)
    if block is None:
        return _rows(cls).get(name)
    row = _rows(cls).get(f'{block.kind}.<name>.{block.rest}')
    return replace(row, name=name) if row and NAME.fullmatch(block.which) else None


def not_listed(cls: type, flat: Mapping[str, Any]) -> list[str]:
    """Return the groups, such as ``cameras.rear``, that are described and not in their list."""
    blocks = (_block(cls, name) for name in flat)
    return sorted({b.name for b in blocks if b and b.which not in _listed(b, flat)})


@cache
def _hints(cls: type) -> Mapping[str, Any]:
    return get_type_hints(cls)


@cache
def _rows(cls: type) -> dict[str, Parameter]:
    return {row.name: row for row in table(cls)}


@dataclass(frozen=True, slots=True)
class _Block:
    """Where a parameter of a named group stands.

    Attributes:
        kind: the group's field, such as ``cameras``.
        which: the camera's or lane's name.
        rest: the parameter's name within.
        names: the parameter that lists the names.
    """

    kind: str
    which: str
    rest: str
    names: str

    @property
    def name(self) -> str:
        return f'{self.kind}.{self.which}'


def _block(cls: type, name: str) -> _Block | None:
    """Return where a parameter of a named group stands; None: it belongs to none."""
    kind, _, rest = name.partition('.')
    which, _, rest = rest.partition('.')
    for f in fields(cls):
        if f.name == kind and 'group' in f.metadata and rest:
            return _Block(kind, which, rest, f.metadata['names'])
    return None


def _listed(block: _Block, flat: Mapping[str, Any]) -> list[str]:
    listed = flat.get(block.names)
    return [n for n in listed if isinstance(n, str)] if isinstance(listed, (list, tuple)) else []


def _slip(block: _Block, flat: Mapping[str, Any]) -> str:
    """Return what is wrong with a group that is not listed; an empty string: it only rests.

    A file may describe more cameras than are used. But where a listed one is not described at all,
    and this one's name is nearly its name, somebody's hand slipped.
    """
    described = {name.split('.')[1] for name in flat if name.startswith(f'{block.kind}.')}
    bare = [n for n in _listed(block, flat) if n not in described]
    near = nearest(block.which, bare)
    if not near:
        return ''
    problem = f'{block.name}: {block.names} has no "{block.which}" — did you mean "{near}"?'
    return one_line(problem)


def _build(
    cls: type,
    flat: Mapping[str, Any],
    prefix: str,
    name: str,
    problems: list[str],
    known: set[str],
) -> Any:
    values: dict[str, Any] = {}
    hints = _hints(cls)
    for f in fields(cls):
        if 'parameter' in f.metadata:
            values[f.name] = _value(f, prefix, flat, problems, known)
        elif 'group' in f.metadata:
            values[f.name] = tuple(
                _build(f.metadata['group'], flat, f'{prefix}{f.name}.{n}.', n, problems, known)
                for n in _names(f, flat, problems)
            )
        elif f.name == 'name':
            values['name'] = name
        elif f.default is MISSING:
            values[f.name] = _build(
                hints[f.name], flat, f'{prefix}{f.name}.', name, problems, known
            )
    return cls(**values)


def _value(
    f: Field[Any], prefix: str, flat: Mapping[str, Any], problems: list[str], known: set[str]
) -> Any:
    spec: Parameter = f.metadata['parameter']
    full = prefix + f.name
    known.add(full)
    if full not in flat:
        return spec.default
    try:
        return replace(spec, name=full).check(flat[full])
    except ConfigError as error:
        problems.append(str(error))
        return spec.default


def _names(f: Field[Any], flat: Mapping[str, Any], problems: list[str]) -> Iterable[str]:
    parameter_name = f.metadata['names']
    names = flat.get(parameter_name, ())
    if not isinstance(names, (list, tuple)) or not all(isinstance(n, str) for n in names):
        return ()  # reported where the list itself is checked
    for n in names:
        if not NAME.fullmatch(n):
            problems.append(
                f'{parameter_name}: {shown(n)} must be letters, digits and _, starting with a '
                'letter'
            )
        if list(names).count(n) > 1:
            problems.append(f'{parameter_name}: {shown(n)} is listed twice')
    return dict.fromkeys(n for n in names if NAME.fullmatch(n))
