"""A ROS node that watches a detector from outside, as any user's program would."""

from __future__ import annotations

import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from rclpy.qos import QoSProfile, ReliabilityPolicy
from vision_msgs.msg import Detection2DArray

from yolox_trt_ros.cli.page import sample
from yolox_trt_ros.core.config import CameraConfig, Config
from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.errors import ConfigError, FrameError
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.messages import stamp_ns_of
from yolox_trt_ros.core.pairing import StampJoin
from yolox_trt_ros.core.topics import absolute
from yolox_trt_ros.evaluation.judge import read
from yolox_trt_ros.evaluation.matching import SharedClasses, Tally
from yolox_trt_ros.msg import CameraLatency, PipelineStatus
from yolox_trt_ros.report.gather import Gatherer
from yolox_trt_ros.report.recording import Recording, Sample
from yolox_trt_ros.ros.input.codecs import READERS, Arrival
from yolox_trt_ros.ros.input.subscribe import message_type
from yolox_trt_ros.ros.watcher import Watcher
from yolox_trt_ros.sim.world.bodies import CLASSES

KEPT, KEPT_IMAGES = 64, 8
"""Results and images kept per camera for pairing by stamp."""

_IMAGE_QOS = QoSProfile(depth=2, reliability=ReliabilityPolicy.BEST_EFFORT)
_TRUTH_QOS = QoSProfile(depth=50, reliability=ReliabilityPolicy.BEST_EFFORT)
_RESULT_QOS = 50


@dataclass(slots=True)
class Seen:
    """What was observed of one camera.

    Attributes:
        latencies_ms: header stamp to publication, one per result.
        detections: by header stamp, ns; the newest :data:`KEPT`.
        images: the few whose results may still come, and only while images are watched.
        tally: detections against published ground truth, where there is any.
        judged: detections and ground truth that wait for each other.
    """

    latencies_ms: list[float] = field(default_factory=list)
    detections: deque[tuple[int, Detections]] = field(default_factory=lambda: deque(maxlen=KEPT))
    images: list[Frame] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)
    judged: StampJoin = field(default_factory=lambda: StampJoin(('found', 'truth'), KEPT))

    def add_image(self, frame: Frame) -> None:
        """Keep an image, and forget those that later results have passed over."""
        newest = self.detections[-1][0] if self.detections else 0
        found = dict(self.detections)
        self.images = [f for f in self.images if f.stamp_ns > newest or f.stamp_ns in found]
        if len(self.images) < KEPT_IMAGES:
            self.images.append(frame)

    def pair(self) -> tuple[Frame, Detections] | None:
        """Return the newest image whose detections have arrived, and no others of its stamp."""
        found = dict(self.detections)
        images = Counter(frame.stamp_ns for frame in self.images)
        results = Counter(stamp_ns for stamp_ns, _ in self.detections)
        for frame in reversed(self.images):
            if images[frame.stamp_ns] == results[frame.stamp_ns] == 1:
                return frame, found[frame.stamp_ns]
        return None


