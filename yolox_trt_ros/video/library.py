"""PyAV, the binding of FFmpeg's libraries, and the error where it is missing."""

from __future__ import annotations

from functools import cache
from types import ModuleType

from yolox_trt_ros.core.errors import MissingDependencyError


@cache
def load_av() -> ModuleType:
    """Return PyAV's module, its own log silent: what it says is in the errors that it raises.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise MissingDependencyError(
            f'video needs PyAV: pip install av (the extra [video]); its wheels bring libraries '
            f'under the GPL, docs/video.md says what that means ({error})'
        ) from error
    av.logging.set_level(av.logging.PANIC)
    return av
