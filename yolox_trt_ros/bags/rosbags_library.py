"""The rosbags library, or an error that says how to get it."""

from __future__ import annotations

from yolox_trt_ros.core.errors import MissingDependencyError

try:
    import rosbags.interfaces as interfaces
    import rosbags.rosbag2 as rosbag2
    import rosbags.rosbag2.storage_mcap as storage_mcap
    import rosbags.typesys as typesys
except ImportError as error:
    raise MissingDependencyError(
        f'reading and writing bags needs the rosbags library (0.10 or newer): {error}; '
        'pip install rosbags'
    ) from error

__all__ = ['interfaces', 'rosbag2', 'storage_mcap', 'typesys']
