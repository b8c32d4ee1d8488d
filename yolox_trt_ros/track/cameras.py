"""A tracker for each camera, between the detections of an image and whoever publishes them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Protocol

import numpy as np

from yolox_trt_ros.core.camera_config import CameraConfig
from yolox_trt_ros.core.config import Config, TrackingConfig
from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.track.bytetrack import ByteTrack


class Tracker(Protocol):
    """What follows the objects of one camera."""

    def update(self, stamp_ns: int, found: Detections) -> np.ndarray:
        """Return the number of each detection's object, int64 (n,); below 0: it has none."""
        ...


TRACKERS: dict[str, Callable[[TrackingConfig, float], Tracker]] = {'bytetrack': ByteTrack}
"""Trackers by ``tracking.method``, made of the parameters and a camera's rate in Hz."""

Publish = Callable[[Frame, Detections], None]


class CameraTracks:
    """Gives detections the numbers of their objects, and passes them on.

    A camera's numbers are its own. Lanes may finish a camera's images in another order than that
    of their stamps: what comes too late is passed on without numbers.

    Args:
        config: which tracker, and when boxes are the same object.
        cameras: whose images come.
        publish: gets the detections.

    Raises:
        MissingDependencyError: what the tracker needs is not installed.
    """

    def __init__(
        self, config: TrackingConfig, cameras: Iterable[CameraConfig], publish: Publish
    ) -> None:
        new = TRACKERS[config.method]
        self._trackers = {c.name: new(config, c.processed_hz) for c in cameras}
        self._locks = {name: threading.Lock() for name in self._trackers}
        self._publish = publish

    def __call__(self, frame: Frame, found: Detections) -> None:
        """Track one image's detections, and publish them."""
        with self._locks[frame.camera]:
            ids = self._trackers[frame.camera].update(frame.stamp_ns, found)
        self._publish(frame, found.tracked(ids))


def tracked(config: Config, publish: Publish) -> Publish:
    """Return what takes the detections of a vehicle's images: with a tracker before, if it has one.

    Args:
        config: the vehicle.
        publish: gets the detections in the end.

    Raises:
        MissingDependencyError: what the tracker needs is not installed.
    """
    if config.tracking.method == 'none':
        return publish
    return CameraTracks(config.tracking, config.cameras, publish)
