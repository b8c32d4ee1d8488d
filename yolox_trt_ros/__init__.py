"""YOLOX perception for vehicles: many cameras, several engines, one ROS 2 node.

From Python, without ROS:

    from yolox_trt_ros import Detector

    with Detector('edge_s', score_threshold=0.4) as detect:
        for found in detect(image):  # uint8 (height, width, 3) BGR
            print(found.label, found.score, found.box)

What ``__all__`` names is loaded when it is first asked for: importing the package stays cheap.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import extend_path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from yolox_trt_ros.core.detections import Detection, Detections
    from yolox_trt_ros.core.errors import (
        BagError,
        ConfigError,
        EngineError,
        FrameError,
        LaneError,
        MissingDependencyError,
        ModelError,
        StoppedError,
        YoloxTrtRosError,
    )
    from yolox_trt_ros.core.frame import Frame
    from yolox_trt_ros.detector import Detector

    __version__: str

__all__ = [
    'Detector',
    'Detection',
    'Detections',
    'Frame',
    'YoloxTrtRosError',
    'BagError',
    'ConfigError',
    'EngineError',
    'FrameError',
    'LaneError',
    'MissingDependencyError',
    'ModelError',
    'StoppedError',
]
_MODULES = {
    'Detector': 'detector',
    'Detection': 'core.detections',
    'Detections': 'core.detections',
    'Frame': 'core.frame',
}
"""Where they are; errors are in ``core.errors``."""

# Run from a checkout, the sources come before the installed package, which has the messages.
__path__ = extend_path(__path__, __name__)


def __getattr__(name: str) -> Any:
    if name == '__version__':
        from yolox_trt_ros.core.resources import package_version

        return globals().setdefault(name, package_version())
    if name not in __all__:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    module = import_module(f'{__name__}.{_MODULES.get(name, "core.errors")}')
    value = globals()[name] = getattr(module, name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
