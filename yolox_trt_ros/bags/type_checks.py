"""Refuse message definitions with impossible names, sizes or depths."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from yolox_trt_ros.bags.names import is_type, plain
from yolox_trt_ros.bags.rosbags_library import interfaces
from yolox_trt_ros.core.errors import BagError

FIELD = re.compile(r'[A-Za-z][A-Za-z0-9_]*', re.ASCII)
MOST_FIELDS = 2_000
MOST_ELEMENTS = 1 << 20
"""Numbers of fixed arrays in one message, arrays of messages multiplied out."""
MOST_OBJECTS = 20_000
"""Strings or messages in fixed arrays of one message; each becomes code of its own."""
DEEPEST = 40
NODE = interfaces.Nodetype


def check_types(types: Mapping[str, Any]) -> None:
    """Refuse names that ROS does not allow, and types of too many fields.

    Raises:
        BagError: says what is wrong.
    """
    for name, (constants, fields) in types.items():
        if not is_type(name):
            raise BagError(f'"{plain(name)}" is not a type name')
        if len(fields) + len(constants) > MOST_FIELDS:
            raise BagError(f'{name} has {len(fields) + len(constants)} fields')
        for field in (*fields, *constants):
            if not FIELD.fullmatch(field[0]):
                raise BagError(f'{name}: "{plain(field[0])}" is not a field name')


def largest(name: str, types: Mapping[str, Any]) -> tuple[int, int]:
    """Return how many values, and how many objects, a type has at least.

    Args:
        name: the type.
        types: all that it refers to.

    Raises:
        BagError: it holds itself, is nested too deeply, or has too many.
    """
    return _count(name, types, (), {})


def _count(
    name: str,
    types: Mapping[str, Any],
    within: tuple[str, ...],
    known: dict[str, tuple[int, int]],
) -> tuple[int, int]:
    if name in within:
        raise BagError(f'{name} contains itself')
    if len(within) > DEEPEST:
        raise BagError(f'{within[0]} is nested deeper than {DEEPEST} types')
    if name not in known:
        values = objects = 0
        for field, (kind, what) in types[name][1]:
            inner, times = ((kind, what), 1) if kind in (NODE.BASE, NODE.NAME) else what
            if kind == NODE.SEQUENCE:
                times = 0 if inner[0] == NODE.BASE else 1
            if not 0 <= times <= MOST_ELEMENTS:
                raise BagError(f'{name}: {plain(field)} has {times} elements')
            v, o = _inner(inner, types, (*within, name), known)
            if kind == NODE.SEQUENCE:
                if inner[0] == NODE.NAME and not v:
                    raise BagError(f'{name}: {plain(field)} is a sequence of empty messages')
                v, o = 1, 0
            values, objects = values + times * v, objects + times * o
        if values > MOST_ELEMENTS or objects > MOST_OBJECTS:
            raise BagError(f'{name} has {max(values, objects)} elements')
        known[name] = values, objects + 1
    return known[name]


def _inner(
    inner: tuple[Any, Any],
    types: Mapping[str, Any],
    within: tuple[str, ...],
    known: dict[str, tuple[int, int]],
) -> tuple[int, int]:
    if inner[0] == NODE.NAME:
        return _count(inner[1], types, within, known)
    base = inner[1][0]
    if base not in ('wchar', 'wstring', 'float128', 'fixed'):
        return 1, int(base == 'string')
    raise BagError(f'a {base} cannot be read')
