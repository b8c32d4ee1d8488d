"""Compare published detections with ground truth: average precision, recall by camera, distance."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.messages import detections_of, fields_of, stamp_ns_of
from yolox_trt_ros.datasets.labelled import LabelledBoxes
from yolox_trt_ros.evaluation.coco_metrics import average_precision
from yolox_trt_ros.evaluation.matching import SharedClasses, Tally, match
from yolox_trt_ros.report.recording import Quality

DISTANCES_M = (0.0, 10.0, 20.0, 30.0, 50.0, 80.0, np.inf)
"""Edges of the bins that recall is reported for."""


KINDS = 20
"""Reasons for which messages cannot be used that are distinguished."""


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """The labelled objects of one image.

    Attributes:
        boxes: classes numbered as in the names of the ground truth; score 0: not asked for.
        distance_m: float64 (n,) from the camera; NaN where the ground truth does not say.
        area: float64 (n,), square pixels; None: that of the boxes.
    """

    boxes: Detections
    distance_m: np.ndarray
    area: np.ndarray | None = None


@dataclass(slots=True)
class Judge:
    """Collects detections and ground truth in any order, and compares what has the same stamp.

    A stamp that detections or ground truth of a camera have more than once is left out: nobody
    knows which of them belong together.

    Attributes:
        labels: names of the detections' classes, by number.
        truth_labels: those of the ground truth's.
        found, truth: by camera and header stamp, nanoseconds.
        unusable: messages that could not be used, by reason.
        repeated: messages by camera and stamp, of stamps that came more than once.
    """

    labels: Sequence[str]
    truth_labels: Sequence[str]
    found: dict[str, dict[int, Detections]] = field(default_factory=lambda: defaultdict(dict))
    truth: dict[str, dict[int, Truth]] = field(default_factory=lambda: defaultdict(dict))
    unusable: Counter[str] = field(default_factory=Counter)
    repeated: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))

    def add_found(self, camera: str, message: Any) -> None:
        """Take in a ``Detection2DArray`` of the detector, or count why it cannot be used."""
        with self._counting('detections'):
            found = read(message, self.labels)
            self.keep(self.found, camera, stamp_ns_of(message), found)

    def add_truth(self, camera: str, message: Any) -> None:
        """Take in a ``Detection2DArray`` of labelled objects; score 0 means: not asked for.

        The distance is the length of the hypothesis' position, as camera_sim publishes it. What
        cannot be used is counted.
        """
        with self._counting('ground truth'):
            truth = Truth(read(message, self.truth_labels), distances_m(message))
            self.keep(self.truth, camera, stamp_ns_of(message), truth)

    @contextmanager
    def _counting(self, what: str) -> Iterator[None]:
        try:
            yield
        except ConfigError as error:
            kind = f'{what}: {error}'
            known = kind in self.unusable or len(self.unusable) < KINDS
            self.unusable[kind if known else f'{what}: other reasons'] += 1

    def check_usable(self) -> None:
        """See that most messages could be used: otherwise labels and messages do not fit.

        Raises:
            ConfigError: they could not; the message is that of the most frequent reason.
        """
        used = sum(len(stamps) for side in (self.found, self.truth) for stamps in side.values())
        if self.unusable.total() > used:
            ((kind, count),) = self.unusable.most_common(1)
            raise ConfigError(f'{count:,} messages cannot be used: {kind}')

    def left_out(self) -> list[str]:
        """Return a sentence for each kind of message that could not be used."""
        return [
            f'{count:,} messages could not be used and are left out: {kind}'
            for kind, count in self.unusable.items()
        ]

    def keep(self, side: dict[str, dict[int, Any]], camera: str, stamp: int, part: Any) -> None:
        """Take what one image has: in ``found`` or in ``truth``, by its header stamp."""
        if stamp in side[camera]:
            repeated = self.repeated[camera]
            repeated[stamp] = max(1, repeated[stamp]) + 1
        side[camera][stamp] = part

    def stamps(self, camera: str) -> list[int]:
        """Return the stamps of a camera's detections that distinguish one image from the others."""
        return sorted(self.found[camera].keys() - self.repeated[camera].keys())

    def ambiguous(self) -> list[str]:
        """Return a sentence for each camera and kind of messages that are left out."""
        return self.left_out() + [
            f'{camera}: {stamps.total()} messages share {len(stamps)} header '
            f'stamp{"s" * (len(stamps) > 1)} and are left out: which of them belong together is '
            'unknown'
            for camera, stamps in sorted(self.repeated.items())
            if stamps
        ]

    def pairs(self, camera: str) -> list[tuple[Detections, Truth]]:
        """Return detections and ground truth of the images that have both, oldest first."""
        found, truth = self.found.get(camera, {}), self.truth.get(camera, {})
        once = found.keys() & truth.keys() - self.repeated.get(camera, Counter()).keys()
        return [(found[stamp], truth[stamp]) for stamp in sorted(once)]

    def cameras(self) -> list[str]:
        """Return the cameras that have both."""
        return [camera for camera in self.found if self.pairs(camera)]

    @property
    def classes(self) -> SharedClasses:
        """Return the classes that both the detections and the ground truth know."""
        return SharedClasses(self.labels, self.truth_labels)

    def tallies(self) -> dict[str, Tally]:
        """Return what was found and missed, by camera that has both."""
        classes, tallies = self.classes, {}
        for camera in self.cameras():
            tallies[camera] = tally = Tally()
            for found, truth in self.pairs(camera):
                tally.add(classes.found(found), classes.truth(truth.boxes))
        return tallies

    def quality(self) -> list[Quality]:
        """Return recall and precision of each camera."""
        return [tally.quality(camera) for camera, tally in self.tallies().items()]

    def report(self) -> dict[str, Any]:
        """Return everything as plain data.

        Returns:
            The keys of :func:`_coco_metrics.average_precision` over all cameras; ``images``;
            ``cameras``: for each ``images``, ``labelled``, ``recall``, ``precision``; and
            ``by_distance``: rows of ``from_m``, ``to_m`` (None: no end), ``labelled``, ``recall``;
            empty where the ground truth has no distances; ``left_out``: sentences.

        Raises:
            ConfigError: nothing can be compared; the message says why.
            MissingDependencyError: faster-coco-eval is not installed.
        """
        classes = self.classes
        if not classes.names:
            raise ConfigError(
                f'the detections are of {", ".join(self.labels)}; none of these is labelled: '
                f'{", ".join(self.truth_labels)}'
            )
        pairs = [pair for camera in self.cameras() for pair in self.pairs(camera)]
        if not pairs:
            raise ConfigError(self._nothing())
        labels, results = [], []
        for found, truth in pairs:
            known, boxes = classes.found(found), classes.truth(truth.boxes)
            kept = boxes.class_id >= 0
            ignored = boxes.score[kept] <= 0
            area = None if truth.area is None else truth.area[kept]
            labels.append(LabelledBoxes(boxes.xyxy[kept], boxes.class_id[kept], ignored, area))
            results.append((known.xyxy, known.score, known.class_id))
        return {
            **average_precision(labels, results, classes.names),
            'images': len(pairs),
            'cameras': {q.camera: quality_row(q) for q in self.quality()},
            'by_distance': _by_distance(pairs, classes),
            'left_out': self.ambiguous(),
        }

    def _nothing(self) -> str:
        found, truth = (sum(map(len, side.values())) for side in (self.found, self.truth))
        if found and truth and (ambiguous := self.ambiguous()):
            return f'nothing can be compared: {"; ".join(ambiguous)}'
        if found and truth:
            return (
                f'{found} detection and {truth} ground truth messages, but no two of one camera '
                'have the same header stamp'
            )
        missing = 'ground truth' if found else 'detections'
        return f'there are {found} messages of detections and {truth} of ground truth: no {missing}'


