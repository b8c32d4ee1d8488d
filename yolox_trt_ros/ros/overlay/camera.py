"""One camera's overlay: its subscriptions while somebody looks, and its picture."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from rclpy.node import Node

from yolox_trt_ros.core.config import CameraConfig
from yolox_trt_ros.core.crop import Crop
from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.errors import (
    ConfigError,
    DropReason,
    MissingDependencyError,
    YoloxTrtRosError,
)
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.messages import detections_of, mask_of, stamp_ns_of
from yolox_trt_ros.core.pairing import StampJoin
from yolox_trt_ros.core.printing import shown
from yolox_trt_ros.core.segmentation import Segmentation
from yolox_trt_ros.ros.input.intake import Ingest
from yolox_trt_ros.ros.input.native_ingest import NativeIngest
from yolox_trt_ros.ros.input.plain_ingest import PlainIngest
from yolox_trt_ros.ros.results import ResultSubscriptions

KEPT_S = 0.8
"""Images kept for their detections, in seconds of the camera's rate."""
LEAST_KEPT, MOST_KEPT = 4, 16
SPARE_BUFFERS = 4
"""One image is being filled, one waits to be drawn, one is drawn, one is about to be kept."""
MOST_CLASSES, LONGEST_NAME = 10_000, 100
STREAMS = ('image', 'detections', 'latency')

Parts = Mapping[str, Any]


class OverlayNames:
    """Names of classes by number; ``class_id`` may be either."""

    def __init__(self) -> None:
        self._names: dict[int, str] = {}
        self._numbers: dict[str, int] = {}

    def learn(self, names: dict[int, str]) -> None:
        """Take the names that the detector publishes."""
        self._names = dict(names)
        self._numbers = {name: number for number, name in self._names.items()}

    def __getitem__(self, number: int) -> str:
        return self._names.get(int(number), str(number))

    def read(self, message: Any) -> Detections:
        """Return the detections of a message.

        Raises:
            ConfigError: see :func:`detections_of`; or there are too many classes, or a name is
                too long.
        """
        texts = {d.results[0].hypothesis.class_id for d in message.detections if d.results}
        if all(text.isdecimal() for text in texts):
            return detections_of(message)
        new = sorted(texts - self._numbers.keys())
        if len(self._names) + len(new) > MOST_CLASSES or any(len(t) > LONGEST_NAME for t in new):
            raise ConfigError(
                f'expected at most {MOST_CLASSES} classes with names of at most {LONGEST_NAME} '
                f'letters, {shown(new)} would be one too many or too long'
            )
        for text in new:
            number = len(self._numbers)
            self._numbers[text], self._names[number] = number, text
        return detections_of(message, self._numbers)


