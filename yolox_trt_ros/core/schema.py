"""The table of parameters as JSON Schema, for editors and checks outside this package."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from yolox_trt_ros.core.parameters import NAME, Parameter, table

DRAFT = 'http://json-schema.org/draft-07/schema#'
"""What editors support as a whole; nothing here needs a later one."""
UNITS = {'_ms': 'ms', '_s': 's', '_hz': 'Hz', '_m': 'm', '_deg': 'degrees'}
_KINDS = {bool: 'boolean', int: 'integer', float: 'number', str: 'string'}
_DOTTED = r'\.'
_EACH = '<name>'

Schema = dict[str, Any]


def parameters_schema(cls: type) -> Schema:
    """Return the JSON Schema of the nested mapping that holds a dataclass's parameters.

    It refuses what :func:`core.parameters.read` refuses of single values: unknown names, other
    types, values out of range. Three things it cannot say: NaN is no number, 1.0 no integer, and
    names with dots (``model.path: x``), which ROS reads like nested ones, are not looked into.

    Args:
        cls: see :func:`core.parameters.table`.
    """
    lists = {f.metadata['names'] for f in fields(cls) if 'names' in f.metadata}
    tree: dict[str, Any] = {}
    for row in table(cls):
        *groups, last = row.name.split('.')
        group = tree
        for name in groups:
            group = group.setdefault(name, {})
        group[last] = _names(row) if row.name in lists else _value(row)
    return _mapping(tree, '')


def _mapping(tree: Mapping[str, Any], inside: str) -> Schema:
    properties = {}
    patterns: Schema = {_DOTTED: {}}
    for name, inner in tree.items():
        schema = inner if 'description' in inner else _mapping(inner, name)
        if name == _EACH:
            schema['description'] = f'One of {inside}, by its name.'
            patterns[f'^{NAME.pattern}$'] = schema
        else:
            properties[name] = schema
    schema = {'type': 'object', 'properties': properties} if properties else {'type': 'object'}
    return {**schema, 'patternProperties': patterns, 'additionalProperties': False}


def _value(row: Parameter) -> Schema:
    limits = {'minimum': row.low, 'maximum': row.high}
    return {
        'description': _description(row),
        'default': list(row.default) if row.kind is tuple else row.default,
        **(_list(row) if row.kind is tuple else {'type': _KINDS[row.kind]}),
        **{name: limit for name, limit in limits.items() if limit is not None},
        **({'enum': _choices(row)} if row.choices and row.kind is not tuple else {}),
    }


def _list(row: Parameter) -> Schema:
    item: Schema = {'type': 'string'}
    if row.choices:
        item['enum'] = _choices(row)
    if not row.numbers:
        return {'type': 'array', 'items': item}
    return {'type': 'array', 'anyOf': [{'items': item}, {'items': {'type': 'integer'}}]}


def _names(row: Parameter) -> Schema:
    item = {'type': 'string', 'pattern': f'^{NAME.pattern}$'}
    return {**_value(row), 'items': item, 'uniqueItems': True}


def _choices(row: Parameter) -> list[str]:
    ordered = isinstance(row.choices, (list, tuple, dict))
    return list(row.choices) if ordered else sorted(row.choices)


def _description(row: Parameter) -> str:
    unit = next((unit for end, unit in UNITS.items() if row.name.endswith(end)), '')
    parts = [row.description, f'Unit: {unit}.' * bool(unit)]
    parts += ['May change while the node runs.' * row.runtime]
    return ' '.join(filter(None, parts))
