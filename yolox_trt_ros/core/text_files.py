"""Read text and JSON files of others, with limits and errors of one sentence.

Nothing that such a file holds may end a program with a traceback, hang it or fill the memory.
JSON is read here; YAML, for which the standard library has no reader, in
:mod:`yolox_trt_ros.yaml_files`.
"""

from __future__ import annotations

import json
import json.decoder
import json.scanner
import math
import os
import re
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.printing import one_line, shown

MOST_BYTES = 64 << 20
MOST_DIGITS = 40
_PART = 1 << 16
"""Of a number: more than any 64-bit number or any sensible fraction has."""
LARGEST_INT = 1 << 64

Error = Callable[[str], Exception]
"""What is raised, called with its sentence: an exception class."""

_HALF_PAIR = re.compile(r'\\u[dD][89a-fA-F]')
_KINDS = {
    dict: 'keys and values',
    list: 'a list',
    str: 'text',
    int: 'a whole number',
    float: 'a number',
    bool: 'true or false',
}
_NOT_FILES = (
    (stat.S_ISDIR, 'a folder'),
    (stat.S_ISFIFO, 'a pipe'),
    (stat.S_ISSOCK, 'a socket'),
    (stat.S_ISCHR, 'a device'),
    (stat.S_ISBLK, 'a device'),
)


def read_bytes(
    path: Path, error: Error = ConfigError, *, most_bytes: int = MOST_BYTES, what: str = 'a file'
) -> bytes:
    """Return a regular file's content; never waits for a pipe or a device.

    Args:
        path: where it is; its name need not be UTF-8.
        error: what is raised.
        most_bytes: a larger file is refused.
        what: what is expected there, for the error.

    Raises:
        error: the file is missing, may not be read, is no regular file, or is too large.
    """
    where = one_line(path)
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, 'rb') as file:
            state = os.fstat(file.fileno())
            for is_kind, name in _NOT_FILES:
                if is_kind(state.st_mode):
                    raise error(f'{where}: expected {what}, got {name}')
            content = read_most(file, most_bytes + 1) if state.st_size <= most_bytes else None
    except ValueError as cause:
        raise error(f'{where}: not a file name: {cause}') from cause
    except IsADirectoryError as cause:
        raise error(f'{where}: expected {what}, got a folder') from cause
    except OSError as cause:
        raise error(f'{where}: cannot be read: {cause.strerror}') from cause
    if content is None or len(content) > most_bytes:
        raise error(
            f'{where}: expected {what} of at most {most_bytes / (1 << 20):g} MiB, got '
            f'{max(state.st_size, most_bytes + 1) / (1 << 20):.1f} MiB'
        )
    return content


def read_most(file: BinaryIO, most_bytes: int) -> bytes:
    """Return what is left of a file, at most so many bytes.

    ``file.read(most_bytes)`` asks for that much memory first, however small the file is.
    """
    # Files of /proc have no size, and others grow.
    size = os.fstat(file.fileno()).st_size + 1
    parts = [file.read(min(size, most_bytes))]
    left = most_bytes - len(parts[0])
    while left and (part := file.read(min(left, _PART))):
        parts.append(part)
        left -= len(part)
    return b''.join(parts)


def read_text(
    path: Path, error: Error = ConfigError, *, most_bytes: int = MOST_BYTES, what: str = 'a file'
) -> str:
    """Return a UTF-8 file's text without its byte order mark; arguments as :func:`read_bytes`.

    Raises:
        error: see :func:`read_bytes`; or the text is not UTF-8.
    """
    content = read_bytes(path, error, most_bytes=most_bytes, what=what)
    where = one_line(path)
    if content[:2] in (b'\xff\xfe', b'\xfe\xff'):
        raise error(f'{where}: expected UTF-8, got UTF-16: save it as UTF-8')
    try:
        return content.decode().removeprefix('\ufeff')
    except UnicodeDecodeError as cause:
        line = content.count(b'\n', 0, cause.start) + 1
        raise error(
            f'{where}, line {line}: expected UTF-8, got the byte 0x{content[cause.start]:02x}: '
            'save it as UTF-8'
        ) from cause


def read_json(
    path: Path,
    error: Error = ConfigError,
    *,
    most_bytes: int = MOST_BYTES,
    what: str = 'a JSON file',
) -> dict[str, Any]:
    """Return the object that a JSON file holds; arguments as :func:`read_bytes`.

    Raises:
        error: see :func:`read_text` and :func:`parse_json`.
    """
    text = read_text(path, error, most_bytes=most_bytes, what=what)
    return parse_json(text, one_line(path), error)


def parse_json(text: str, where: str, error: Error = ConfigError) -> dict[str, Any]:
    """Return the object that JSON text holds.

    Args:
        text: the JSON.
        where: its origin, for errors.
        error: what is raised.

    Raises:
        error: it is no object, or see :func:`parse_json_value`.
    """
    content = parse_json_value(text, where, error)
    if not isinstance(content, dict):
        raise error(f'{where}: expected an object with keys and values, got {kind_of(content)}')
    return content


