"""Parameters of any name, type and value, as a node is given them and asked to change them."""

from __future__ import annotations

import random
from typing import Any

from harness import Target
from mutation import TEXTS, odd_value

from yolox_trt_ros.core.config import Config
from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.parameters import table
from yolox_trt_ros.ros.parameters import check_values, flat_table, resting

SOUND: dict[str, Any] = {
    'camera_names': ['front', 'rear'],
    'lane_names': ['gpu', 'cpu0'],
    'cameras.front.topic': '/front/image_raw',
    'cameras.rear.topic': '/rear/image_raw',
    'cameras.front.rate_hz': 10.0,
    'lanes.gpu.device': 'cuda:0',
    'lanes.cpu0.device': 'cpu',
    'model.path': 'm.onnx',
}
ROWS = list(table(Config))


def any_name(source: random.Random) -> str:
    """Return the name of a parameter, of one that is none, or a text."""
    name = source.choice(ROWS).name
    camera = source.choice(('front', 'rear', 'gpu', 'cpu0', 'other', *TEXTS))
    name = name.replace('<name>', camera)
    kind = source.random()
    if kind < 0.1:
        at = source.randrange(len(name) + 1)
        return name[:at] + source.choice('.x_/é\0') + name[at + 1 :]
    return source.choice(TEXTS) if kind < 0.15 else name


def any_value(source: random.Random) -> Any:
    """Return a value: odd, or one that some other parameter may have."""
    if source.random() < 0.3:
        row = source.choice(ROWS)
        choices = [row.default, row.low, row.high, *row.choices]
        value = source.choice(choices)
        return list(value) if isinstance(value, tuple) else value
    return odd_value(source)


def make_parameters(source: random.Random) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what a node is given, and what it is asked to change."""
    given = {} if source.random() < 0.05 else dict(SOUND)
    for _ in range(source.choice((0, 1, 1, 2, 8))):
        given[any_name(source)] = any_value(source)
    if given and source.random() < 0.1:
        del given[source.choice(list(given))]
    changed = {any_name(source): any_value(source) for _ in range(source.choice((1, 1, 3)))}
    return given, changed


def give(made: tuple[dict[str, Any], dict[str, Any]]) -> None:
    """Make a configuration and check a change to it, as a node does."""
    given, changed = made
    try:
        config = Config.from_parameters(given)
        flat_table(config)
        list(resting(given, config))
        current = given
    except ConfigError as error:
        assert str(error).replace('\n', '').isprintable(), 'an error with control characters'
        current = SOUND
    new = check_values(current, changed)
    Config.from_parameters({**current, **{k: v for k, v in new.items() if v is not None}})


TARGETS = [Target('parameters', make_parameters, give, (ConfigError,), 30.0, 1024, share=0.02)]