class CameraOverlay:
    """Joins a camera's images with their detections and latencies.

    Args:
        node: owner of the subscriptions.
        camera: its configuration.
        detector: the detector's name, as topics of this node write it.
        names: of the classes.
        ready: called with the camera's name and all parts of one image; on any thread.
        warn: logs a problem.
        unusable: counts a message that cannot be used: camera and reason.
        mask_format: of the camera's class masks; empty: the vehicle publishes none.

    Attributes:
        camera: its configuration.
        image_s, drawn_s: monotonic time of the newest image and of the newest drawing.
    """

    def __init__(
        self,
        node: Node,
        camera: CameraConfig,
        detector: str,
        names: OverlayNames,
        ready: Callable[[str, Parts], None],
        warn: Callable[[str], None],
        unusable: Callable[[str, str], None],
        mask_format: str = '',
    ) -> None:
        self.camera = camera
        self._node, self._names = node, names
        self._results = ResultSubscriptions(node, detector, unusable)
        self._ready, self._warn, self._unusable = ready, warn, unusable
        self._lock = threading.Lock()
        self._kept = min(MOST_KEPT, max(LEAST_KEPT, math.ceil(camera.rate_hz * KEPT_S)))
        self._join = StampJoin(STREAMS, self._kept)
        self._mask_format = mask_format
        self._masks: dict[int, Segmentation] = {}
        self._ingest: Ingest | None = None
        self._sequence = 0
        self.image_s = self.drawn_s = 0.0

    @property
    def alone(self) -> Mapping[str, int]:
        """What found no partner, by stream, since somebody looks."""
        return self._join.alone

    @property
    def watching(self) -> bool:
        """Whether the camera is subscribed to."""
        return self._ingest is not None

    def watch(self) -> None:
        """Subscribe to images, detections and latencies."""
        self._join = StampJoin(STREAMS, self._kept)
        self.image_s = self.drawn_s = time.monotonic()
        name, depth = self.camera.name, 2 * self._kept
        self._results.add('detections', self._on_detections, name, depth=depth)
        self._results.add('latency', self._on_latency, name, depth=depth)
        if self._mask_format:
            self._results.add('mask', self._on_mask, self.camera, depth=depth)
        self._ingest = self._open_images()

    def _open_images(self) -> Ingest:
        cameras = (self.camera,)
        try:
            buffers = self._kept + SPARE_BUFFERS
            return NativeIngest(self._node, cameras, self, self._warn, buffers)
        except MissingDependencyError:
            return PlainIngest(self._node, cameras, self, self._warn)

    def ignore(self) -> None:
        """Unsubscribe, and forget what waits."""
        ingest, self._ingest = self._ingest, None
        if ingest:
            ingest.close()
        self._results.close()
        self._masks.clear()
        self._join = StampJoin(STREAMS, self._kept)

    def missing(self, now_s: float) -> str:
        """Return what has not come for longer than the camera's timeout, or an empty string."""
        if now_s - self.drawn_s <= self.camera.timeout_ms / 1e3:
            return ''
        if self._join.repeated['image']:
            return 'images share header stamps: boxes cannot be matched to them'
        image_age_s = now_s - self.image_s
        if image_age_s > self.camera.timeout_ms / 1e3:
            return f'no image for {image_age_s:.1f} s'
        return f'no detections for {now_s - self.drawn_s:.1f} s'

    # -- images come in as they do for the detector --------------------------------------------

    def next_sequence(self, camera: str) -> int:
        """Return the arrival number of the next image."""
        del camera
        self._sequence += 1
        return self._sequence

    def offer(self, frame: Frame) -> None:
        """Take an image."""
        self.image_s = time.monotonic()
        self._add('image', frame.stamp_ns, frame)

    def reject(self, camera: str, reason: DropReason, n: int = 1) -> None:
        """Images that cannot be used; the detector counts and reports them."""

    # -- results -------------------------------------------------------------------------------

    def _on_detections(self, message: Any) -> None:
        try:
            found = self._names.read(message)
        except YoloxTrtRosError as error:
            self._unusable(self.camera.name, f'detections: {error}')
            return
        self._add('detections', stamp_ns_of(message), found)

    def _on_latency(self, message: Any) -> None:
        self._add('latency', stamp_ns_of(message), message)

    def _on_mask(self, message: Any) -> None:
        try:
            mask = mask_of(message, runs=self._mask_format == 'rle')
        except YoloxTrtRosError as error:
            self._unusable(self.camera.name, f'mask: {error}')
            return
        with self._lock:
            self._masks[stamp_ns_of(message)] = mask
            while len(self._masks) > self._kept:
                del self._masks[next(iter(self._masks))]

    def mask(self, frame: Frame) -> Segmentation | None:
        """Return the class mask of an image; None: it has not come, or there is none.

        It is published before the image's latency, and so is mostly there when that is.
        """
        with self._lock:
            mask = self._masks.get(frame.stamp_ns)
        if mask is None:
            return None
        crop = Crop.read(self.camera.crop) if self.camera.crop else None
        part = crop.of(frame.height, frame.width) if crop else None
        return replace(mask, region=part or (0, 0, frame.width, frame.height))

    def _add(self, stream: str, stamp_ns: int, part: Any) -> None:
        with self._lock:
            parts = self._join.add(stream, stamp_ns, part)
        if parts:
            self._ready(self.camera.name, parts)


def caption_of(latency: Any) -> str:
    """Return what a CameraLatency says, in one line."""
    age = f'{latency.age_ns / 1e6:.0f} ms' if latency.age_ns >= 0 else 'from the future'
    drops = f'  {latency.drops} dropped before' if latency.drops else ''
    inside = f'{latency.total_ns / 1e6:.0f}'
    return f'{latency.camera}  {latency.lane}  end to end {age} (detector {inside}){drops}'
