"""A process that receives what the edge benchmark's cameras send, and measures itself doing so."""

from __future__ import annotations

if __name__ == '__main__':
    from yolox_trt_ros.core.interruption import begin

    begin(130)

import argparse
import itertools
import json
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions

from yolox_trt_ros.bags.names import is_installed
from yolox_trt_ros.core.config import CameraConfig, Config
from yolox_trt_ros.core.errors import DropReason, YoloxTrtRosError
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.interruption import INTERRUPTED, raise_on_signals
from yolox_trt_ros.core.topics import RESULTS
from yolox_trt_ros.msg import PipelineStatus
from yolox_trt_ros.ros.detector_node import DetectorNode
from yolox_trt_ros.ros.input.ingest import open_ingest
from yolox_trt_ros.ros.input.intake import IngestNotes
from yolox_trt_ros.ros.input.subscribe import message_type
from yolox_trt_ros.ros.message_types import message_class
from yolox_trt_ros.ros.process import keep_large_buffers
from yolox_trt_ros.vehicle_files import load_vehicle

if TYPE_CHECKING:  # Jazzy and before do not have it
    from rclpy.subscription import MessageInfo

MODES = ('typed', 'plain', 'native', 'node', 'listen')
START_S = 90.0
SETTLE_S = 2.0


class Meter:
    """Counts frames and how long they took, where a pipeline would take them.

    Three clocks run for each image. ``age`` begins at its stamp, so that what the camera itself
    needs is in it. ``transit`` begins when the publisher handed it to the middleware, which stamps
    it then. ``behind`` begins when the receiver's middleware had all of it; the rest of the
    transit, ``middleware``, no receiver has a hand in.
    """

    stopping = False

    def __init__(self) -> None:
        self.notes: Mapping[str, IngestNotes] = {}
        self.times_ms: dict[str, list[float]] = {
            'age': [],
            'transit': [],
            'behind': [],
            'middleware': [],
        }
        self.replaced = 0
        self.heard: set[str] = set()

    def next_sequence(self, camera: str) -> int:
        """Return 0: nobody asks for the order."""
        return 0

    def offer(self, frame: Frame) -> None:
        """Measure a frame."""
        notes = self.notes.get(frame.camera)
        transit_ns = (notes and notes.transit_ns) or 0
        behind_ns = time.monotonic_ns() - frame.received_ns
        self.arrived(frame.camera, time.time_ns() - frame.stamp_ns, transit_ns, behind_ns)

    def wait_for_room(self, camera: str, timeout_s: float) -> bool:
        """Return True: nothing waits here."""
        return True

    def when_room(self, callback: Callable[[], None] | None) -> None:
        """Do nothing: there is always room."""

    def reject(self, camera: str, reason: DropReason, n: int = 1) -> None:
        """Count messages that were passed over."""
        self.replaced += n

    def arrived(self, camera: str, age_ns: int, transit_ns: int, behind_ns: int) -> None:
        """Measure an image: age, transit and what of it was behind the middleware."""
        self.heard.add(camera)
        times_ns = (age_ns, transit_ns, behind_ns, transit_ns - behind_ns)
        for times_ms, time_ns in zip(self.times_ms.values(), times_ns, strict=True):
            times_ms.append(time_ns / 1e6)

    def restart(self) -> None:
        """Forget everything so far."""
        for times_ms in self.times_ms.values():
            times_ms.clear()
        self.replaced = 0

    def result(self) -> dict[str, Any]:
        """Return percentiles and counts."""
        numbers: dict[str, Any] = {'count': len(self.times_ms['age']), 'replaced': self.replaced}
        for name, times_ms in self.times_ms.items():
            for percent in (50, 99):
                numbers[f'{name}_p{percent}_ms'] = float(np.percentile(times_ms, percent))
        return numbers


class TypedReceiver:
    """Subscriptions as any rclpy node makes them, with message objects, in a process as any other.

    Attributes:
        lost: messages missing in the numbering of their publishers.
    """

    mode = 'typed'

    def __init__(self, node: Node, cameras: tuple[CameraConfig, ...], meter: Meter) -> None:
        self.lost = 0
        for camera in cameras:
            self._subscribe(node, camera, meter)

    def _subscribe(self, node: Node, camera: CameraConfig, meter: Meter) -> None:
        newest = 0

        def received(message: Any, info: MessageInfo) -> None:
            nonlocal newest
            np.frombuffer(message.data, np.uint8)
            stamp, number = message.header.stamp, info['publication_sequence_number']
            now_ns = time.time_ns()
            meter.arrived(
                camera.name,
                now_ns - stamp.sec * 1_000_000_000 - stamp.nanosec,
                now_ns - info['source_timestamp'],
                now_ns - info['received_timestamp'],
            )
            self.lost += number - newest - 1 if newest else 0
            newest = number

        reliability = ReliabilityPolicy[camera.reliability.upper()]
        qos = QoSProfile(depth=camera.depth, reliability=reliability)
        kind = message_type(camera.transport)
        node.create_subscription(kind, camera.image_topic, received, qos)

    def close(self) -> None:
        """Leave the subscriptions to their node."""


