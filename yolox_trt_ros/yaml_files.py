"""Read YAML files of others, with limits and errors of one sentence.

Built from the parser's events without recursion, so that depth and size are known before anything
is made of them; see :mod:`yolox_trt_ros.core.text_files`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.printing import one_line, shown
from yolox_trt_ros.core.text_files import (
    MOST_DIGITS,
    Error,
    NumberError,
    finite_number,
    kind_of,
    read_text,
    whole_number,
)

MOST_BYTES = 8 << 20
DEEPEST = 64
MOST_VALUES = 1_000_000
"""Values of a file, those behind an alias counted each time that it stands for them."""

_LOADER = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)
_TAG = 'tag:yaml.org,2002:'
_BOOLS = yaml.SafeLoader.bool_values


def read_yaml(
    path: Path,
    error: Error = ConfigError,
    *,
    what: str = 'a YAML file',
    aliases: bool = True,
    most_bytes: int = MOST_BYTES,
) -> dict[Any, Any]:
    """Return the keys and values of a YAML file; an empty file has none.

    Args:
        path: where it is.
        error: what is raised.
        what: what is expected there, for errors.
        aliases: whether ``&name``, ``*name`` and ``<<`` are read; ROS 2 itself does not.
        most_bytes: a larger file is refused.

    Raises:
        error: the file is missing, cannot be read, or is refused by :func:`parse_yaml`.
    """
    text = read_text(path, error, most_bytes=most_bytes, what=what)
    return parse_yaml(text, one_line(path), error, aliases=aliases)


def parse_yaml(
    text: str, where: str, error: Error = ConfigError, *, aliases: bool = True
) -> dict[Any, Any]:
    """Return the keys and values that YAML text holds; arguments as :func:`read_yaml`.

    Raises:
        error: it is not YAML, or more than one document, or no mapping; it names a key twice, is
            nested too deeply, refers to itself, or holds a value that is no text, boolean or
            number that is finite and fits into 64 bits.
    """
    builder = _Builder(aliases)
    try:
        loader = _LOADER(text)
        try:
            while loader.check_event():
                builder.take(loader, loader.get_event())
        finally:
            loader.dispose()
    except _YamlRefusedError as cause:
        raise error(f'{where}, line {cause.line}: {cause}') from cause
    except yaml.MarkedYAMLError as cause:
        mark = cause.problem_mark or cause.context_mark
        line = f', line {mark.line + 1}' if mark else ''
        raise error(f'{where}{line}: not YAML: {one_line(cause.problem or cause)}') from cause
    except (yaml.YAMLError, ValueError, UnicodeError, RecursionError) as cause:
        problem = one_line(getattr(cause, 'reason', None) or cause)
        raise error(f'{where}: not YAML: {problem}') from cause
    content = builder.content
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise error(f'{where}: expected keys and values, got {kind_of(content)}')
    return content


class _YamlRefusedError(Exception):
    """YAML that this package does not read."""

    def __init__(self, event: Any, message: str) -> None:
        super().__init__(message)
        self.line = event.start_mark.line + 1


_NONE = object()


@dataclass(slots=True)
class _OpenNode:
    """A mapping or list that is not closed yet.

    Attributes:
        value: what it holds so far.
        anchor: the name that it is given, or None.
        key: the key whose value comes next, or ``_NONE``.
        merged: mappings named by ``<<``.
        size: values in it.
    """

    value: Any
    anchor: str | None
    key: Any = _NONE
    merged: list[dict[Any, Any]] = field(default_factory=list)
    size: int = 1


class _Merge:
    """The key ``<<``."""


_MERGE = _Merge()


class _Builder:
    """Makes Python values of YAML events.

    Attributes:
        content: of the document; None before and for an empty one.
    """

    def __init__(self, aliases: bool) -> None:
        self.content: Any = None
        self._aliases = aliases
        self._open: list[_OpenNode] = []
        self._named: dict[str, tuple[Any, int]] = {}
        self._documents = 0

    def take(self, loader: Any, event: Any) -> None:
        """Take the next event of the parser."""
        if isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                raise _YamlRefusedError(event, 'expected one document, here begins a second one')
        elif isinstance(event, yaml.CollectionStartEvent):
            self._start(event)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._end(event)
        elif isinstance(event, yaml.ScalarEvent):
            self._check_anchor(event)
            value = _scalar(loader, event)
            if event.anchor:
                self._named[event.anchor] = value, 1
            self._put(event, value, 1)
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event)

    def _start(self, event: Any) -> None:
        self._check_anchor(event)
        if len(self._open) >= DEEPEST:
            raise _YamlRefusedError(event, f'nested more than {DEEPEST} levels deep')
        is_mapping = isinstance(event, yaml.MappingStartEvent)
        tag = _TAG + ('map' if is_mapping else 'seq')
        if event.tag not in (None, '!', tag):
            raise _YamlRefusedError(event, f'the tag {shown(event.tag)} is not known here')
        self._open.append(_OpenNode({} if is_mapping else [], event.anchor))

    def _end(self, event: Any) -> None:
        done = self._open.pop()
        for merged in done.merged:
            for key, value in merged.items():
                done.value.setdefault(key, value)
        if done.anchor:
            self._named[done.anchor] = done.value, done.size
        self._put(event, done.value, done.size)

    def _alias(self, event: Any) -> None:
        self._check_anchor(event)
        if event.anchor not in self._named:
            inside = any(one.anchor == event.anchor for one in self._open)
            raise _YamlRefusedError(
                event,
                f'*{one_line(event.anchor)} stands inside what it refers to'
                if inside
                else f'*{one_line(event.anchor)} refers to nothing before it',
            )
        self._put(event, *self._named[event.anchor])

    def _check_anchor(self, event: Any) -> None:
        if event.anchor and not self._aliases:
            raise _YamlRefusedError(
                event, 'ROS 2 reads no anchors and aliases (&, *) in parameter files: write it out'
            )

    def _put(self, event: Any, value: Any, size: int) -> None:
        if not self._open:
            self.content = value
            return
        into = self._open[-1]
        into.size += size
        if into.size > MOST_VALUES:
            raise _YamlRefusedError(event, f'more than {MOST_VALUES:,} values, aliases written out')
        if isinstance(into.value, list):
            into.value.append(value)
        elif into.key is _NONE:
            into.key = _key(event, value, into.value)
        else:
            key, into.key = into.key, _NONE
            if key is _MERGE:
                into.merged += _to_merge(event, value)
            else:
                into.value[key] = value


def _key(event: Any, value: Any, before: dict[Any, Any]) -> Any:
    if isinstance(value, (dict, list)):
        raise _YamlRefusedError(event, f'expected text or a number as a key, got {kind_of(value)}')
    if value is not _MERGE and value in before:
        raise _YamlRefusedError(event, f'the key {shown(value)} is given twice')
    return value


def _to_merge(event: Any, value: Any) -> list[dict[Any, Any]]:
    mappings = value if isinstance(value, list) else [value]
    if not all(isinstance(one, dict) for one in mappings):
        raise _YamlRefusedError(event, f'<<: expected keys and values, got {shown(value)}')
    return mappings


def _scalar(loader: Any, event: Any) -> Any:
    text: str = event.value
    tag = event.tag if event.tag not in (None, '!') else None
    if tag is None:
        tag = loader.resolve(yaml.ScalarNode, text, event.implicit)
    kind = tag.removeprefix(_TAG)
    try:
        if kind == 'str':
            return text
        if kind == 'null':
            return None
        if kind == 'bool':
            return _BOOLS[text.lower()]
        if kind == 'int':
            return _whole(text)
        if kind == 'float':
            return finite_number(_plain_float(text))
    except NumberError as error:
        raise _YamlRefusedError(event, f'{shown(text)}: {error}') from None
    except (ValueError, KeyError):
        raise _YamlRefusedError(
            event, f'{shown(text)} is no value of the tag {shown(tag)}'
        ) from None
    if kind == 'merge':
        return _MERGE
    if kind == 'timestamp':
        raise _YamlRefusedError(
            event, f'{shown(text)} is a date to YAML: put it in quotes if it is a name'
        )
    raise _YamlRefusedError(event, f'{shown(text)}: the tag {shown(tag)} is not known here')


def _whole(text: str) -> int:
    digits = text.replace('_', '')
    bare = digits.lstrip('+-')
    if ':' in digits:
        raise NumberError('a whole number in base 60 to YAML: put it in quotes')
    base = {'0b': 2, '0x': 16}.get(bare[:2].lower(), 8 if bare != '0' and bare[:1] == '0' else 10)
    if base == 10 or len(digits) > MOST_DIGITS:
        return whole_number(digits)
    value = int(digits, base)
    return whole_number(str(value))


def _plain_float(text: str) -> str:
    if ':' in text:
        raise NumberError('expected a number, got one in base 60 to YAML: put it in quotes')
    return text.replace('_', '').lower().replace('.inf', 'inf').replace('.nan', 'nan')