def quality_row(quality: Quality) -> dict[str, Any]:
    """Return a camera's quality as plain data, without its name."""
    return {name: value for name, value in asdict(quality).items() if name != 'camera'}


def read(message: Any, labels: Sequence[str]) -> Detections:
    """Return the detections of a message whose class ids are indices or names of labels.

    Raises:
        ConfigError: a class id is neither.
    """
    ids: Mapping[str, int] = {
        **{str(i): i for i in range(len(labels))},
        **{name: i for i, name in enumerate(labels)},
    }
    return detections_of(message, ids)


def distances_m(message: Any) -> np.ndarray:
    """Return how far labelled objects are from the camera: float64 (n,), NaN where unknown.

    Raises:
        ConfigError: the message has no positions.
    """
    with fields_of('vision_msgs/Detection2DArray'):
        distance = np.full(len(message.detections), np.nan)
        for i, item in enumerate(message.detections):
            p = item.results[0].pose.pose.position
            length = math.hypot(p.x, p.y, p.z)
            distance[i] = length if 0 < length < np.inf else np.nan
    return distance


def _by_distance(
    pairs: Sequence[tuple[Detections, Truth]], classes: SharedClasses
) -> list[dict[str, float | int | None]]:
    distances, hits = [], []
    for found, truth in pairs:
        boxes = classes.truth(truth.boxes)
        asked = (boxes.score > 0) & np.isfinite(truth.distance_m)
        claimed, _ = match(classes.found(found), boxes)
        distances.append(truth.distance_m[asked])
        hits.append(claimed[asked])
    where, right = np.concatenate(distances), np.concatenate(hits)
    if not len(where):
        return []
    rows: list[dict[str, float | int | None]] = []
    for low, high in pairwise(DISTANCES_M):
        inside = (where >= low) & (where < high)
        count = int(inside.sum())
        rows.append(
            {
                'from_m': low,
                'to_m': None if np.isinf(high) else high,
                'labelled': count,
                'recall': round(float(right[inside].mean()), 4) if count else None,
            }
        )
    return rows
