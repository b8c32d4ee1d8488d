"""What a replay found."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from yolox_trt_ros.core.detections import Detections


@dataclass(frozen=True, slots=True)
class Result:
    """The detections of one image.

    Attributes:
        stamp_ns: header stamp of the image, nanoseconds.
        detections: what was found in it.
    """

    stamp_ns: int
    detections: Detections


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


def _plain(replayed: Replayed) -> dict[str, list[tuple[int, list[bytes]]]]:
    return {
        camera: [
            (
                r.stamp_ns,
                [
                    a.tobytes()
                    for a in (r.detections.xyxy, r.detections.score, r.detections.class_id)
                ],
            )
            for r in results
        ]
        for camera, results in replayed.cameras.items()
    }
