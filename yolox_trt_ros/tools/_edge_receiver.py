"""A process that receives what the edge benchmark's cameras send, and measures itself doing so."""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from vision_msgs.msg import Detection2DArray

from yolox_trt_ros.compose import load_vehicle
from yolox_trt_ros.core.config import CameraConfig, Config
from yolox_trt_ros.core.errors import DropReason, YoloxTrtRosError
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.msg import PipelineStatus
from yolox_trt_ros.ros.detector_node import DetectorNode
from yolox_trt_ros.ros.ingest import open_ingest
from yolox_trt_ros.ros.process import interrupt_on_signals, keep_large_buffers
from yolox_trt_ros.ros.subscribe import MESSAGE_TYPES

WAYS = ('typed', 'plain', 'native', 'node', 'listen')
START_S = 90.0
SETTLE_S = 2.0


class Meter:
    """Counts frames and their ages where a pipeline would take them.

    Args:
        cameras: their rates tell from the stamps how many images are missing.
    """

    def __init__(self, cameras: tuple[CameraConfig, ...]) -> None:
        self._period_ns = {camera.name: 1e9 / camera.rate_hz for camera in cameras}
        self._stamps: dict[str, list[int]] = {camera.name: [] for camera in cameras}
        self.latency_ms: list[float] = []
        self.rejected: Counter[str] = Counter()

    def next_sequence(self, camera: str) -> int:
        """Return 0: nobody asks for the order."""
        return 0

    def offer(self, frame: Frame) -> None:
        """Measure a frame."""
        self.arrived(frame.camera, frame.stamp_ns)

    def reject(self, camera: str, reason: DropReason, n: int = 1) -> None:
        """Count messages that never became frames."""
        self.rejected[reason.value] += n

    def arrived(self, camera: str, stamp_ns: int) -> None:
        """Measure an image by its stamp."""
        self.latency_ms.append((time.time_ns() - stamp_ns) / 1e6)
        self._stamps[camera].append(stamp_ns)

    def restart(self) -> None:
        """Forget everything so far."""
        for stamps in self._stamps.values():
            stamps.clear()
        self.latency_ms.clear()
        self.rejected.clear()

    @property
    def complete(self) -> bool:
        """Whether every camera has been heard."""
        return all(self._stamps.values())

    @property
    def missing(self) -> int:
        """How many images are missing between each camera's first and its newest."""
        return sum(
            round((stamps[-1] - stamps[0]) / self._period_ns[camera]) + 1 - len(stamps)
            for camera, stamps in self._stamps.items()
            if stamps
        )


def receive_typed(node: Node, cameras: tuple[CameraConfig, ...], meter: Meter) -> None:
    """Subscribe as any rclpy node does, with message objects."""

    def subscribe(camera: CameraConfig) -> None:
        def received(message: Any) -> None:
            np.frombuffer(message.data, np.uint8)
            stamp = message.header.stamp
            meter.arrived(camera.name, stamp.sec * 1_000_000_000 + stamp.nanosec)

        reliability = ReliabilityPolicy[camera.reliability.upper()]
        qos = QoSProfile(depth=camera.depth, reliability=reliability)
        kind = MESSAGE_TYPES[camera.transport]
        node.create_subscription(kind, camera.image_topic, received, qos)

    for camera in cameras:
        subscribe(camera)


def measure_ingest(way: str, config: Config, seconds: float) -> dict[str, Any]:
    """Return rate, CPU time, ages and losses of receiving all cameras one way."""
    node = Node('edge_receiver')
    meter = Meter(config.cameras)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    ingest = None
    if way == 'typed':
        receive_typed(node, config.cameras, meter)
    else:
        ingest = open_ingest(node, config, meter)
    spin_until(executor, lambda: meter.complete)
    spin_for(executor, SETTLE_S)
    meter.restart()
    cpu, start = time.process_time(), time.monotonic()
    spin_for(executor, seconds)
    cpu, passed = time.process_time() - cpu, time.monotonic() - start
    count = len(meter.latency_ms)
    p50, p99 = np.percentile(meter.latency_ms, (50, 99))
    if ingest is not None:
        ingest.close()
    return {
        'way': ingest.way if ingest is not None else way,
        'images_per_s': count / passed,
        'cpu_ms_per_image': cpu * 1e3 / count,
        'latency_p50_ms': float(p50),
        'latency_p99_ms': float(p99),
        'missing': meter.missing,
        'rejected': dict(meter.rejected),
    }


