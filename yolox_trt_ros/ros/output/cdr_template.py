"""One message, or a part of one, as CDR bytes, and where in them every number is.

Plain CDR (OMG DDS-XTypes 7.4, version 1): numbers are aligned to their size, counted from behind
the encapsulation header.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any

from rosidl_parser import definition

from yolox_trt_ros.core.errors import YoloxTrtRosError

ENCAPSULATION = bytes((0, sys.byteorder == 'little', 0, 0))

_CODES = {
    'boolean': '?',
    'octet': 'c',
    'char': 'B',
    'uint8': 'B',
    'int8': 'b',
    'uint16': 'H',
    'int16': 'h',
    'uint32': 'I',
    'int32': 'i',
    'uint64': 'Q',
    'int64': 'q',
    'float': 'f',
    'double': 'd',
}

_FRAME_ID = 'header.frame_id'


class TemplateError(YoloxTrtRosError):
    """A message definition is not what templates can be made of; typed messages still work."""


class Template:
    """One message, or a part of one, as bytes.

    Args:
        message: what is serialised.
        start: position in the whole message's body at which it begins.
        head: what stands before it, of no influence on alignment.

    Attributes:
        data: the bytes, head and padding in front included.
        at: position in ``data`` and :mod:`struct` letter of each number by its dotted path, such as
            ``results.0.score``; a sequence's own path gives those of its count.

    Raises:
        TemplateError: the message has a member of a type that is not supported.
    """

    def __init__(self, message: Any, start: int = 0, head: bytes = b'') -> None:
        self.data = bytearray(head)
        self.at: dict[str, tuple[int, str]] = {}
        self._start = start - len(head)
        self._message(message, '')

    def with_frame_id(self, raw: bytes) -> Template:
        """Return the template of the same message with another frame_id in its header.

        Args:
            raw: its bytes, the last one zero. It is as long as the one here but for a multiple of
                eight, so that no alignment changes.
        """
        if _FRAME_ID not in self.at:
            return self
        length, code = self.at[_FRAME_ID]
        begin = length + struct.calcsize('=' + code)
        (size,) = struct.unpack_from('=' + code, self.data, length)
        other = copy(self)
        other.data = self.data[:begin] + raw + self.data[begin + size :]
        more = len(raw) - size
        other.at = {
            path: (at + more if at > begin else at, code) for path, (at, code) in self.at.items()
        }
        other.put(_FRAME_ID, len(raw))
        return other

    def only(self, paths: Sequence[str]) -> Template:
        """Return it with the positions of these numbers, and of the frame_id, only.

        Raises:
            TemplateError: it has not all of them.
        """
        if missing := [path for path in paths if path not in self.at]:
            raise TemplateError(f'it has no member {missing[0]!r}')
        other = copy(self)
        kept = {*paths, _FRAME_ID}
        other.at = {path: place for path, place in self.at.items() if path in kept}
        return other

    def numbers(self, names: Mapping[str, str]) -> list[tuple[int, str, str]]:
        """Return position, name and :mod:`struct` letter of numbers, given their names by path."""
        return [(self.at[path][0], name, self.at[path][1]) for path, name in names.items()]

    def put(self, path: str, value: Any) -> None:
        """Replace a number."""
        at, code = self.at[path]
        struct.pack_into('=' + code, self.data, at, value)

    def _message(self, message: Any, path: str) -> None:
        names = message.get_fields_and_field_types()
        for name, kind in zip(names, message.SLOT_TYPES, strict=True):
            self._member(kind, getattr(message, name), path + name)

    def _member(self, kind: Any, value: Any, path: str) -> None:
        if isinstance(kind, definition.BasicType) and kind.typename in _CODES:
            self._number(_CODES[kind.typename], value, path)
        elif isinstance(kind, definition.AbstractString):
            raw = as_bytes(value)
            self._number('I', len(raw), path)
            self.data += raw
        elif isinstance(kind, definition.NamespacedType):
            self._message(value, path + '.')
        elif isinstance(kind, definition.AbstractNestedType):
            if not isinstance(kind, definition.Array):
                self._number('I', len(value), path)
            for index, item in enumerate(value):
                self._member(kind.value_type, item, f'{path}.{index}')
        else:
            raise TemplateError(f'{path}: no template can be made of a member of type {kind}')

    def _number(self, code: str, value: Any, path: str) -> None:
        size = struct.calcsize('=' + code)
        self.data += bytes(-(self._start + len(self.data)) % size)
        self.at[path] = len(self.data), code
        self.data += struct.pack('=' + code, value)


def as_bytes(text: str) -> bytes:
    """Return a string as CDR has it, behind its length."""
    return text.encode().partition(b'\0')[0] + b'\0'  # ROS's strings end there too
