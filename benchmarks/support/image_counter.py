"""A process that takes the images of a vehicle as the detector does, and only counts them."""

from __future__ import annotations

if __name__ == '__main__':
    from yolox_trt_ros.core.interruption import begin

    begin(130)

import argparse
import contextlib
import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from yolox_trt_ros.core.errors import DropReason
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.interruption import raise_on_signals
from yolox_trt_ros.ros.input.ingest import open_ingest
from yolox_trt_ros.ros.process import keep_large_buffers
from yolox_trt_ros.vehicle_files import load_vehicle

START_S = 120.0
QUIET_S = 2.0
"""Silence after which everything has come."""


class Count:
    """Counts frames where a pipeline would take them."""

    stopping = False

    def __init__(self) -> None:
        self.received: Counter[str] = Counter()
        self.rejected: Counter[str] = Counter()
        self.last_s = float('inf')

    def next_sequence(self, camera: str) -> int:
        """Return the number of the next frame."""
        return self.received[camera]

    def offer(self, frame: Frame) -> None:
        """Count a frame."""
        self.received[frame.camera] += 1
        self.last_s = time.monotonic()

    def wait_for_room(self, camera: str, timeout_s: float) -> bool:
        """Return True: nothing waits here."""
        return True

    def when_room(self, callback: Callable[[], None] | None) -> None:
        """Do nothing: there is always room."""

    def reject(self, camera: str, reason: DropReason, n: int = 1) -> None:
        """Count what never became a frame."""
        self.rejected[f'{camera}, {reason.value}'] += n


def main(args: list[str] | None = None) -> int:
    """Count until nothing comes any more, and write the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('vehicle')
    parser.add_argument('out', type=Path)
    given = parser.parse_args(args)
    keep_large_buffers()
    with raise_on_signals(), contextlib.ExitStack() as ending:
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        ending.callback(rclpy.shutdown)
        node, count, executor = Node('image_counter'), Count(), SingleThreadedExecutor()
        executor.add_node(node)
        ingest = open_ingest(node, load_vehicle(given.vehicle), count)
        ending.callback(ingest.close)
        end = time.monotonic() + START_S
        while time.monotonic() < min(end, count.last_s + QUIET_S):
            executor.spin_once(timeout_sec=0.1)
            end = float('inf') if count.received else end
    lost = {name: notes.lost for name, notes in ingest.notes.items()}
    counts = {
        'received': count.received,
        'rejected': count.rejected,
        'lost': lost,
        'mode': ingest.mode,
    }
    given.out.write_text(json.dumps({**counts, 'cpu_s': time.process_time()}))
    return 0


if __name__ == '__main__':
    sys.exit(main())