class Observer(Watcher):
    """Subscribes to a detector's results in a thread of its own.

    Args:
        config: the vehicle.
        labels: the model's class names, to compare its detections with the rendered world's
            ground truth.
        detector: fully qualified name of the detector node.

    Attributes:
        gathered: everything seen, for a report.
    """

    def __init__(self, config: Config, labels: Sequence[str], detector: str = '/detector') -> None:
        super().__init__('observer')
        self.classes = SharedClasses(labels, CLASSES)
        self.seen: dict[str, Seen] = defaultdict(Seen)
        self.status: PipelineStatus | None = None
        self._config, self._detector = config, detector
        self._labels = labels
        self.begin()
        self._cameras = config.cameras
        self._watching: list[object] = []
        self.node.create_subscription(PipelineStatus, f'{detector}/status', self._on_status, 5)
        for camera in config.cameras:
            base = f'{detector}/{camera.name}'
            self._subscribe(Detection2DArray, f'{base}/detections', camera, self._on_detections)
            self._subscribe(CameraLatency, f'{base}/latency', camera, self._on_latency)
            truth = absolute(camera.sibling_topic('ground_truth'), detector)
            self._subscribe(Detection2DArray, truth, camera, self._on_truth, _TRUTH_QOS)

    def watch_images(self) -> None:
        """Begin to keep images; costs a copy of every image while it lasts."""
        for camera in self._cameras:
            self._watching.append(
                self.node.create_subscription(
                    message_type(camera.transport),
                    absolute(camera.image_topic, self._detector),
                    lambda message, camera=camera: self._on_image(camera, message),
                    _IMAGE_QOS,
                    raw=True,
                )
            )
        self.executor.wake()

    def wait_for_pairs(self, timeout_s: float) -> dict[str, tuple[Frame, Detections]]:
        """Return an image with its detections per camera; cameras without one are left out."""
        end = time.monotonic() + timeout_s
        while True:
            pairs = {c.name: self.seen[c.name].pair() for c in self._cameras}
            if all(pairs.values()) or time.monotonic() > end:
                return {name: pair for name, pair in pairs.items() if pair}
            time.sleep(0.05)

    def begin(self) -> None:
        """Forget what was gathered: a report is to begin now."""
        self.gathered = Gatherer(self._config, self._labels)
        for seen in self.seen.values():
            seen.tally = Tally()

    def samples(self, pairs: Mapping[str, tuple[Frame, Detections]]) -> list[Sample]:
        """Return pictures of images with their detections."""
        return [sample(name, *pair, self._labels) for name, pair in pairs.items()]

    def recording(self, source: str, samples: Sequence[Sample]) -> Recording:
        """Return everything seen, and how it compares with ground truth."""
        tallies = {c.name: self.seen[c.name].tally for c in self._cameras}
        quality = [tally.quality(name) for name, tally in tallies.items() if tally.images]
        return self.gathered.recording(source, samples, quality)

    def _subscribe(
        self,
        kind: type,
        topic: str,
        camera: CameraConfig,
        callback: Callable[..., None],
        qos: QoSProfile | int = _RESULT_QOS,
    ) -> None:
        self.node.create_subscription(kind, topic, lambda m: callback(camera, m), qos)

    def _on_status(self, message: PipelineStatus) -> None:
        self.status = message
        self.gathered.add_status(message)

    def _on_latency(self, camera: CameraConfig, message: CameraLatency) -> None:
        self.seen[camera.name].latencies_ms.append(message.age_ns / 1e6)
        self.gathered.add_latency(message)

    def _on_detections(self, camera: CameraConfig, message: Detection2DArray) -> None:
        seen = self.seen[camera.name]
        self.gathered.add_detections(camera.name, message)
        try:
            stamp, found = stamp_ns_of(message), read(message, self._labels)
        except ConfigError as error:
            self.gathered.unusable[f'detections: {error}'] += 1
            return
        seen.detections.append((stamp, found))
        self._judge(seen, 'found', stamp, self.classes.found(found))

    def _on_truth(self, camera: CameraConfig, message: Detection2DArray) -> None:
        seen = self.seen[camera.name]
        try:
            truth = self.classes.truth(read(message, CLASSES))
        except ConfigError as error:
            told = f'ground truth of other classes than the rendered world’s is left out: {error}'
            self.node.get_logger().warning(told, once=True)
            return
        self._judge(seen, 'truth', stamp_ns_of(message), truth)

    def _judge(self, seen: Seen, side: str, stamp_ns: int, part: Detections) -> None:
        if pair := seen.judged.add(side, stamp_ns, part):
            seen.tally.add(pair['found'], pair['truth'])

    def _on_image(self, camera: CameraConfig, message: bytes) -> None:
        seen = self.seen[camera.name]
        try:
            arrival = Arrival(camera.name, 0, time.monotonic_ns(), camera.levels)
            frame = READERS[camera.transport](message, arrival)
        except FrameError:
            return  # the detector counts it
        seen.add_image(frame)
