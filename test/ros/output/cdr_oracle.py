"""What rosidl and rosbags write for a message, byte for byte, and which bytes are padding."""

from __future__ import annotations

from array import array
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.interfaces import Nodetype
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosidl_bytes import serialize_into

ROOT = Path(__file__).resolve().parents[3]


def message_store(*packages: str) -> Any:
    """Return rosbags' serialiser of the messages of packages whose definitions are here."""
    store = get_typestore(Stores.ROS2_HUMBLE)
    for package in packages:
        folder = ROOT if package == 'yolox_trt_ros' else ROOT / 'setup_env' / package
        for path in sorted((folder / 'msg').glob('*.msg')):
            store.register(get_types_from_msg(path.read_text(), f'{package}/msg/{path.stem}'))
    return store


def as_rosbags(store: Any, message: Any) -> Any:
    """Return the same message in rosbags' classes."""
    if not hasattr(message, 'get_fields_and_field_types'):
        if isinstance(message, list):
            return [as_rosbags(store, item) for item in message]
        return np.asarray(message) if isinstance(message, array) else message
    package, name = type(message).__module__.split('.')[0], type(message).__name__
    fields = message.get_fields_and_field_types()
    values = {field: as_rosbags(store, getattr(message, field)) for field in fields}
    return store.types[f'{package}/msg/{name}'](**values)


def same_bytes(store: Any, written: bytes, message: Any) -> None:
    name = f'{type(message).__module__.split(".")[0]}/msg/{type(message).__name__}'
    assert written == bytes(store.serialize_cdr(as_rosbags(store, message), name))
    # rosidl never writes padding: what was in the memory stays there. In zeroed memory its bytes
    # are ours; in any other, all are that it does write.
    assert written == serialize_into(message, 0)
    untouched = np.frombuffer(serialize_into(message, 0xFF), np.uint8) != np.frombuffer(
        written, np.uint8
    )
    assert not np.frombuffer(written, np.uint8)[untouched].any()
    assert untouched.tolist() == padding(store, name, written)


def padding(store: Any, name: str, cdr: bytes) -> list[bool]:
    """Return for each byte of a serialised message whether it is padding.

    By the message definitions' text as rosbags reads it, so by nothing that the templates know.
    """
    is_padding = np.ones(len(cdr), bool)
    is_padding[:4] = False  # the encapsulation header, behind which alignment begins
    at = 4

    def number(size: int) -> None:
        nonlocal at
        at += -(at - 4) % size
        is_padding[at : at + size] = False
        at += size

    def member(kind: Any) -> None:
        nonlocal at
        what, of = kind
        if what is Nodetype.BASE and of[0] != 'string':
            number(np.dtype('i1' if of[0] in ('byte', 'char') else of[0]).itemsize)
        elif what is Nodetype.BASE:
            number(4)
            (length,) = np.frombuffer(cdr[at - 4 : at], np.uint32)
            is_padding[at : at + length] = False
            at += int(length)
        elif what is Nodetype.NAME:
            for _, inner in store.fielddefs[of][1]:
                member(inner)
        else:
            count = of[1]
            if what is Nodetype.SEQUENCE:
                number(4)
                (count,) = np.frombuffer(cdr[at - 4 : at], np.uint32)
            for _ in range(count):
                member(of[0])

    member((Nodetype.NAME, name))
    assert at == len(cdr)
    return is_padding.tolist()
