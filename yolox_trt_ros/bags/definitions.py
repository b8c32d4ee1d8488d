"""Message definitions: from the bag, from the installed packages, from the library's own store."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from yolox_trt_ros.bags.names import full_name, is_type, plain
from yolox_trt_ros.bags.rosbags_library import interfaces, typesys
from yolox_trt_ros.bags.type_checks import check_types, largest
from yolox_trt_ros.bags.video_definitions import VIDEO_DEFINITIONS
from yolox_trt_ros.core.errors import BagError

SOURCE_TREE = Path(__file__).resolve().parents[2]
HEADER = 'std_msgs/msg/Header'
"""ROS 1 has a counter in it that ROS 2 has not; conversion leaves it out."""
LONGEST_TEXT = 1 << 20
LONGEST_PARSED = 64 << 20
"""Bytes of a message that is turned into objects; images are not."""
IDL_BREAK = '=' * 80 + '\n'
Types = dict[str, Any]


def parse(definition: interfaces.MessageDefinition, name: str) -> Types:
    """Return the types that a definition describes, by name.

    Raises:
        BagError: it cannot be read, or describes what no message may be.
    """
    text = definition.data
    if len(text) > LONGEST_TEXT:
        raise BagError(f'a definition of {len(text)} characters')
    try:
        if definition.format == interfaces.MessageDefinitionFormat.MSG:
            types = typesys.get_types_from_msg(text, name)
        else:
            types = {}
            for part in text.split(IDL_BREAK):
                if part.strip():
                    begin, _, rest = part.partition('\n')
                    idl = rest if begin.startswith('IDL: ') else part
                    types |= typesys.get_types_from_idl(idl)
    except Exception as error:  # the library's parsers let many through
        raise BagError(plain(' '.join(str(error).split()))) from error
    if name not in types:
        raise BagError('it describes another type')
    check_types(types)
    return types


class Definitions:
    """Knows how to read and write messages of the types it has met.

    What a bag brings along counts most, since it is what its messages were written with; then
    the ``.msg`` files of the installed packages; then what the rosbags library ships.
    """

    def __init__(self) -> None:
        self._store = typesys.get_typestore(typesys.Stores.EMPTY)
        self._given: dict[str, interfaces.MessageDefinition] = {}
        self._of_ros1: set[str] = set()
        self._ready: set[str] = set()

    def give(
        self, msgtype: str, definition: interfaces.MessageDefinition, ros1: bool = False
    ) -> bool:
        """Remember the definition that a bag brings along for a type.

        Args:
            msgtype: the type.
            definition: its text.
            ros1: as ROS 1 wrote it.

        Returns:
            Whether it is the one that is known already, if one is.
        """
        if definition.format == interfaces.MessageDefinitionFormat.NONE or not definition.data:
            return True
        name = full_name(msgtype)
        if ros1:
            self._of_ros1.add(name)
        known = self._given.setdefault(name, definition)
        return known.data.split() == definition.data.split()

    def read(self, msgtype: str, cdr: bytes | memoryview) -> Any:
        """Return a message object with the fields of the definition.

        Raises:
            BagError: the type is known nowhere, or the bytes are none of its messages.
        """
        name = self.prepare(msgtype)
        if len(cdr) > LONGEST_PARSED:
            raise BagError(f'{len(cdr)} bytes are too many for a {name} to be parsed')
        try:
            return self._store.deserialize_cdr(cdr, name)
        except Exception as error:
            raise BagError(f'{len(cdr)} bytes are not a {name}: {error}') from error

    def from_ros1(self, msgtype: str, raw: bytes) -> bytes:
        """Return a message of ROS 1 as CDR.

        Raises:
            BagError: the type is known nowhere, or the bytes are none of its messages.
        """
        name = self.prepare(msgtype)
        try:
            return bytes(self._store.ros1_to_cdr(raw, name))
        except Exception as error:
            raise BagError(f'{len(raw)} bytes are not a {name} of ROS 1: {error}') from error

    def make(self, msgtype: str, **fields: Any) -> Any:
        """Return a new message object; every field must be given.

        Raises:
            BagError: the type is known nowhere.
        """
        return self._store.types[self.prepare(msgtype)](**fields)

    def write(self, message: Any) -> bytes:
        """Return a message object as CDR."""
        return bytes(self._store.serialize_cdr(message, message.__msgtype__))

    def text_and_hash(self, msgtype: str) -> tuple[str, str]:
        """Return a type's definition with all it refers to, and its hash (REP 2016).

        Raises:
            BagError: the type is known nowhere.
        """
        name = self.prepare(msgtype)
        try:
            text, _ = self._store.generate_msgdef(name, ros_version=2)
            return text, self._store.hash_rihs01(name)
        except Exception as error:
            raise BagError(f'{name}: its definition cannot be written: {error}') from error

    def prepare(self, msgtype: str) -> str:
        """Make a type and all it refers to known, and return its full name.

        Raises:
            BagError: it is known nowhere, or none that a message can have.
        """
        todo, name = [full_name(msgtype)], full_name(msgtype)
        if name in self._ready:
            return name
        seen: set[str] = set()
        while todo:
            wanted = todo.pop()
            if wanted not in seen:
                seen.add(wanted)
                if wanted not in self._store.fielddefs:
                    self._register(wanted, self._find(wanted))
                todo += _parts(self._store.fielddefs[wanted][1])
        largest(name, self._store.fielddefs)
        self._ready.add(name)
        return name

    def _find(self, name: str) -> Types:
        """Return a type's parsed definition, perhaps with those of types that it refers to."""
        if not is_type(name):
            raise BagError(f'"{plain(name)}" is not a type name')
        definition, here = self._given.get(name), _here(name)
        unreadable = ''
        if definition:
            try:
                types = parse(definition, name)
            except BagError as error:  # rosbag2 records services' types so
                unreadable = f' (the bag has one that cannot be read: {error})'
            else:
                return self._as_here(types) if name in self._of_ros1 else types
        if here:
            return here
        raise BagError(
            f'the type {name} is not known: neither the bag nor an installed package defines it'
            f'{unreadable}; install {name.partition("/")[0]} and source it'
        )

    def _as_here(self, types: Types) -> Types:
        """Return types of ROS 1 with the names that ROS 2 gives to fields of the same layout."""
        found: Types = {}
        for name, (constants, fields) in types.items():
            if name != HEADER:
                here = _here(name).get(name)
                same = here and [f[1] for f in here[1]] == [f[1] for f in fields]
                found[name] = here if same else (constants, fields)
        return found

    def _register(self, name: str, types: Types) -> None:
        """Make types known; a type that another one brought along before stays as it is."""
        try:
            new = {n: t for n, t in types.items() if n not in self._store.fielddefs}
            self._store.register(new)
        except Exception as error:
            raise BagError(f'{name}: its definition cannot be used: {error}') from error


