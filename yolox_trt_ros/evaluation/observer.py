"""A ROS node that watches a detector from outside, as a user's program would."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from rclpy.qos import QoSProfile, ReliabilityPolicy

from yolox_trt_ros.cli.page import sample
from yolox_trt_ros.core.config import CameraConfig, Config
from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.errors import FrameError
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.topics import absolute
from yolox_trt_ros.evaluation.judge import Judge
from yolox_trt_ros.msg import PipelineStatus
from yolox_trt_ros.report.gather import Gatherer
from yolox_trt_ros.report.recording import Recording, Sample
from yolox_trt_ros.ros.input.codecs import Arrival
from yolox_trt_ros.ros.input.readers import MessageReader, new_reader
from yolox_trt_ros.ros.input.subscribe import message_type
from yolox_trt_ros.ros.results import ResultSubscriptions
from yolox_trt_ros.ros.watcher import Watcher
from yolox_trt_ros.sim.world.bodies import CLASSES

KEPT_IMAGES = 8
"""Images kept per camera until their results come."""
_IMAGE_QOS = QoSProfile(depth=2, reliability=ReliabilityPolicy.BEST_EFFORT)


class Observer(Watcher):
    """Subscribes to a detector's results, and to ground truth, in a thread of its own.

    Args:
        config: the vehicle.
        labels: the model's class names.
        detector: fully qualified name of the detector node.
        truth_labels: class names of the ground truth; empty: those of the rendered world.
        truth_topic: with ``{camera}`` for its name; empty: beside the camera's images.

    Attributes:
        status: the newest status message.
        gathered: everything seen, for a report.
        judge: detections and ground truth.
    """

    def __init__(
        self,
        config: Config,
        labels: Sequence[str],
        detector: str = '/detector',
        *,
        truth_labels: Sequence[str] = (),
        truth_topic: str = '',
    ) -> None:
        config.need_detections('who watches the vehicle')
        super().__init__('observer')
        self.status: PipelineStatus | None = None
        self._config, self._detector = config, detector
        self._labels, self._truth_labels = labels, truth_labels or CLASSES
        self._images: dict[str, list[Frame]] = defaultdict(list)
        self.begin()
        self._results = ResultSubscriptions(self.node, detector, self._on_unusable)
        self._results.add('status', self._on_status, depth=5)
        for camera in config.cameras:
            name = camera.name
            self._results.add('detections', partial(self._on_detections, name), name)
            self._results.add('latency', self._on_latency, name)
            self._results.add_truth(partial(self._on_truth, name), camera, truth_topic)

    def watch_images(self) -> None:
        """Begin to keep images; costs a copy of every image while it lasts."""
        for camera in self._config.cameras:
            self.node.create_subscription(
                message_type(camera.transport),
                absolute(camera.image_topic, self._detector),
                partial(self._on_image, camera, new_reader(camera.transport)),
                _IMAGE_QOS,
                raw=True,
            )
        self.executor.wake()

    def wait_for_pairs(self, timeout_s: float) -> dict[str, tuple[Frame, Detections]]:
        """Return an image with its detections per camera; cameras without one are left out."""
        end = time.monotonic() + timeout_s
        while True:
            pairs = {c.name: self._pair(c.name) for c in self._config.cameras}
            if all(pairs.values()) or time.monotonic() > end:
                return {name: pair for name, pair in pairs.items() if pair}
            time.sleep(0.05)

    def begin(self) -> None:
        """Forget what was gathered: a report is to begin now."""
        self.gathered = Gatherer(self._config, self._labels)
        self.judge = Judge(self._labels, self._truth_labels)

    def samples(self, pairs: Mapping[str, tuple[Frame, Detections]]) -> list[Sample]:
        """Return pictures of images with their detections."""
        return [sample(name, *pair, self._labels) for name, pair in pairs.items()]

    def recording(self, source: str, samples: Sequence[Sample]) -> Recording:
        """Return everything seen, and how it compares with ground truth."""
        self.gathered.unusable |= self.judge.unusable
        return self.gathered.recording(source, samples, self.judge.quality())

    def _pair(self, camera: str) -> tuple[Frame, Detections] | None:
        """Return the newest image whose detections have arrived, and no others of its stamp."""
        images, found = list(self._images[camera]), self.judge.found.get(camera, {})
        counts = Counter(frame.stamp_ns for frame in images)
        repeated = self.judge.repeated.get(camera, Counter())
        for frame in reversed(images):
            stamp = frame.stamp_ns
            if counts[stamp] == 1 and stamp in found and stamp not in repeated:
                return frame, found[stamp]
        return None

    def _on_unusable(self, of: str, why: str) -> None:
        self.gathered.unusable[f'{of}: {why}'] += 1

    def _on_status(self, message: PipelineStatus) -> None:
        self.status = message
        self.gathered.add_status(message)

    def _on_latency(self, message: Any) -> None:
        self.gathered.add_latency(message)

    def _on_detections(self, camera: str, message: Any) -> None:
        self.gathered.add_detections(camera, message)
        self.judge.add_found(camera, message)

    def _on_truth(self, camera: str, message: Any) -> None:
        self.judge.add_truth(camera, message)

    def _on_image(self, camera: CameraConfig, read: MessageReader, message: bytes) -> None:
        try:
            arrival = Arrival(camera.name, 0, time.monotonic_ns(), camera.levels)
            frame = read(message, arrival)
        except FrameError:
            return  # the detector counts it
        # Those that later results have passed over are forgotten.
        found = self.judge.found.get(camera.name, {})
        newest = next(reversed(found), 0)
        waiting = self._images[camera.name]
        waiting = [f for f in waiting if f.stamp_ns > newest or f.stamp_ns in found]
        self._images[camera.name] = [*waiting, frame][:KEPT_IMAGES]
