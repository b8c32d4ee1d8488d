"""The packages of the extra [fleet], imported where they are used; what to do without them."""

from __future__ import annotations

import importlib
from typing import Any

from yolox_trt_ros.core.errors import MissingDependencyError


def package(name: str) -> Any:
    """Return a module of one of the packages.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingDependencyError(
            f'fleet needs {name.partition(".")[0]} ({error}): pip install ".[fleet]" in a checkout'
        ) from error