def _here(name: str) -> Types:
    """Return a type as the installed packages or the library define it; empty if none does."""
    if file := installed_definition(name):
        return _parsed(file, name)
    if text := VIDEO_DEFINITIONS.get(name):
        return dict(typesys.get_types_from_msg(text, name))
    shipped = _shipped()
    return {name: shipped[name]} if name in shipped else {}


@cache
def _parsed(file: Path, name: str) -> Types:
    return dict(typesys.get_types_from_msg(file.read_text('utf-8'), name))


@cache
def _shipped() -> Mapping[str, Any]:
    """Return the definitions that the rosbags library brings."""
    fields: Mapping[str, Any] = typesys.get_typestore(typesys.Stores.LATEST).fielddefs
    return fields


def installed_definition(name: str) -> Path | None:
    """Return the ``.msg`` file of an installed type, or of this source tree; None if there is none.

    Args:
        name: such as ``sensor_msgs/msg/Image``.
    """
    if not is_type(name):
        return None
    package, kind, plain_name = full_name(name).split('/')
    prefixes = os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep)
    folders = [Path(prefix, 'share', package) for prefix in prefixes if prefix]
    if package == 'yolox_trt_ros':
        folders.append(SOURCE_TREE)
    files = (folder / kind / f'{plain_name}.msg' for folder in folders)
    return next((file for file in files if file.is_file()), None)


def _parts(fields: Iterable[tuple[str, Any]]) -> Iterator[str]:
    """Yield the message types that fields refer to."""
    for _, (kind, what) in fields:
        if kind == interfaces.Nodetype.NAME:
            yield what
        elif kind in (interfaces.Nodetype.ARRAY, interfaces.Nodetype.SEQUENCE):
            yield from _parts([('', what[0])])
