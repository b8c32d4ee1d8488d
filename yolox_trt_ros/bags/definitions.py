"""Message definitions: from the bag, from the installed packages, from the library's own store."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from yolox_trt_ros.bags.rosbags_library import interfaces, typesys
from yolox_trt_ros.core.errors import BagError

SOURCE_TREE = Path(__file__).resolve().parents[2]
Parser = {
    interfaces.MessageDefinitionFormat.MSG: typesys.get_types_from_msg,
    interfaces.MessageDefinitionFormat.IDL: lambda text, _: typesys.get_types_from_idl(text),
}


def full_name(msgtype: str) -> str:
    """Return a type's name as ROS 2 writes it today; bags of its first years leave ``msg`` out."""
    package, _, name = msgtype.partition('/')
    return msgtype if '/' in name or not name else f'{package}/msg/{name}'


class Definitions:
    """Knows how to read and write messages of the types it has met.

    What a bag brings along counts most, since it is what its messages were written with; then
    the ``.msg`` files of the installed packages; then what the rosbags library ships.
    """

    def __init__(self) -> None:
        self._store = typesys.get_typestore(typesys.Stores.EMPTY)
        self._given: dict[str, interfaces.MessageDefinition] = {}
        self._ready: set[str] = set()

    def give(self, msgtype: str, definition: interfaces.MessageDefinition) -> None:
        """Remember the definition that a bag brings along for a type."""
        if definition.format in Parser:
            self._given.setdefault(full_name(msgtype), definition)

    def read(self, msgtype: str, cdr: bytes | memoryview) -> Any:
        """Return a message object with the fields of the definition.

        Raises:
            BagError: the type is known nowhere, or the bytes are none of its messages.
        """
        name = self._prepare(msgtype)
        try:
            return self._store.deserialize_cdr(cdr, name)
        except Exception as error:
            raise BagError(f'{len(cdr)} bytes are no {name}: {error}') from error

    def make(self, msgtype: str, **fields: Any) -> Any:
        """Return a new message object; every field must be given.

        Raises:
            BagError: the type is known nowhere.
        """
        return self._store.types[self._prepare(msgtype)](**fields)

    def write(self, message: Any) -> bytes:
        """Return a message object as CDR."""
        return bytes(self._store.serialize_cdr(message, message.__msgtype__))

    def text_and_hash(self, msgtype: str) -> tuple[str, str]:
        """Return a type's definition with all it refers to, and its hash (REP 2016).

        Raises:
            BagError: the type is known nowhere.
        """
        name = self._prepare(msgtype)
        text, _ = self._store.generate_msgdef(name, ros_version=2)
        return text, self._store.hash_rihs01(name)

    def _prepare(self, msgtype: str) -> str:
        """Make a type and all it refers to known, and return its full name."""
        todo, name = [full_name(msgtype)], full_name(msgtype)
        while todo:
            wanted = todo.pop()
            if wanted in self._ready:
                continue
            if wanted not in self._store.fielddefs:
                self._register(wanted, self._find(wanted))
            self._ready.add(wanted)
            todo += _parts(self._store.fielddefs[wanted][1])
        return name

    def _find(self, name: str) -> Any:
        """Return a type's parsed definition, perhaps with those of types that it refers to."""
        definition, file = self._given.get(name), installed_definition(name)
        unreadable = ''
        if definition:
            try:
                return Parser[definition.format](definition.data, name)
            except typesys.TypesysError as error:  # rosbag2 records services' types so
                unreadable = (
                    f' (the bag has one that cannot be read: {" ".join(str(error).split())})'
                )
        if file:
            return typesys.get_types_from_msg(file.read_text(), name)
        if name in (shipped := _shipped()):
            return {name: shipped[name]}
        raise BagError(
            f'the type {name} is not known: neither the bag nor an installed package defines it'
            f'{unreadable}; install {name.partition("/")[0]} and source it'
        )

    def _register(self, name: str, types: Any) -> None:
        try:
            self._store.register(types)
        except typesys.TypesysError as error:
            raise BagError(f'{name}: {error}') from error


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
    package, kind, plain = name.split('/')
    prefixes = os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep)
    folders = [Path(prefix, 'share', package) for prefix in prefixes if prefix]
    if package == 'yolox_trt_ros':
        folders.append(SOURCE_TREE)
    files = (folder / kind / f'{plain}.msg' for folder in folders)
    return next((file for file in files if file.is_file()), None)


def _parts(fields: Iterable[tuple[str, Any]]) -> Iterator[str]:
    """Yield the message types that fields refer to."""
    for _, (kind, what) in fields:
        if kind == interfaces.Nodetype.NAME:
            yield what
        elif kind in (interfaces.Nodetype.ARRAY, interfaces.Nodetype.SEQUENCE):
            yield from _parts([('', what[0])])
