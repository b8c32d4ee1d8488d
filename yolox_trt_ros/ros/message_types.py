"""Classes of message types by name."""

from __future__ import annotations

import importlib
from typing import Any

from yolox_trt_ros.bags.names import full_name, is_installed, is_type, plain
from yolox_trt_ros.core.errors import BagError, MissingDependencyError


def message_class(msgtype: str) -> Any:
    """Return the installed class of a type such as ``sensor_msgs/msg/Image``.

    Names come from bags: only those of installed interface packages are imported.

    Raises:
        BagError: this is not a message type.
        MissingDependencyError: its package is not installed, or has no such type.
    """
    if not is_type(msgtype):
        raise BagError(f'"{plain(msgtype)}" is not a message type')
    package, kind, name = full_name(msgtype).split('/')
    if not is_installed(full_name(msgtype)):
        raise MissingDependencyError(
            f'{msgtype} is not installed: apt install ros-<distro>-{package.replace("_", "-")}, '
            'or build its package and source it'
        )
    try:
        return getattr(importlib.import_module(f'{package}.{kind}'), name)
    except (ImportError, AttributeError) as error:
        raise MissingDependencyError(
            f'{msgtype} is installed, but not for Python: {error}; build its package again'
        ) from error
