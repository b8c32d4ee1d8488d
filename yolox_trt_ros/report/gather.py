"""Turns messages into a recording; from a bag or from live topics, whose classes differ."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from yolox_trt_ros.core.config import Config, LimitsConfig
from yolox_trt_ros.core.trace import STAGES
from yolox_trt_ros.report.recording import (
    CameraRecord,
    CameraSetting,
    CameraState,
    LaneSeen,
    Quality,
    Recording,
    Results,
    Sample,
    StatusRecord,
)


def time_ns(stamp: Any) -> int:
    """Return a ``builtin_interfaces/Time`` in nanoseconds."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


class Gatherer:
    """Takes messages of a node in any order. Not thread-safe.

    Messages are told apart by their fields alone, so those of rclpy and of rosbags both do.

    Args:
        config: the vehicle, if it is known: order and settings of its cameras, limits.
        labels: class names by index; :meth:`add_labels` brings them too.
    """

    def __init__(self, config: Config | None = None, labels: Sequence[str] = ()) -> None:
        self._config = config
        self._labels: dict[str, str] = {str(i): name for i, name in enumerate(labels)}
        self._rows: dict[str, list[tuple[int, ...]]] = defaultdict(list)
        self._lanes: dict[str, int] = {}
        self._statuses: list[StatusRecord] = []
        self._deadlines_ms: dict[str, float] = {}
        self._classes: dict[str, Counter[str]] = defaultdict(Counter)
        self._arrays: Counter[str] = Counter()

    @property
    def results(self) -> int:
        """Return how many latency messages came."""
        return sum(len(rows) for rows in self._rows.values())

    def add_latency(self, message: Any) -> None:
        """Take in a ``CameraLatency``."""
        stamp = time_ns(message.header.stamp)
        stages = (int(getattr(message, f'{stage}_ns')) for stage in STAGES)
        lane = self._lanes.setdefault(message.lane, len(self._lanes))
        row = (stamp, stamp + int(message.age_ns), lane, int(message.drops), *stages)
        self._rows[message.camera].append(row)

    def add_status(self, message: Any) -> None:
        """Take in a ``PipelineStatus``."""
        for lane in message.lanes:
            self._lanes.setdefault(lane.name, len(self._lanes))
        for camera in message.cameras:
            self._deadlines_ms[camera.name] = float(camera.deadline_ms)
        self._statuses.append(
            StatusRecord(
                time_ns(message.header.stamp),
                {camera.name: _camera_state(camera) for camera in message.cameras},
                {lane.name: _lane_seen(lane) for lane in message.lanes},
                message.placement_reason,
            )
        )

    def add_detections(self, camera: str, message: Any) -> None:
        """Take in a ``Detection2DArray`` of one camera."""
        self._arrays[camera] += 1
        for detection in message.detections:
            for result in detection.results[:1]:
                self._classes[camera][result.hypothesis.class_id] += 1

    def add_labels(self, message: Any) -> None:
        """Take in a ``LabelInfo``."""
        self._labels |= {str(c.class_id): c.class_name for c in message.class_map}

    def recording(
        self, source: str, samples: Sequence[Sample] = (), quality: Sequence[Quality] = ()
    ) -> Recording:
        """Return everything taken in so far."""
        limits = self._config.limits if self._config else LimitsConfig()
        return Recording(
            source=source,
            cameras=tuple(self._camera(name) for name in self._names()),
            lanes=tuple(self._lanes),
            statuses=tuple(self._in_time()),
            limits=limits,
            limits_from='the vehicle file' if self._config else 'the defaults, no vehicle given',
            samples=tuple(samples),
            quality=tuple(quality),
            before=next((s for s in reversed(self._statuses) if s.time_ns <= 0), None),
        )

    def _in_time(self) -> list[StatusRecord]:
        """Return the status messages by time, without those of a clock that stands still.

        A node on simulated time has the time 0 until a replay begins, and the last one after it.
        """
        by_time: dict[int, StatusRecord] = {}
        for status in self._statuses:
            if status.time_ns > 0:
                by_time.setdefault(status.time_ns, status)
        return [by_time[time_ns] for time_ns in sorted(by_time)]

    def _names(self) -> list[str]:
        names = [camera.name for camera in self._config.cameras] if self._config else []
        for status in self._statuses[:1]:
            names += status.cameras
        return list(dict.fromkeys([*names, *self._rows, *self._arrays]))

    def _camera(self, name: str) -> CameraRecord:
        rows = np.array(self._rows[name], np.int64).reshape(-1, 4 + len(STAGES))
        rows = rows[np.argsort(rows[:, 1], kind='stable')]
        counted = Counter[str]()
        for class_id, count in self._classes[name].items():
            counted[self._labels.get(class_id, f'class {class_id}')] += count
        results = Results(rows[:, 0], rows[:, 1], rows[:, 4:], rows[:, 2], rows[:, 3])
        return CameraRecord(name, self._setting(name), results, counted, self._arrays[name])

    def _setting(self, name: str) -> CameraSetting:
        for camera in self._config.cameras if self._config else ():
            if camera.name == name:
                return CameraSetting(camera.rate_hz, camera.deadline_ms, camera.timeout_ms)
        return CameraSetting(deadline_ms=self._deadlines_ms.get(name, 0.0))


def _camera_state(camera: Any) -> CameraState:
    dropped: Mapping[str, int] = {
        reason: int(count)
        for reason, count in zip(camera.drop_reasons, camera.drop_counts, strict=True)
    }
    return CameraState(
        level=int(camera.level),
        message=camera.message,
        lane=camera.lane,
        received=int(camera.received),
        published=int(camera.published),
        dropped=dropped,
        late=int(camera.deadline_misses),
        rate_in_hz=float(camera.rate_in_hz),
    )


def _lane_seen(lane: Any) -> LaneSeen:
    return LaneSeen(lane.state, lane.note, lane.device, float(lane.utilisation), int(lane.failures))
