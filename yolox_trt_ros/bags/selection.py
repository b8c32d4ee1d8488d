"""Choose and rename topics of a bag by names and patterns of a command line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

from yolox_trt_ros.bags.reader import Bag
from yolox_trt_ros.core.errors import ConfigError


def selected(bag: Bag, patterns: Sequence[str]) -> list[str]:
    """Return the recorded topics that names or patterns such as ``/CAM_*/image`` mean.

    Raises:
        BagError: one means no topic; the message lists those that are there.
    """
    chosen: dict[str, None] = {}
    for pattern in patterns:
        found = [name for name in bag.topics if matches(name, [pattern])]
        chosen |= dict.fromkeys(found or bag.require([pattern]))
    return list(chosen)


def matches(topic: str, patterns: Iterable[str]) -> bool:
    """Return whether one of the names or patterns means a topic."""
    return any(topic == pattern or fnmatchcase(topic, pattern) for pattern in patterns)


def remappings(rules: Sequence[str]) -> Mapping[str, str]:
    """Return recorded names and what they are called instead, of rules ``RECORDED:=NEW``.

    Raises:
        ConfigError: a rule is none, or two give one name.
    """
    pairs: dict[str, str] = {}
    for rule in rules:
        old, _, new = rule.partition(':=')
        if not old or not new:
            raise ConfigError(f'--remap: expected RECORDED:=NEW, got "{rule}"')
        if new in pairs.values():
            raise ConfigError(f'--remap: two topics cannot both be called {new}')
        pairs[old] = new
    return pairs