def parse_json_value(text: str, where: str, error: Error = ConfigError) -> Any:
    """Return what JSON text holds, of any kind; arguments as :func:`parse_json`.

    Raises:
        error: it is not JSON; it names a key twice, is nested too deeply, or holds numbers that
            are not finite or have no place in 64 bits.
    """
    try:
        content = json.loads(text, **_HOOKS)
    except json.JSONDecodeError as cause:
        raise error(f'{where}, line {cause.lineno}: not JSON: {cause.msg}') from cause
    except _JsonRefusedError as cause:
        line = _line_of_refusal(text)
        raise error(f'{where}, in the object that begins in line {line}: {cause}') from cause
    except RecursionError as cause:
        raise error(f'{where}: nested too deeply') from cause
    if _HALF_PAIR.search(text):
        _check_encodable(content, where, error)
    return content


def member(content: Any, key: Any, kind: type, where: str, error: Error = ConfigError) -> Any:
    """Return ``content[key]`` if it is of a kind; a whole number is a number too.

    Args:
        content: what a file holds at this place.
        key: name in a mapping.
        kind: dict, list, str, int, float or bool.
        where: the place, for errors.
        error: what is raised.

    Raises:
        error: ``content`` is no mapping, has no such key, or the value is of another kind.
    """
    if not isinstance(content, dict):
        raise error(f'{where}: expected keys and values, got {shown(content)}')
    if key not in content:
        raise error(f'{where}: "{key}" is missing')
    return of_kind(content[key], kind, f'{where}: {one_line(key)}', error)


def of_kind(value: Any, kind: type, where: str, error: Error = ConfigError) -> Any:
    """Return a value if it is of a kind, see :func:`member`.

    Raises:
        error: it is of another kind.
    """
    right = type(value) is kind or (kind is float and type(value) is int)
    if not right:
        raise error(f'{where}: expected {_KINDS[kind]}, got {shown(value)}')
    return value


def kind_of(value: Any) -> str:
    """Return a value's kind in words."""
    return 'nothing' if value is None else _KINDS.get(type(value), type(value).__name__)


class _JsonRefusedError(Exception):
    """JSON that Python reads and this package does not."""


def _check_encodable(content: Any, where: str, error: Error) -> None:
    """Refuse halves of pairs (surrogates): no terminal, topic or file takes such text."""
    try:
        json.dumps(content, ensure_ascii=False).encode()
    except UnicodeEncodeError as cause:
        half = cause.object[cause.start]
        raise error(f'{where}: text with {shown(half)}, which is not a character') from cause


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _JsonRefusedError(f'the key {shown(key)} is given twice')
            seen.add(key)
    return content


class NumberError(ValueError):
    """A number that no value of this package can be."""


def whole_number(text: str) -> int:
    """Return a whole number.

    Raises:
        NumberError: it does not fit into 64 bits.
        ValueError: it is none.
    """
    value = int(text) if len(text) <= MOST_DIGITS else LARGEST_INT
    if not -LARGEST_INT < value < LARGEST_INT:
        raise NumberError(f'a whole number of {len(text.lstrip("+-"))} digits is too large')
    return value


def finite_number(text: str) -> float:
    """Return a number.

    Raises:
        NumberError: it is not finite.
        ValueError: it is none.
    """
    value = float(text)
    if not math.isfinite(value):
        raise NumberError(f'expected a finite number, got {shown(text)}')
    return value


def _refusing(read: Callable[[str], Any]) -> Callable[[str], Any]:
    def hook(text: str) -> Any:
        try:
            return read(text)
        except NumberError as error:
            raise _JsonRefusedError(str(error)) from None

    return hook


_HOOKS: dict[str, Any] = {
    'object_pairs_hook': _unique_keys,
    'parse_int': _refusing(whole_number),
    'parse_float': _refusing(finite_number),
    'parse_constant': _refusing(finite_number),
}


def _line_of_refusal(text: str) -> int:
    """Return the line of the innermost object that was refused, by reading it again slowly."""
    decoder = json.JSONDecoder(**_HOOKS)
    starts: list[int] = []

    def parse_object(at: tuple[str, int], *rest: Any) -> Any:
        starts.append(at[1])
        read = json.decoder.JSONObject(at, *rest)  # type: ignore[attr-defined]
        starts.pop()
        return read

    decoder.parse_object = parse_object  # type: ignore[attr-defined]
    scan = json.scanner.py_make_scanner(decoder)  # type: ignore[attr-defined]
    with suppress(_JsonRefusedError, RecursionError):
        scan(text, len(text) - len(text.lstrip()))
    return text.count('\n', 0, starts[-1] if starts else 0) + 1
