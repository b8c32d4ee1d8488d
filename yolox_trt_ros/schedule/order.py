"""In which order the cameras' frames are considered."""

from __future__ import annotations

from collections.abc import Iterable
from operator import itemgetter

from yolox_trt_ros.schedule.rhythm import GRACE_NS
from yolox_trt_ros.schedule.state import Camera

Entry = tuple[Camera, float, int]
"""A camera, the weight of its frame, and when that arrived: later than now if it is expected."""

OVERLOAD = 0.05
"""Lanes are overloaded when more than this part of the frames is replaced …"""
OVERLOAD_MEMORY = 128
"""… of about this many that came last."""
AHEAD = 1.5
"""Frames that a camera may be ahead of its turn under overload, for a fresher image."""
CREDIT = 3.0
"""Frames that a camera may claim later because it had none to offer at its turn."""
_WEIGHT = itemgetter(1)


def by_stamp(cameras: Iterable[Camera]) -> list[Entry]:
    """Return the waiting frames in the order of their header stamps, all of one weight."""
    frames = [(camera, camera.mailbox.head) for camera in cameras]
    waiting = [(frame.stamp_ns, camera, frame) for camera, frame in frames if frame is not None]
    waiting.sort(key=itemgetter(0))
    return [(camera, 1.0, frame.received_ns) for _, camera, frame in waiting]


def by_age(cameras: Iterable[Camera], now_ns: int, horizon_ns: int) -> list[Entry]:
    """Return the waiting frames and those expected before the horizon, the weightiest first.

    A frame weighs what its camera's priority times the age of the camera's information is, now or
    when the frame arrives. The last one is one that waits: what is expected behind it is left out.
    """
    line: list[Entry] = []
    for camera in cameras:
        frame = camera.mailbox.head
        if frame is not None:
            at_ns = now_ns
            arrival_ns = frame.received_ns if frame.received_ns < now_ns else now_ns
        else:
            at_ns = camera.rhythm.next_ns
            if at_ns >= horizon_ns or at_ns <= now_ns - GRACE_NS:
                continue
            at_ns = arrival_ns = at_ns if at_ns > now_ns else now_ns + 1
        age_ns = at_ns - camera.reference_ns
        line.append((camera, camera.priority * (age_ns if age_ns > 1 else 1), arrival_ns))
    line.sort(key=_WEIGHT, reverse=True)
    while line and line[-1][2] > now_ns:
        line.pop()
    return line


class Turns:
    """Order under overload: shares in proportion to priorities, and fresh frames within them.

    This is fair queueing. A camera's turn moves on by ``1 / priority`` with each frame that a lane
    takes. Every camera that is less than :data:`AHEAD` frames in front of the least served one may
    be next, and of those the one with the newest frame is: so few frames grow old in their
    mailboxes, and over any longer time the shares are exact. A camera that has no frame when its
    turn comes keeps its claim to :data:`CREDIT` frames. What was taken before the overload began
    does not count.

    Attributes:
        hold: whether lanes are overloaded now.
    """

    def __init__(self) -> None:
        self.hold = False
        self._replaced = 0.0
        self._begun = False
        self._floor = 0.0

    def offered(self, replaced: bool) -> None:
        """Take in whether a frame that has just arrived has replaced another one."""
        self._replaced += (replaced - self._replaced) / OVERLOAD_MEMORY
        self.hold = self._replaced > OVERLOAD
        self._begun = self._begun and self.hold

    def _begin(self, cameras: Iterable[Camera]) -> None:
        self._begun, self._floor = True, 0.0
        for camera in cameras:
            camera.turn = 0.0

    def line(self, cameras: Iterable[Camera]) -> list[Entry]:
        """Return the waiting frames, all of one weight."""
        if not self._begun:
            self._begin(cameras)
        frames = [(camera, camera.mailbox.head) for camera in cameras]
        waiting = [(camera, frame.received_ns) for camera, frame in frames if frame is not None]
        if not waiting:
            return []
        self._floor = max(self._floor, min(camera.turn for camera, _ in waiting))
        for camera, _ in waiting:
            camera.turn = max(camera.turn, self._floor - CREDIT / camera.priority)
        limit = min(camera.turn + AHEAD / camera.priority for camera, _ in waiting)
        keyed = [
            ((0, -received_ns) if camera.turn < limit else (1, camera.turn), camera, received_ns)
            for camera, received_ns in waiting
        ]
        keyed.sort(key=itemgetter(0))
        return [(camera, 1.0, received_ns) for _, camera, received_ns in keyed]
