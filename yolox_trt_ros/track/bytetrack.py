"""ByteTrack over the boxes of one camera, with arrays in place of objects.

After Zhang et al., "ByteTrack: Multi-Object Tracking by Associating Every Detection Box" (2022), in
the form of Roboflow's ``trackers`` 2.6 (Apache-2.0), whose numbers it gives: sure detections are
matched with predicted boxes first, then the others with the tracks that are left. A track has a
number once it was seen in two images on end, and is forgotten when it was not seen for a while.
"""

from __future__ import annotations

import numpy as np

from yolox_trt_ros.core.config import TrackingConfig
from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.errors import MissingDependencyError
from yolox_trt_ros.track.motion import NOMINAL_S, MovingBoxes

NO_ID = -1
MOST_TRACKS = 2000
"""Of a camera; beyond it, those are forgotten that were not seen for longest."""
STEADY = 1.5
"""Of a camera whose images come farther apart than ``lost_s``: how much later than the one before
an image may be, as a share of that interval, and still show the same objects."""


class ByteTrack:
    """Gives the objects of one camera numbers that stay.

    Times are those of the images' stamps, so that dropped images and other rates do not matter.
    An image with the stamp of the one before counts as one interval of the camera later for what
    is not seen in it: else a camera whose stamps stand still would never forget anything.

    Args:
        options: when boxes are the same object.
        rate_hz: of the camera; the motion's noise is for one of its intervals.

    Raises:
        MissingDependencyError: SciPy is not installed.
    """

    def __init__(self, options: TrackingConfig, rate_hz: float) -> None:
        try:
            from scipy.optimize import linear_sum_assignment
        except ImportError as error:
            raise MissingDependencyError(
                'tracking needs SciPy: apt install python3-scipy, or pip install scipy'
            ) from error
        self._assign = linear_sum_assignment
        self._options, self._rate_hz = options, rate_hz
        self._next = 0
        self._forget_all()

    def _forget_all(self) -> None:
        self._boxes = MovingBoxes()
        self._ids = np.empty(0, np.int64)
        self._seen = np.empty(0, np.int64)  # images on end
        self._unseen_s = np.empty(0)
        self._last_ns: int | None = None
        self._interval_s = 1 / self._rate_hz

    def update(self, stamp_ns: int, found: Detections) -> np.ndarray:
        """Return the numbers of an image's detections.

        Args:
            stamp_ns: of the image. One older than the last image's is too late: nothing in it gets
                a number, and nothing is learnt from it. Older by more than ``lost_s``, it is of
                another time, as when a recording begins again, and so are all tracks.
            found: its detections.

        Returns:
            int64 (n,): :data:`NO_ID` where an object is new, or too uncertain to be one.
        """
        ids = np.full(len(found), NO_ID, np.int64)
        if self._last_ns is not None and stamp_ns < self._last_ns:
            if self._last_ns - stamp_ns <= self._options.lost_s * 1e9:
                return ids
            self._forget_all()
        self._move_on(stamp_ns)
        xyxy = found.xyxy.astype(np.float64)
        sure = found.score >= np.float32(self._options.sure_score)
        matched = np.zeros(len(self._ids), bool)
        new = self._match(xyxy, np.flatnonzero(sure), matched, ids)
        self._match(xyxy, np.flatnonzero(~sure), matched, ids)
        self._forget(matched)
        self._begin(xyxy[new[found.score[new] >= np.float32(self._options.new_score)]])
        return ids

    def _move_on(self, stamp_ns: int) -> None:
        """Predict where everything is now, and forget what was not seen for too long."""
        elapsed_s = 1 / self._rate_hz
        if self._last_ns is not None:
            elapsed_s = (stamp_ns - self._last_ns) / 1e9
        self._last_ns = stamp_ns
        self._seen[self._unseen_s > 0] = 0
        self._unseen_s += elapsed_s or 1 / self._rate_hz
        self._keep(self._unseen_s <= self._lost_s())
        if elapsed_s > 0:
            self._boxes.predict(elapsed_s * self._rate_hz, NOMINAL_S * self._rate_hz)
            self._interval_s = elapsed_s

    def _lost_s(self) -> float:
        """Return how long an object may be unseen; of a slow camera, until its next image."""
        slow = self._interval_s > self._options.lost_s
        return STEADY * self._interval_s if slow else self._options.lost_s

    def _match(
        self, xyxy: np.ndarray, some: np.ndarray, matched: np.ndarray, ids: np.ndarray
    ) -> np.ndarray:
        """Match detections with the tracks that have none yet.

        Args:
            xyxy: float64 (n, 4), all detections.
            some: int, which of them.
            matched: bool (tracks,), changed.
            ids: int64 (n,), changed.

        Returns:
            The detections without a match, int, ascending.
        """
        free = np.flatnonzero(~matched)
        if not len(free) or not len(some):
            return some
        overlap = overlaps(self._boxes.xyxy[free], xyxy[some])
        rows, columns = self._assign(overlap, maximize=True)
        good = overlap[rows, columns] >= self._options.least_iou
        tracks, found = free[rows[good]], some[columns[good]]
        self._boxes.update(tracks, xyxy[found])
        matched[tracks] = True
        self._seen[tracks] += 1
        self._unseen_s[tracks] = 0
        grown = (self._ids[tracks] == NO_ID) & (self._seen[tracks] >= self._options.images)
        self._ids[tracks[grown]] = self._next + np.arange(grown.sum())
        self._next += int(grown.sum())
        ids[found] = self._ids[tracks]
        rest = np.ones(len(some), bool)
        rest[columns[good]] = False
        return some[rest]

    def _forget(self, matched: np.ndarray) -> None:
        """Forget what has no number and was not seen now."""
        self._keep((self._ids != NO_ID) | matched)

    def _begin(self, xyxy: np.ndarray) -> None:
        n = len(xyxy)
        if n:
            self._boxes.append(xyxy)
            self._ids = np.concatenate([self._ids, np.full(n, NO_ID)])
            self._seen = np.concatenate([self._seen, np.ones(n, np.int64)])
            self._unseen_s = np.concatenate([self._unseen_s, np.zeros(n)])
        if len(self._ids) > MOST_TRACKS:
            mask = np.zeros(len(self._ids), bool)
            mask[np.argsort(self._unseen_s, kind='stable')[:MOST_TRACKS]] = True
            self._keep(mask)

    def _keep(self, mask: np.ndarray) -> None:
        if not mask.all():
            self._boxes.keep(mask)
            self._ids, self._seen = self._ids[mask], self._seen[mask]
            self._unseen_s = self._unseen_s[mask]


def overlaps(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the IoU of boxes, float32 (n, m) of float64 (n, 4) and (m, 4)."""
    inner = _common(one[:, ::2], other[:, ::2])
    inner *= _common(one[:, 1::2], other[:, 1::2])
    outer = np.add.outer(*(np.prod(b[:, 2:] - b[:, :2], axis=1) for b in (one, other)))
    outer -= inner
    return np.divide(inner, outer, out=np.zeros_like(inner), where=outer > 0).astype(np.float32)


def _common(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return how long what two spans share is, (n, m) of (n, 2) and (m, 2)."""
    size = np.minimum.outer(one[:, 1], other[:, 1])
    size -= np.maximum.outer(one[:, 0], other[:, 0])
    return np.maximum(size, 0, out=size)
