"""Ground truth: the visible extent of every road user, from the picture of object numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from yolox_trt_ros.sim.world.bodies import CLASSES
from yolox_trt_ros.sim.world.rig import PinholeCamera

MIN_HEIGHT, MIN_VISIBILITY, MIN_INSIDE, MIN_TRANSMISSION = 1 / 40, 0.3, 0.12, 0.12
"""A road user is labelled if it is at least this share of the image height tall (16 px of 640),
this share of its outline within the image shows, this share of it lies within the image, and
the air lets this share of its light through; anything less
is ``ignored``: neither its detection nor its absence counts."""

MASK_CLASSES = ('sky', 'ground', 'scenery', *CLASSES)
"""Classes of pixels: what is no road user, and the road users'."""

_FILL = {
    'car': 0.93,
    'truck': 0.9,
    'bus': 0.95,
    'motorcycle': 0.68,
    'bicycle': 0.55,
    'pedestrian': 0.66,
}
"""Share of the convex outline that a fully visible road user of a class covers."""


@dataclass(frozen=True, slots=True, eq=False)
class GroundTruth:
    """The road users in one picture.

    Attributes:
        xyxy: float32 (n, 4), visible extent: left, top, right, bottom in pixels.
        class_id: int32 (n,), index into ``CLASSES``.
        visibility: float32 (n,), share of the outline within the image that shows, 0 to 1.
        distance_m: float32 (n,), from the camera.
        ignored: bool (n,), too small, hidden or hazy to be asked for.
        track_id: int32 (n,), the same road user in every picture of a world.
    """

    xyxy: np.ndarray
    class_id: np.ndarray
    visibility: np.ndarray
    distance_m: np.ndarray
    ignored: np.ndarray
    track_id: np.ndarray

    def __len__(self) -> int:
        return len(self.class_id)

    def labelled(self) -> GroundTruth:
        """Return those that are not ignored."""
        keep = ~self.ignored
        return GroundTruth(*(getattr(self, name)[keep] for name in self.__slots__))


def class_mask(numbers: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return the class of each pixel, uint8 (height, width), index into :data:`MASK_CLASSES`.

    Args:
        numbers: uint16 (height, width), a picture of object numbers.
        classes: uint8 (n,), the class of each object number.
    """
    found: np.ndarray = classes[numbers]
    return found


def _frame(width: int, height: int) -> np.ndarray:
    return np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A road user that may be in the picture; outline points (n, 3) in the vehicle frame."""

    number: int
    class_id: int
    points: np.ndarray
    distance_m: float


def extract(
    numbers: np.ndarray,
    camera: PinholeCamera,
    candidates: list[Candidate],
    visibility_m: float,
    least_px: float | None = None,
) -> GroundTruth:
    """Return the ground truth of a picture of object numbers, uint16 (height, width)."""
    h, w = numbers.shape
    least_px = MIN_HEIGHT * h if least_px is None else least_px
    count = np.bincount(
        numbers.ravel(), minlength=max((c.number for c in candidates), default=0) + 1
    )
    rows: list[tuple[float, ...]] = []
    for c in candidates:
        if count[c.number] < 6:
            continue
        pixels, depth = camera.project(c.points)
        front = pixels[depth > 0.3]
        if len(front) < 3:
            continue
        # One pixel of slack: the rasteriser rounds differently; limbs swing out of the rigid body.
        slack = 2 + 0.25 * (front[:, 1].max() - front[:, 1].min())
        x0, y0 = np.clip(np.floor(front.min(0) - slack), 0, (w, h)).astype(int)
        x1, y1 = np.clip(np.ceil(front.max(0) + slack), 0, (w, h)).astype(int)
        if (depth <= 0.3).any():
            x0, y0, x1, y1 = 0, 0, w, h
        mask = (numbers[y0:y1, x0:x1] == c.number).astype(np.uint8)
        left, top, width, height = cv2.boundingRect(mask)
        if height < 4 or width < 2:
            continue
        hull = cv2.convexHull(np.clip(front, (-2 * w, -2 * h), (3 * w, 3 * h)).astype(np.float32))
        inside, _ = cv2.intersectConvexConvex(hull, _frame(w, h))
        outline = max(inside * _FILL[CLASSES[c.class_id]], 1.0)
        seen = min(1.0, float(count[c.number]) / outline)
        ignored = (
            height < least_px
            or seen < MIN_VISIBILITY
            or inside < MIN_INSIDE * cv2.contourArea(hull)
            or math.exp(-c.distance_m / visibility_m) < MIN_TRANSMISSION
        )
        left, top = left + x0, top + y0
        box = left, top, left + width, top + height
        rows.append((*box, c.class_id, seen, c.distance_m, ignored, c.number))
    table = np.array(rows, np.float32).reshape(-1, 9)
    return GroundTruth(
        np.ascontiguousarray(table[:, :4]),
        table[:, 4].astype(np.int32),
        np.ascontiguousarray(table[:, 5]),
        np.ascontiguousarray(table[:, 6]),
        table[:, 7].astype(bool),
        table[:, 8].astype(np.int32),
    )
