"""Import the part of this package that is written in C++."""

from __future__ import annotations

from typing import Any

from yolox_trt_ros.core.errors import MissingDependencyError


def load_native() -> Any:
    """Import the C++ part.

    Raises:
        MissingDependencyError: it was not built, or does not fit this ROS 2.
    """
    try:
        from yolox_trt_ros import _native
    except ImportError as error:
        raise MissingDependencyError(
            f'yolox_trt_ros._native does not import ({error}): build this package again where '
            'pybind11-dev, rcl and rosidl_typesupport_fastrtps_cpp are installed'
        ) from error
    return _native
