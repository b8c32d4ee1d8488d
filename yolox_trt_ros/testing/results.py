"""The results of a replay, camera by camera."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.messages import header_stamp_ns

ImageKey = tuple[int, int]
"""An image of a camera: its header stamp in nanoseconds, and which one of that stamp, from 0."""


@dataclass(frozen=True, slots=True)
class Result:
    """The detections of one image.

    Attributes:
        stamp_ns: header stamp of the image, nanoseconds.
        detections: what was found in it.
        repeat: which of the camera's images with this stamp it is, from 0. Only where a driver's
            stamps repeat is there more than one.
    """

    stamp_ns: int
    detections: Detections
    repeat: int = 0


class ImageNumbers:
    """Tells the images of a recording apart, also those whose header stamps repeat.

    Attributes:
        keys: of the images so far, by camera, in the order of the recording.
    """

    def __init__(self) -> None:
        self.keys: dict[str, list[ImageKey]] = defaultdict(list)
        self._seen: Counter[tuple[str, int]] = Counter()

    def add(self, camera: str, cdr: bytes) -> ImageKey:
        """Take the next image of a camera, damaged or not, and return its key."""
        stamp_ns = header_stamp_ns(cdr)
        key = stamp_ns, self._seen[camera, stamp_ns]
        self._seen[camera, stamp_ns] += 1
        self.keys[camera].append(key)
        return key


@dataclass(frozen=True, slots=True)
class Replayed:
    """All results of a replay.

    Attributes:
        bag: the recording.
        labels: the model's class names, by ``class_id``.
        cameras: results by camera, in order of their stamps.
        topics: recorded image topic by camera, for pictures.
        transports: ``raw`` or ``compressed`` by camera.
        dropped: images by camera that gave no result, by reason.
    """

    bag: Path
    labels: tuple[str, ...]
    cameras: dict[str, list[Result]]
    topics: dict[str, str] = field(default_factory=dict)
    transports: dict[str, str] = field(default_factory=dict)
    dropped: dict[str, Counter[str]] = field(default_factory=dict)

    def same_as(self, other: Replayed) -> bool:
        """Return whether every image has bit for bit the same detections in both."""
        return _plain(self) == _plain(other)


def _plain(replayed: Replayed) -> dict[str, list[tuple[int, int, list[bytes]]]]:
    return {
        camera: [
            (
                r.stamp_ns,
                r.repeat,
                [
                    a.tobytes()
                    for a in (r.detections.xyxy, r.detections.score, r.detections.class_id)
                ],
            )
            for r in results
        ]
        for camera, results in replayed.cameras.items()
    }
