"""The recording of a node over some time: plain data that the report is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from yolox_trt_ros.core.config import LimitsConfig


@dataclass(frozen=True, slots=True, eq=False)
class Results:
    """One camera's published results, oldest first, as its latency messages tell them.

    Attributes:
        stamp_ns: int64 (n,), header stamps.
        published_ns: int64 (n,), publication in the node's clock.
        stages_ns: int64 (n, 7), durations of :data:`core.trace.STAGES`.
        lane: int (n,), index into :attr:`Recording.lanes`.
        drops: int64 (n,), frames dropped since the result before.
    """

    stamp_ns: np.ndarray
    published_ns: np.ndarray
    stages_ns: np.ndarray
    lane: np.ndarray
    drops: np.ndarray

    def __len__(self) -> int:
        return len(self.stamp_ns)

    @property
    def total_ns(self) -> np.ndarray:
        """Return int64 (n,): arrival to publication."""
        return np.asarray(self.stages_ns.sum(axis=1))

    @property
    def age_ns(self) -> np.ndarray:
        """Return int64 (n,): header stamp to publication."""
        return np.asarray(self.published_ns - self.stamp_ns)


@dataclass(frozen=True, slots=True)
class CameraSetting:
    """What a camera was asked for; zeros where nobody said.

    Attributes:
        rate_hz: rate its driver should publish at.
        deadline_ms: oldest useful result, arrival to publication.
        timeout_ms: silence after which it is stale.
    """

    rate_hz: float = 0.0
    deadline_ms: float = 0.0
    timeout_ms: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class CameraRecord:
    """Everything seen of one camera.

    Attributes:
        name: the camera.
        setting: what it was asked for.
        results: from its latency topic.
        classes: detections by class name.
        arrays: detection messages seen.
    """

    name: str
    setting: CameraSetting
    results: Results
    classes: Mapping[str, int]
    arrays: int


@dataclass(frozen=True, slots=True)
class CameraState:
    """One camera in one status message; counts run since the node was activated."""

    level: int
    message: str
    lane: str
    received: int
    published: int
    dropped: Mapping[str, int]
    late: int
    rate_in_hz: float


@dataclass(frozen=True, slots=True)
class LaneSeen:
    """One lane in one status message."""

    state: str
    note: str
    device: str
    utilisation: float
    failures: int


@dataclass(frozen=True, slots=True)
class StatusRecord:
    """One status message; ``time_ns`` is in the node's clock."""

    time_ns: int
    cameras: Mapping[str, CameraState]
    lanes: Mapping[str, LaneSeen]
    placement_reason: str


@dataclass(frozen=True, slots=True)
class Sample:
    """One image of a camera with its detections drawn on it, as JPEG."""

    camera: str
    time_ns: int
    objects: int
    jpeg: bytes


@dataclass(frozen=True, slots=True)
class Quality:
    """How one camera's detections compare with ground truth; shares are None without a basis."""

    camera: str
    images: int
    labelled: int
    recall: float | None
    precision: float | None


@dataclass(frozen=True, slots=True)
class Recording:
    """A stretch of a node's life.

    Attributes:
        source: where it comes from, for the title.
        cameras: in the order they are shown.
        lanes: names of all lanes that were seen.
        statuses: oldest first.
        remarks: what went wrong outside of the node, in sentences.
        before: the last status of a simulated clock that did not run yet, from where counts begin.
        limits: what counts as good.
        limits_from: where the limits come from, for people.
        samples: at most one a camera.
        quality: against ground truth; empty without any.
        unusable: messages that were left out, by what was wrong.
    """

    source: str
    cameras: tuple[CameraRecord, ...]
    lanes: tuple[str, ...]
    statuses: tuple[StatusRecord, ...]
    limits: LimitsConfig
    limits_from: str
    samples: tuple[Sample, ...] = field(default=())
    quality: tuple[Quality, ...] = field(default=())
    before: StatusRecord | None = None
    remarks: tuple[str, ...] = field(default=())
    unusable: Mapping[str, int] = field(default_factory=dict)

    @property
    def span_ns(self) -> tuple[int, int]:
        """Return the first and the last publication or status, in the node's clock."""
        times = [s.time_ns for s in self.statuses]
        for camera in self.cameras:
            if len(camera.results):
                times += camera.results.published_ns[[0, -1]].tolist()
        return (min(times), max(times)) if times else (0, 0)

    @property
    def duration_s(self) -> float:
        """Return the seconds between the two ends."""
        first, last = self.span_ns
        return (last - first) / 1e9
