"""In which order the cameras' frames are considered."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from yolox_trt_ros.schedule.camera import Camera

NEVER_NS = 1 << 62
Entry = tuple[Camera, int]
"""A camera and when its frame arrived: later than now if it is owed one and will send it."""

OVERLOAD = 0.05
"""Lanes are overloaded when more than this part of the frames is replaced …"""
OVERLOAD_MEMORY = 128
"""… of about this many that came last."""
CREDIT = 3.0
"""Frames that count of what a camera did not want, or had because nobody else wanted it."""
LOSING = 16
"""So many frames must be taken in time before a camera no longer counts as losing them."""


def by_stamp(cameras: Iterable[Camera]) -> list[Entry]:
    """Return the waiting frames in the order of their header stamps."""
    waiting = [(camera, head) for camera in cameras if (head := camera.mailbox.head) is not None]
    waiting.sort(key=lambda entry: entry[1].stamp_ns)
    return [(camera, frame.received_ns) for camera, frame in waiting]


class FairQueue:
    """The order of live frames: by age while there is time, by fair shares where there is not.

    While lanes keep up, the camera with the largest priority × age of information comes first; its
    age counts from the newest frame that a lane has already taken.

    Under overload, when frames are replaced before a lane takes them, it is weighted fair queueing:
    a camera's ``served`` grows by 1 / priority with each frame that a lane takes, and the least
    served one comes first. So shares are in proportion to priorities, whatever lane does the work.

    Deadlines can shut a camera out at any load: its frame always comes when a lane has just begun
    another one, and is hopeless when that is done. A camera that has lost a frame so and has had
    less than its share is *owed* one. It goes first, under overload among cameras that have had
    more, and even before its next frame arrives it keeps a lane from what would make it lose again;
    see :mod:`schedule.policy`.

    Fair queueing begins when frames are replaced or lost; what was taken before does not count. No
    camera is more than :data:`CREDIT` frames behind the one that has been served least of those
    that lack some, nor further ahead than so many frames of the least important camera; one that
    lacks none, nor so far ahead of those that do. So neither what it did not want, nor what nobody
    else wanted or what it had in one batch with others, counts for long.

    Attributes:
        overloaded: whether lanes are overloaded now.
    """

    def __init__(self) -> None:
        self.overloaded = False
        self._replaced = 0.0
        self._counts = False

    def offered(self, replaced: bool) -> None:
        """Take in whether a frame that has just arrived has replaced another one."""
        self._replaced += (replaced - self._replaced) / OVERLOAD_MEMORY
        self.overloaded = self._replaced > OVERLOAD

    def lost(self, camera: Camera) -> None:
        """Take in that a camera's frame was hopeless only because lanes were busy."""
        camera.losing = LOSING

    def waits_ns(self, cameras: Sequence[Camera], now_ns: int) -> list[int]:
        """Return in how long frames are expected of cameras that have none waiting, in order.

        Only under overload: otherwise a lane waits for no frame, and nothing is returned.
        """
        if not self.overloaded:
            return []
        dues = [camera.due_ns(now_ns) for camera in cameras if camera.mailbox.head is None]
        return sorted([(due[0] + due[1]) // 2 - now_ns for due in dues if due is not None])

    def line(self, cameras: Sequence[Camera], now_ns: int) -> list[Entry]:
        """Return the waiting frames, and those that owed cameras will send, the first one first."""
        waiting = [
            (camera, frame.received_ns if frame.received_ns < now_ns else now_ns)
            for camera in cameras
            if (frame := camera.mailbox.head) is not None
        ]
        losers = [camera for camera in cameras if camera.losing]
        lacking = [camera for camera, _ in waiting] + losers if self.overloaded else losers
        self._level(cameras, lacking)
        line = _by_share(waiting) if self.overloaded else _by_age(waiting, now_ns)
        if not losers:
            return line
        most = max([camera.served for camera in cameras])
        owed = [camera for camera in losers if camera.share_after <= most]
        first = _owed_first(owed, now_ns)
        rest = [entry for entry in line if entry[0] not in owed]
        return _by_share(first + rest) if self.overloaded else first + rest

    def _level(self, cameras: Sequence[Camera], lacking: Sequence[Camera]) -> None:
        """Keep ``served`` near that of the least served camera that lacks frames."""
        if bool(lacking) is not self._counts:
            self._counts = bool(lacking)
            for camera in cameras:
                camera.served, camera.behind = 0.0, False
        if not lacking:
            return
        served = [camera.served for camera in lacking]
        least, most = min(served), max(served)
        spread = CREDIT / min([camera.priority for camera in cameras])
        ahead = least + spread
        further = min(most, ahead) + spread
        for camera in cameras:
            camera.behind = (most - camera.served) * camera.priority > CREDIT
            if not least <= camera.served <= ahead:
                most_served = ahead if camera in lacking else further
                least_served = least - CREDIT / camera.priority
                camera.served = min(max(camera.served, least_served), most_served)


def _owed_first(owed: Sequence[Camera], now_ns: int) -> list[Entry]:
    """Return the frames of cameras that are owed one, waiting or not, in the order of shares."""
    entries: list[Entry] = []
    for camera in owed:
        frame = camera.mailbox.head
        if frame is not None:
            entries.append((camera, min(now_ns, frame.received_ns)))
        elif (due_ns := camera.due_ns(now_ns)) is not None:
            entries.append((camera, max(now_ns + 1, due_ns[0])))
    return sorted(entries, key=lambda entry: (entry[0].share_after, entry[1] > now_ns))


def _by_age(waiting: Sequence[Entry], now_ns: int) -> list[Entry]:
    return sorted(waiting, key=lambda entry: entry[0].priority * (entry[0].reference_ns - now_ns))


def _by_share(waiting: Sequence[Entry]) -> list[Entry]:
    return sorted(waiting, key=lambda entry: entry[0].share_after)
