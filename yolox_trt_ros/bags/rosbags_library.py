"""The rosbags library and its unpackers, or an error that says how to get them."""

from __future__ import annotations

import sys

from yolox_trt_ros.core.errors import MissingDependencyError

try:
    import lz4.frame as lz4_frame  # type: ignore[import-untyped]
    import rosbags.interfaces as interfaces
    import rosbags.rosbag2 as rosbag2
    import rosbags.typesys as typesys

    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
except ImportError as error:
    raise MissingDependencyError(
        f'reading and writing bags needs the rosbags library (0.11 or newer): {error}; '
        'pip install -U rosbags'
    ) from error

__all__ = ['interfaces', 'lz4_frame', 'rosbag2', 'typesys', 'zstd']
