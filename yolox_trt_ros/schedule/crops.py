"""Which extra crops the waiting frames have, and how many places of a batch that takes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from yolox_trt_ros.schedule.camera import Camera
from yolox_trt_ros.schedule.state import Lane


def choose_crops(
    cameras: Iterable[Camera],
    lanes: Sequence[Lane],
    busy: int,
    overloaded: bool,
    now_ns: int,
) -> None:
    """Let cameras that have extra crops know which of them their next frame has.

    Those that would make it miss its deadline wait for a later frame.

    Args:
        cameras: all of them have crops.
        lanes: the running ones.
        busy: how many of them run a batch.
        overloaded: whether lanes are, so that less important crops are seen more seldom.
        now_ns: monotonic time.
    """
    for camera in cameras:
        frame = camera.mailbox.head
        if frame is None:
            continue
        camera.choose_crops(frame, overloaded)
        if camera.deadline_ns and camera.next_crops:
            left_ns = min(now_ns, frame.received_ns) + camera.deadline_ns - now_ns
            able = [
                lane.costs[camera.config.model].quote(busy - lane.busy)
                for lane in lanes
                if camera.pin is None or lane is camera.pin
            ]
            while camera.next_crops and left_ns < min(
                [quote.call_ns(min(camera.places, quote.most)) for quote in able], default=0
            ):
                camera.leave_out_crop()


def most_places(cameras: Iterable[Camera]) -> int:
    """Return how many places a frame of each camera may take together."""
    return sum([camera.most_places for camera in cameras])