class IngestReceiver:
    """One of the package's own input modes."""

    def __init__(self, node: Node, config: Config, meter: Meter) -> None:
        self._ingest = open_ingest(node, config, meter)
        self.mode = self._ingest.mode
        meter.notes = self._ingest.notes

    @property
    def lost(self) -> int | None:
        """Messages missing in the numbering of their publishers; None where nobody knows."""
        counts = [notes.lost for notes in self._ingest.notes.values()]
        return None if None in counts else sum(count or 0 for count in counts)

    def close(self) -> None:
        """Take no further image."""
        self._ingest.close()


def measure_ingest(mode: str, config: Config, seconds: float) -> dict[str, Any]:
    """Return rate, CPU time, transit times and losses of receiving all cameras in one mode."""
    node = Node('edge_receiver')
    meter = Meter()
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    receiver: TypedReceiver | IngestReceiver
    if mode == 'typed':
        receiver = TypedReceiver(node, config.cameras, meter)
    else:
        receiver = IngestReceiver(node, config, meter)
    spin_until(executor, lambda: len(meter.heard) == len(config.cameras))
    spin_for(executor, SETTLE_S)
    meter.restart()
    cpu, start, lost = time.process_time(), time.monotonic(), receiver.lost
    spin_for(executor, seconds)
    cpu, passed = time.process_time() - cpu, time.monotonic() - start
    result = meter.result()
    if mode == 'plain':  # its callbacks do not know when the middleware had the message
        parts = ('behind_p50_ms', 'behind_p99_ms', 'middleware_p50_ms', 'middleware_p99_ms')
        result |= dict.fromkeys(parts)
    now_lost = receiver.lost
    receiver.close()
    return {
        'mode': receiver.mode,
        'images_per_s': result['count'] / passed,
        'cpu_ms_per_image': cpu * 1e3 / result['count'],
        'lost': None if now_lost is None else now_lost - (lost or 0),
        **result,
    }


def profile_node(seconds: float) -> dict[str, Any]:
    """Return a whole detector node's rates, its threads' CPU time and how long each stage takes."""
    heard: list[PipelineStatus] = []
    watch = Node('edge_watch')
    watch.create_subscription(PipelineStatus, '/detector/status', heard.append, 1)
    node = DetectorNode()
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    executor.add_node(watch)
    try:
        spin_until(executor, lambda: heard and any(c.published for c in heard[-1].cameras))
        spin_for(executor, SETTLE_S)
        before, first, start = thread_seconds(), heard[-1], time.monotonic()
        spin_for(executor, seconds)
        after, last, passed = thread_seconds(), heard[-1], time.monotonic() - start
    finally:
        node.close()
    stages: defaultdict[str, list[float]] = defaultdict(list)
    for camera in last.cameras:
        for stage, p50_ns in zip(camera.stages, camera.p50_ns, strict=True):
            stages[stage].append(p50_ns / 1e6)
    shares = {name: (after[name] - before.get(name, 0.0)) / passed for name in after}
    received, published = (
        sum(getattr(c, count) for c in last.cameras) - sum(getattr(c, count) for c in first.cameras)
        for count in ('received', 'published')
    )
    return {
        'received_per_s': received / passed,
        'published_per_s': published / passed,
        'threads': dict(sorted(shares.items(), key=lambda item: -item[1])),
        'stages_p50_ms': {stage: float(np.median(times)) for stage, times in stages.items()},
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
    names = [name for name in ('detections', 'objects') if is_installed(RESULTS[name].type)]
    for camera, name in itertools.product(('typed', 'templates'), names):
        topic = f'/edge_publisher/{camera}/{name}'

        def count(message: bytes, topic: str = topic) -> None:
            received[topic] += 1

        kind = message_class(RESULTS[name].type)
        node.create_subscription(kind, topic, count, 10, raw=True)
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


def measured(args: argparse.Namespace) -> dict[str, Any]:
    """Return what the chosen mode took."""
    if args.mode == 'node':
        return profile_node(args.seconds)
    if args.mode == 'listen':
        return listen(args.seconds)
    return measure_ingest(args.mode, load_vehicle(str(args.vehicle)), args.seconds)


def main() -> int:
    """Measure one mode; print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--mode', choices=MODES, required=True)
    parser.add_argument('--vehicle', type=Path, help='vehicle file')
    parser.add_argument('--seconds', type=float, default=10.0)
    args = parser.parse_args()
    if args.mode != 'typed':  # an ordinary node has neither
        keep_large_buffers()
        sys.setswitchinterval(0.0005)  # as the node does
    parameters = ['--ros-args', '--params-file', str(args.vehicle)] if args.vehicle else []
    try:
        with raise_on_signals():
            rclpy.init(args=parameters, signal_handler_options=SignalHandlerOptions.NO)
            result = measured(args)
    except KeyboardInterrupt:
        return INTERRUPTED
    finally:
        rclpy.try_shutdown()
    print(json.dumps(result))
    return 0


if __name__ == '__main__':
    sys.exit(main())
