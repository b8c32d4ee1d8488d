"""Listen to a running detector for a while: detections and ground truth."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rich.progress import track
from vision_msgs.msg import Detection2DArray

from yolox_trt_ros.cli.console import Console
from yolox_trt_ros.core.config import Config
from yolox_trt_ros.core.errors import YoloxTrtRosError
from yolox_trt_ros.core.messages import list_of, names_of
from yolox_trt_ros.core.topics import absolute
from yolox_trt_ros.evaluation.judge import Judge
from yolox_trt_ros.ros.watcher import Watcher

try:
    from vision_msgs.msg import LabelInfo
except ImportError:  # vision_msgs before 4.1
    LabelInfo = None

LABELS_S = 10.0
"""Longest time in which a running detector's labels arrive."""
_LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
_BEST_EFFORT = QoSProfile(depth=50, reliability=ReliabilityPolicy.BEST_EFFORT)


class LiveResults(Watcher):
    """Hands what a detector publishes, and the ground truth of its images, to a judge.

    Args:
        config: the vehicle.
        detector: name of the detector node.
        judge: takes them.
        truth_topic: see :func:`_bag_results.find_topics`.
    """

    def __init__(self, config: Config, detector: str, judge: Judge, truth_topic: str) -> None:
        super().__init__('live_results')
        for camera in config.cameras:
            name = camera.name
            beside = absolute(camera.sibling_topic('ground_truth'), detector)
            truth = truth_topic.replace('{camera}', name) or beside
            self._listen(f'{detector}/{name}/detections', partial(judge.add_found, name), 50)
            self._listen(truth, partial(judge.add_truth, name), _BEST_EFFORT)

    def _listen(self, topic: str, take: Callable[[Any], None], qos: QoSProfile | int) -> None:
        self.node.create_subscription(Detection2DArray, topic, take, qos)


def live_labels(detector: str) -> tuple[str, ...]:
    """Return the class names that a running detector tells.

    Raises:
        YoloxTrtRosError: it does not answer.
    """
    names: dict[int, str] = {}

    def take(message: Any) -> None:
        names.update(names_of(message))

    with Watcher('labels') as watcher:
        if LabelInfo is not None:
            topic = f'{detector}/label_info'
            watcher.node.create_subscription(LabelInfo, topic, take, _LATCHED)
            watcher.executor.wake()
        end = time.monotonic() + LABELS_S
        while not names and time.monotonic() < end:
            time.sleep(0.05)
    if not names:
        domain = os.environ.get('ROS_DOMAIN_ID', '0')
        raise YoloxTrtRosError(
            f'no class names on {detector}/label_info within {LABELS_S:g} s: is the detector '
            f'active, in ROS_DOMAIN_ID {domain}? A detector of another name: --detector; one '
            'whose vision_msgs has no LabelInfo: --labels'
        )
    return list_of(names)


def listen(seconds: float, what: str) -> None:
    """Wait while a watcher listens, with a progress bar; Ctrl-C ends it early."""
    steps = max(1, round(seconds * 10))
    console = Console(stderr=True)
    try:
        for _ in track(range(steps), what, console=console, transient=True):
            time.sleep(seconds / steps)
    except KeyboardInterrupt:
        console.print('interrupted: what was heard so far counts')


def label_names(given: Sequence[str], detector: str) -> Sequence[str]:
    """Return the given names, or those that the running detector tells."""
    return given or live_labels(detector)
