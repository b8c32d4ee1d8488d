"""Names in bags: valid types and topics, and foreign text made safe to print."""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path

from yolox_trt_ros.core.printing import one_line, shown

TYPE = re.compile(r'[a-z][a-z0-9_]*(/(msg|srv|action))?/[A-Za-z][A-Za-z0-9_]*', re.ASCII)
LONGEST_NAME = 255
LONGEST_SHOWN = 200


def full_name(msgtype: str) -> str:
    """Return a type's name as ROS 2 writes it today; bags of its first years leave ``msg`` out."""
    package, _, name = msgtype.partition('/')
    return msgtype if '/' in name or not name else f'{package}/msg/{name}'


def is_type(msgtype: str) -> bool:
    """Return whether a name is one that ROS allows for a type."""
    return len(msgtype) <= LONGEST_NAME and TYPE.fullmatch(msgtype) is not None


def is_topic(name: str) -> bool:
    """Return whether a recorded name can be shown and chosen; publishing is more strict."""
    return 0 < len(name) <= LONGEST_NAME and name.isprintable() and not name.isspace()


def plain(text: object) -> str:
    """Return foreign text on one line, short, and without what a terminal would obey."""
    words = text if isinstance(text, str) else shown(text)
    return one_line(words if len(words) <= LONGEST_SHOWN else words[:LONGEST_SHOWN] + '…')


def decoded(raw: bytes) -> str:
    """Return text of a bag; bytes that are no UTF-8 stay visible as such, and are not printable."""
    return raw.decode('utf-8', 'surrogateescape')


def installed_types(package: str) -> frozenset[str]:
    """Return the message types of an installed interface package, such as ``pkg/msg/Name``.

    Nothing is imported: a package that is not registered as one of interfaces has none, whatever
    Python modules of its name there are.
    """
    return _installed(package, os.environ.get('AMENT_PREFIX_PATH', ''))


@cache
def _installed(package: str, prefixes: str) -> frozenset[str]:
    if not re.fullmatch(r'[a-z][a-z0-9_]*', package, re.ASCII):
        return frozenset()
    found: set[str] = set()
    for prefix in prefixes.split(os.pathsep):
        index = Path(prefix, 'share', 'ament_index', 'resource_index', 'rosidl_interfaces', package)
        if prefix and index.is_file():
            files = (line.strip() for line in index.read_text('utf-8', 'replace').splitlines())
            found |= {
                f'{package}/{name.rpartition(".")[0]}'
                for name in files
                if name.endswith(('.msg', '.idl')) and name.startswith('msg/')
            }
    return frozenset(found)


def is_installed(msgtype: str) -> bool:
    """Return whether a type belongs to an installed interface package."""
    return is_type(msgtype) and msgtype in installed_types(msgtype.partition('/')[0])
