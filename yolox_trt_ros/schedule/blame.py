"""Whether lanes have failed by themselves, or an image did that to them."""

from __future__ import annotations

from collections.abc import Mapping

from yolox_trt_ros.core.errors import DropReason
from yolox_trt_ros.schedule.camera import Camera
from yolox_trt_ros.schedule.state import Batch, Lane

STRIKES = 2
"""Failures in a row that are needed to hold them against a camera."""


class Blame:
    """Holds failures of lanes against the camera with whose images they fail.

    The first failure is the lane's, and the image is tried again, alone. From the second one in a
    row on, without a result of the camera between, it is the camera's, if another camera had
    results meanwhile; otherwise nothing speaks for the lanes.

    Args:
        cameras, lanes: of the dispatcher.
    """

    def __init__(self, cameras: Mapping[str, Camera], lanes: Mapping[str, Lane]) -> None:
        self._cameras, self._lanes = cameras, lanes
        self._struck: dict[str, list[str]] = {}
        self._others_ns: dict[str, int] = {}

    def judge(self, failed: Batch, now_ns: int) -> Camera | None:
        """Take in that a lane is about to fail with a batch and return whose fault that is.

        The camera is slowed down then, and the lanes' failures are not counted against them.

        Returns:
            The camera; None: the lane.
        """
        for frame in failed.frames:
            camera = self._cameras[frame.camera]
            if not camera.strikes:
                self._struck[frame.camera] = []
                self._others_ns[frame.camera] = self._latest_ns(camera)
            camera.strikes += 1
            self._struck[frame.camera].append(failed.lane)
        if len(failed.frames) > 1 or camera.strikes < STRIKES:
            return None
        if self._latest_ns(camera) <= self._others_ns[frame.camera]:
            return None
        for name in self._struck[frame.camera]:
            lane = self._lanes[name]
            lane.failures_in_row = max(0, lane.failures_in_row - 1)
        self._struck[frame.camera] = []
        failed.blamed = True
        camera.allowance.failed(now_ns)
        camera.drop_waiting(DropReason.SLOWED)
        return camera

    def _latest_ns(self, but: Camera) -> int:
        """Return when another camera had its latest result; 0: none had one."""
        others = (camera for camera in self._cameras.values() if camera is not but)
        return max((camera.last_published_ns or 0 for camera in others), default=0)
