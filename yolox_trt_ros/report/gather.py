"""Turn messages of a bag or of live topics into a recording."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from yolox_trt_ros.core.config import Config, LimitsConfig
from yolox_trt_ros.core.printing import one_line
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
from yolox_trt_ros.report.usable import (
    LARGEST_TIME_NS,
    LEVELS,
    LONGEST_STAGE_NS,
    UnusableError,
    few,
    number,
    text,
    time_ns,
    whole,
)


class Gatherer:
    """Takes messages of a node in any order. Not thread-safe.

    Only fields of messages are used, so those of rclpy and of rosbags both do. Messages that no
    node sends (numbers out of range, sequences of two lengths) are counted and left out.

    Args:
        config: the vehicle, if it is known: order and settings of its cameras, limits.
        labels: class names by index.

    Attributes:
        unusable: messages that were left out, by what was wrong.
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
        self._reasons: set[str] = set()
        self.unusable: Counter[str] = Counter()

    @property
    def results(self) -> int:
        """Return how many latency messages came."""
        return sum(len(rows) for rows in self._rows.values())

    def add_latency(self, message: Any) -> None:
        """Take in a ``CameraLatency``."""
        self._take(self._add_latency, 'latency', message)

    def add_status(self, message: Any) -> None:
        """Take in a ``PipelineStatus``."""
        self._take(self._add_status, 'status', message)

    def add_detections(self, camera: str, message: Any) -> None:
        """Take in a ``Detection2DArray`` of one camera."""
        self._take(lambda m: self._add_detections(camera, m), 'detections', message)

    def _take(self, add: Callable[[Any], None], kind: str, message: Any) -> None:
        try:
            add(message)
        except (ValueError, TypeError, OverflowError, AttributeError) as error:
            self.unusable[f'{kind}: {one_line(error)}'] += 1

    def _add_latency(self, message: Any) -> None:
        stamp = time_ns('header.stamp', message.header.stamp)
        age = whole('age_ns', message.age_ns, -LARGEST_TIME_NS, LARGEST_TIME_NS)
        published = whole('age_ns', stamp + age, -LARGEST_TIME_NS, LARGEST_TIME_NS)
        # Recordings of before there was this stage have it in the queue.
        times = {'video_ns': getattr(message, 'video_ns', 0)}
        times |= {f'{stage}_ns': getattr(message, f'{stage}_ns') for stage in STAGES[1:]}
        stages = [whole(name, ns, 0, LONGEST_STAGE_NS) for name, ns in times.items()]
        drops = whole('drops', message.drops, 0, LARGEST_TIME_NS)
        camera, lane = text(message.camera), text(message.lane)
        few('cameras', self._rows.keys() | {camera})
        few('lanes', self._lanes.keys() | {lane})
        index = self._lanes.setdefault(lane, len(self._lanes))
        self._rows[camera].append((stamp, published, index, drops, *stages))

    def _add_status(self, message: Any) -> None:
        cameras = {text(c.name): _camera_state(c) for c in few('cameras', message.cameras)}
        lanes = {text(lane.name): _lane_seen(lane) for lane in few('lanes', message.lanes)}
        deadlines = {text(c.name): number('deadline_ms', c.deadline_ms) for c in message.cameras}
        few('lanes', self._lanes.keys() | lanes.keys())
        few('cameras', self._deadlines_ms.keys() | cameras.keys())
        reasons = {reason for state in cameras.values() for reason in state.dropped}
        few('reasons of drops', self._reasons | reasons)
        at_ns = time_ns('header.stamp', message.header.stamp)
        for name in lanes:
            self._lanes.setdefault(name, len(self._lanes))
        self._reasons |= reasons
        self._deadlines_ms |= deadlines
        self._statuses.append(StatusRecord(at_ns, cameras, lanes, text(message.placement_reason)))

    def _add_detections(self, camera: str, message: Any) -> None:
        self._arrays[camera] += 1
        for detection in message.detections:
            for result in detection.results[:1]:
                self._classes[camera][text(result.hypothesis.class_id)] += 1

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
            unusable=dict(self.unusable),
            before=next((s for s in reversed(self._statuses) if s.time_ns <= 0), None),
        )

    def _in_time(self) -> list[StatusRecord]:
        """Return the status messages by time, without those of a clock that stands still.

        A node on simulated time has the time 0 until a replay begins, and the last one after it.
        What it finished meanwhile counts; that its cameras are silent then says nothing.
        """
        by_time: dict[int, StatusRecord] = {}
        for status in self._statuses:
            if status.time_ns > 0:
                first = by_time.setdefault(status.time_ns, status)
                by_time[status.time_ns] = _with_counts(first, status)
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


def since_start(recording: Recording) -> Recording:
    """Return the recording of a node that was started for it: what it counted began at zero.

    Its first status message may come when it has already received images.
    """
    if recording.before or not recording.statuses:
        return recording
    first = recording.statuses[0]
    cameras = {
        name: replace(state, received=0, published=0, dropped={}, late=0)
        for name, state in first.cameras.items()
    }
    return replace(recording, before=replace(first, time_ns=0, cameras=cameras))


def _with_counts(status: StatusRecord, later: StatusRecord) -> StatusRecord:
    """Return a status with the counts of a later one."""
    cameras = dict(status.cameras)
    for name in cameras.keys() & later.cameras.keys():
        now = later.cameras[name]
        cameras[name] = replace(
            cameras[name],
            received=now.received,
            published=now.published,
            dropped=now.dropped,
            late=now.late,
        )
    return replace(status, cameras=cameras)


def _camera_state(camera: Any) -> CameraState:
    if len(camera.drop_reasons) != len(camera.drop_counts):
        raise UnusableError('drop_reasons and drop_counts are of two lengths')
    dropped: Mapping[str, int] = {
        text(reason): whole('drop_counts', count, 0, LARGEST_TIME_NS)
        for reason, count in zip(camera.drop_reasons, camera.drop_counts, strict=True)
    }
    counts = {
        name: whole(name, getattr(camera, name), 0, LARGEST_TIME_NS)
        for name in ('received', 'published', 'deadline_misses')
    }
    return CameraState(
        level=whole('level', camera.level, 0, LEVELS - 1),
        message=text(camera.message),
        lane=text(camera.lane),
        received=counts['received'],
        published=counts['published'],
        dropped=dropped,
        late=counts['deadline_misses'],
        rate_in_hz=number('rate_in_hz', camera.rate_in_hz),
    )


def _lane_seen(lane: Any) -> LaneSeen:
    return LaneSeen(
        text(lane.state),
        text(lane.note),
        text(lane.device),
        min(1.0, max(0.0, number('utilisation', lane.utilisation))),
        whole('failures', lane.failures, 0, LARGEST_TIME_NS),
    )
