"""The JSON Schema of parameters refuses what the node refuses of single values."""

from __future__ import annotations

from typing import Any

import pytest

from yolox_trt_ros.core.config import Config
from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.parameters import NAME, Parameter, find, table
from yolox_trt_ros.core.schema import parameters_schema

jsonschema = pytest.importorskip('jsonschema')

ROWS = list(table(Config))
SCHEMA = parameters_schema(Config)
UNITS = {'ms': 'ms', 's': 's', 'hz': 'Hz', 'm': 'm', 'deg': 'degrees'}
# No 1.0, which is an integer to JSON Schema and no int to ROS.
OF_EVERY_KIND = (
    None, False, True, 0, 1, -1, 10**30, 0.5, -0.5, '', 'x', '1', [], ['x'], [''], [1], ['x', 1],
    [None], {}, {'x': 1},
)  # fmt: skip


def schema_of(row: Parameter) -> dict[str, Any]:
    schema = SCHEMA
    for part in row.name.split('.'):
        inner = schema['patternProperties'] if part == '<name>' else schema['properties']
        schema = inner[f'^{NAME.pattern}$' if part == '<name>' else part]
    return schema


def values(row: Parameter) -> list[Any]:
    limits = [limit for limit in (row.low, row.high) if limit is not None]
    edges = [e for limit in limits for e in (limit, limit - 0.25, limit + 0.25, int(limit) + 1)]
    if row.kind is int:
        edges = [int(e) if isinstance(e, float) and e.is_integer() else e for e in edges]
    words = [row.default, *row.choices, [*row.choices], [*row.choices, 'other']]
    return [*OF_EVERY_KIND, *edges, *(list(w) if isinstance(w, tuple) else w for w in words)]


def test_the_schema_is_one() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)


@pytest.mark.parametrize('row', [r for r in ROWS if not r.name.endswith('_names')])
def test_a_value_is_refused_by_both_or_by_none(row: Parameter) -> None:
    validator = jsonschema.Draft7Validator(schema_of(row))
    for value in values(row):
        try:
            row.check(value)
            good = True
        except ConfigError:
            good = False
        assert validator.is_valid(value) == good, value


@pytest.mark.parametrize(
    ('names', 'good'),
    [(['front', 'a_1'], True), (['1a'], False), (['a', 'a'], False), (['a-b'], False)],
)
def test_names_of_cameras_are_names_of_topics(names: list[str], good: bool) -> None:
    assert jsonschema.Draft7Validator(SCHEMA).is_valid({'camera_names': names}) == good


@pytest.mark.parametrize(
    'name',
    ['', 'camera_name', 'model.pth', 'cameras.front.tpic', 'cameras.1.topic', 'model.path.x'],
)
def test_a_name_that_nobody_knows_is_refused_by_both(name: str) -> None:
    assert find(Config, name) is None
    content: Any = 'x'
    for part in reversed(name.split('.')):
        content = {part: content}
    assert not jsonschema.Draft7Validator(SCHEMA).is_valid(content)


def test_every_parameter_says_what_it_is() -> None:
    for row in ROWS:
        description = schema_of(row)['description']
        assert description.startswith(row.description)
        unit = UNITS.get(row.name.rpartition('_')[2]) if '_' in row.name else None
        assert description.partition(' Unit: ')[2].partition('.')[0] == (unit or '')
        assert ('while the node runs' in description) == row.runtime