def profile_node(seconds: float) -> dict[str, Any]:
    """Return a whole detector node's rates and the share of a core that each thread uses."""
    counts: list[tuple[int, int]] = []

    def on_status(status: PipelineStatus) -> None:
        cameras = status.cameras
        counts.append((sum(c.received for c in cameras), sum(c.published for c in cameras)))

    watch = Node('edge_watch')
    watch.create_subscription(PipelineStatus, '/detector/status', on_status, 1)
    node = DetectorNode()
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    executor.add_node(watch)
    try:
        spin_until(executor, lambda: counts and counts[-1][1] > 0)
        spin_for(executor, SETTLE_S)
        before, first, start = thread_seconds(), counts[-1], time.monotonic()
        spin_for(executor, seconds)
        after, last, passed = thread_seconds(), counts[-1], time.monotonic() - start
    finally:
        node.close()
    shares = {name: (after[name] - before.get(name, 0.0)) / passed for name in after}
    return {
        'received_per_s': (last[0] - first[0]) / passed,
        'published_per_s': (last[1] - first[1]) / passed,
        'threads': dict(sorted(shares.items(), key=lambda item: -item[1])),
    }


def thread_seconds() -> dict[str, float]:
    """Return the CPU seconds of this process's threads by name; equal names are added up."""
    names = {thread.native_id: thread.name for thread in threading.enumerate()}
    seconds: defaultdict[str, float] = defaultdict(float)
    for task in Path('/proc/self/task').iterdir():
        try:
            ran_ns = int((task / 'schedstat').read_text().split()[0])
            name = names.get(int(task.name)) or (task / 'comm').read_text().strip()
        except OSError:
            continue  # it has ended meanwhile
        seconds[name.rstrip('0123456789')] += ran_ns / 1e9
    return dict(seconds)


def listen(seconds: float) -> dict[str, Any]:
    """Subscribe to the detections of the publication benchmark and count their bytes."""
    node = Node('edge_listener')
    received: Counter[str] = Counter()
    for camera in ('typed', 'templates'):

        def count(message: bytes, camera: str = camera) -> None:
            received[camera] += 1

        topic = f'/edge_publisher/{camera}/detections'
        node.create_subscription(Detection2DArray, topic, count, 10, raw=True)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    spin_for(executor, seconds)
    return dict(received)


def spin_for(executor: SingleThreadedExecutor, seconds: float) -> None:
    """Serve callbacks for a while."""
    end = time.monotonic() + seconds
    while (rest := end - time.monotonic()) > 0:
        executor.spin_once(timeout_sec=min(rest, 0.2))


def spin_until(executor: SingleThreadedExecutor, done: Any) -> None:
    """Serve callbacks until something is true.

    Raises:
        YoloxTrtRosError: it did not become true in time.
    """
    end = time.monotonic() + START_S
    while not done():
        if time.monotonic() > end:
            raise YoloxTrtRosError(f'not every camera sent an image within {START_S:g} s')
        executor.spin_once(timeout_sec=0.2)


def main() -> int:
    """Measure one way; print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--way', choices=WAYS, required=True)
    parser.add_argument('--vehicle', type=Path, help='vehicle file')
    parser.add_argument('--seconds', type=float, default=10.0)
    args = parser.parse_args()
    keep_large_buffers()
    sys.setswitchinterval(0.0005)  # as the node does
    interrupt_on_signals()
    parameters = ['--ros-args', '--params-file', str(args.vehicle)] if args.vehicle else []
    rclpy.init(args=parameters)
    try:
        if args.way == 'node':
            result = profile_node(args.seconds)
        elif args.way == 'listen':
            result = listen(args.seconds)
        else:
            result = measure_ingest(args.way, load_vehicle(str(args.vehicle)), args.seconds)
    except KeyboardInterrupt:
        return 130
    print(json.dumps(result))
    return 0


if __name__ == '__main__':
    sys.exit(main())
