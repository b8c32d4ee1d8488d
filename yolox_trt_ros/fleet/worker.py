"""One worker: a detector and a reader of bags, which turn a segment into rows of the tables."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timezone
from json import dumps
from typing import Any

from yolox_trt_ros import __version__
from yolox_trt_ros.bags.read_ahead import ReadAhead
from yolox_trt_ros.bags.reader import Bag, Recorded
from yolox_trt_ros.core.config import CameraConfig
from yolox_trt_ros.core.crop import cropped
from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.errors import ConfigError, FrameError, YoloxTrtRosError
from yolox_trt_ros.core.extra_crops import CropPace
from yolox_trt_ros.core.frame import FOUND, Frame
from yolox_trt_ros.core.messages import header_stamp_ns, stamp_ns_of
from yolox_trt_ros.core.printing import one_line
from yolox_trt_ros.core.transports import TRANSPORTS
from yolox_trt_ros.evaluation.judge import distances_m, read
from yolox_trt_ros.fleet.job import FleetJob
from yolox_trt_ros.fleet.plan import FleetSegment
from yolox_trt_ros.fleet.results import FAILED, OK, PARTIAL, write_segment
from yolox_trt_ros.fleet.store import Store
from yolox_trt_ros.fleet.stored_bag import opened_bag
from yolox_trt_ros.fleet.tables import OF_SEGMENTS, add, empty
from yolox_trt_ros.ros.input.codecs import Arrival
from yolox_trt_ros.ros.input.readers import MessageReader, new_reader

AHEAD = 4
"""Messages that are read beyond a batch while the detector works."""
LEAD_IN_NS = 10_000_000_000
"""Video is decoded from so long before a segment on: its key frame may be in the one before."""
LONGEST_REASON = 2000


@dataclass(slots=True)
class Pending:
    """An image on its way: what it is known by, and its frame or why there is none."""

    message: Recorded
    camera: str
    stamp_ns: int
    frame: Frame | FrameError


@dataclass(slots=True)
class SegmentResult:
    """The rows of one segment, as they come together.

    Attributes:
        tables: rows of images, detections and truth.
        unread: images without a result.
        losses: what is wrong with the bag there.
        detect_s: time that the detector took.
    """

    tables: dict[str, dict[str, list[Any]]] = field(
        default_factory=lambda: {name: empty(name) for name in OF_SEGMENTS}
    )
    unread: int = 0
    losses: list[str] = field(default_factory=list)
    detect_s: float = 0.0


class SegmentWorker:
    """Runs segments one after the other; a context manager.

    Args:
        job: what runs, and where results go.
    """

    def __init__(self, job: FleetJob) -> None:
        self._job, self._store = job, Store(job.out)
        self.name = f'{socket.gethostname()}:{os.getpid()}'
        os.environ.update(job.limits)
        self._detector = job.detector()
        cameras = job.config.cameras if job.config else ()
        self._cameras: dict[str, CameraConfig] = {camera.name: camera for camera in cameras}
        self._paces: dict[str, CropPace] = {}
        self._stack = ExitStack()
        self._opened: tuple[str, Bag] | None = None

    def __enter__(self) -> SegmentWorker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the device, and close the bag."""
        self._stack.close()
        self._detector.close()

    def run(self, segment: FleetSegment, attempts: int = 1) -> dict[str, Any]:
        """Detect a segment, write its rows, and return that of ``segments``.

        Whatever is wrong with the bag, or with the detector, is in the row.

        Raises:
            YoloxTrtRosError: results cannot be written.
        """
        begun, result = time.monotonic(), SegmentResult()
        try:
            self._detect(segment, result)
            status = PARTIAL if result.unread or result.losses else OK
            reason = '; '.join(result.losses)
        except (YoloxTrtRosError, OSError, MemoryError, RuntimeError, ValueError) as error:
            self._forget_bag()
            kind = '' if isinstance(error, YoloxTrtRosError) else f'{type(error).__name__}: '
            return self.failed(segment, f'{kind}{error}', attempts, time.monotonic() - begun)
        row = self._row(segment, status, reason, attempts, time.monotonic() - begun)
        row |= {
            'images': len(result.tables['images']['bag']),
            'unread': result.unread,
            'detections': len(result.tables['detections']['bag']),
            'detect_s': result.detect_s,
        }
        self._write(segment, result, row)
        return row

    def failed(
        self, segment: FleetSegment, reason: str, attempts: int, seconds: float
    ) -> dict[str, Any]:
        """Write that a segment has no results, and return its row."""
        row = self._row(segment, FAILED, reason, attempts, seconds)
        self._write(segment, SegmentResult(), row)
        return row

    def _write(self, segment: FleetSegment, result: SegmentResult, row: dict[str, Any]) -> None:
        rows = {name: [value] for name, value in row.items()}
        write_segment(self._store, segment, {**result.tables, 'segments': rows})

    def _row(
        self, segment: FleetSegment, status: str, reason: str, attempts: int, seconds: float
    ) -> dict[str, Any]:
        return {
            'bag': segment.bag,
            'segment': segment.number,
            'start_ns': segment.start_ns,
            'stop_ns': segment.stop_ns,
            'status': status,
            'reason': one_line(reason)[:LONGEST_REASON],
            'images': 0,
            'unread': 0,
            'detections': 0,
            'seconds': seconds,
            'detect_s': 0.0,
            'worker': self.name,
            'attempts': attempts,
            'cameras': [camera.camera for camera in segment.cameras],
            'conditions': dumps(dict(segment.conditions)),
            'model': self._job.name,
            'model_sha256': self._job.sha256,
            'version': __version__,
            'finished': datetime.now(timezone.utc),
        }

    # -- one segment ---------------------------------------------------------------------------

    def _bag(self, uri: str) -> Bag:
        """Return a bag, open; the last one stays open, for its next segment mostly comes next."""
        if self._opened is None or self._opened[0] != uri:
            self._forget_bag()
            # Each worker would say again what the plan has said: nothing is warned of.
            bag = self._stack.enter_context(opened_bag(uri))
            self._opened = uri, bag
        return self._opened[1]

    def _forget_bag(self) -> None:
        self._stack.close()
        self._opened = None

    def _detect(self, segment: FleetSegment, result: SegmentResult) -> None:
        # Of each segment its own: what is found does not depend on which segments came before.
        self._paces = {c.name: CropPace(c.extra_crops) for c in self._cameras.values() if c.crops}
        bag = self._bag(segment.bag)
        before, path = len(bag.warnings), bag.path
        cameras = {camera.topic: camera for camera in segment.cameras}
        truths = {camera.truth: camera.camera for camera in segment.cameras if camera.truth}
        topics = [*cameras, *truths]
        readers = {topic: new_reader(camera.transport) for topic, camera in cameras.items()}
        streams = {t for t, camera in cameras.items() if TRANSPORTS[camera.transport].stream}
        begin = segment.start_ns - (LEAD_IN_NS if streams else 0)
        messages = bag.messages(topics, begin, segment.stop_ns)
        batch: list[Pending] = []
        with ReadAhead(messages, self._job.lane.max_batch + AHEAD) as ahead:
            for message in ahead:
                early = message.t_ns < segment.start_ns
                if early and message.topic not in streams:
                    continue
                if message.topic in truths:
                    self._add_truth(bag, message, truths[message.topic], segment, result)
                    continue
                camera = cameras[message.topic]
                pending = self._pending(message, camera.camera, readers[message.topic])
                if early:
                    continue
                batch.append(pending)
                if len(batch) >= self._job.lane.max_batch:
                    self._flush(batch, segment, result)
        self._flush(batch, segment, result)
        result.losses += [w.removeprefix(f'{path}: ') for w in bag.warnings[before:]]
        if len(bag.warnings) > before:
            # The next segment reports what is lost there, even if it is the same chunk.
            self._forget_bag()

    def _pending(self, message: Recorded, name: str, read: MessageReader) -> Pending:
        camera = self._cameras.get(name)
        arrival = Arrival(name, 0, message.t_ns, camera.levels if camera else FOUND)
        try:
            frame = cropped(read(message.cdr, arrival), camera.part if camera else None)
            if pace := self._paces.get(name):
                frame = pace.take(frame, pace.due(frame))
        except FrameError as error:
            return Pending(message, name, header_stamp_ns(message.cdr), error)
        return Pending(message, name, frame.stamp_ns, frame)

    def _flush(self, batch: list[Pending], segment: FleetSegment, result: SegmentResult) -> None:
        """Detect what is pending, and add its rows."""
        frames = [one.frame for one in batch if isinstance(one.frame, Frame)]
        begun = time.monotonic()
        found = iter(self._detector.each(frames) if frames else ())
        result.detect_s += time.monotonic() - begun
        for one in batch:
            answer = one.frame if isinstance(one.frame, FrameError) else next(found)
            if isinstance(answer, FrameError):
                result.unread += 1
            self._add_image(one, answer, segment, result)
        batch.clear()

    def _add_image(
        self,
        one: Pending,
        answer: Detections | FrameError,
        segment: FleetSegment,
        result: SegmentResult,
    ) -> None:
        frame = one.frame if isinstance(one.frame, Frame) else None
        known = {
            'bag': segment.bag, 'segment': segment.number, 'camera': one.camera,
            'stamp_ns': one.stamp_ns, 'frame_id': one_line(frame.frame_id) if frame else '',
            'model': self._job.name, 'version': __version__,
        }  # fmt: skip
        found = () if isinstance(answer, FrameError) else tuple(answer)
        status, reason = OK, ''
        if isinstance(answer, FrameError):
            status, reason = answer.reason.value, one_line(answer)
        for item in found:
            box = dict(zip(('x1', 'y1', 'x2', 'y2'), item.box, strict=True))
            add(
                result.tables['detections'],
                **{**known, 'class': item.label, 'class_id': item.class_id, 'score': item.score},
                **box,
            )
        add(
            result.tables['images'],
            **known,
            recorded_ns=one.message.t_ns,
            topic=one.message.topic,
            width=frame.width if frame else 0,
            height=frame.height if frame else 0,
            encoding=frame.encoding if frame else '',
            status=status,
            reason=reason,
            detections=len(found),
            classes=sorted({item.label for item in found}),
        )

    def _add_truth(
        self,
        bag: Bag,
        message: Recorded,
        camera: str,
        segment: FleetSegment,
        result: SegmentResult,
    ) -> None:
        try:
            parsed = bag.parse(message)
            boxes = read(parsed, self._job.truth_labels)
            distances = distances_m(parsed).tolist()
            stamp_ns = stamp_ns_of(parsed)
        except (YoloxTrtRosError, ConfigError) as error:
            sentence = f'{message.topic}: ground truth is left out: {one_line(error)}'
            if sentence not in result.losses:
                result.losses.append(sentence)
            return
        add(
            result.tables['truth'],
            bag=segment.bag,
            segment=segment.number,
            camera=camera,
            stamp_ns=stamp_ns,
            objects=list(_objects(boxes, self._job.truth_labels, distances)),
        )


def _objects(
    boxes: Detections, labels: tuple[str, ...], distances: list[float]
) -> Iterator[dict[str, Any]]:
    """Yield labelled objects; one that is not asked for has score 0 in its message."""
    rows = zip(
        boxes.xyxy.tolist(), boxes.score.tolist(), boxes.class_id.tolist(), distances, strict=True
    )
    for (x1, y1, x2, y2), score, class_id, metres in rows:
        yield {
            'class': labels[class_id],
            'x1': x1, 'y1': y1, 'x2': x2, 'y2': y2,
            'counted': score > 0,
            'distance_m': None if metres != metres else metres,
        }  # fmt: skip
