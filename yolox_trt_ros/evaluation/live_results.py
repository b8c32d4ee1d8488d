"""Listen to a running detector for a while."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from rich.progress import track

from yolox_trt_ros.cli.console import Console
from yolox_trt_ros.core.errors import YoloxTrtRosError
from yolox_trt_ros.core.messages import list_of
from yolox_trt_ros.ros.results import ResultSubscriptions
from yolox_trt_ros.ros.watcher import Watcher

LABELS_S = 10.0
"""Longest time in which a running detector's labels arrive."""


def live_labels(detector: str) -> tuple[str, ...]:
    """Return the class names that a running detector publishes.

    Raises:
        YoloxTrtRosError: it does not answer.
    """
    names: dict[int, str] = {}

    with Watcher('labels') as watcher:
        ResultSubscriptions(watcher.node, detector, lambda _of, _why: None).add_names(names.update)
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
    """Return the given names, or those that the running detector publishes."""
    return given or live_labels(detector)
