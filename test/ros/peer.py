"""The rest of the robot: a camera driver and a listener in this process, nodes in others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import rclpy
import yaml
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header
from vision_msgs.msg import Detection2DArray

from yolox_trt_ros.core import children
from yolox_trt_ros.ros.dds.settings import environment

# Nothing else on this machine is to hear these nodes. Domains above 101 may use others' ports.
DOMAIN = 1 + os.getpid() % 100
PATIENCE_S = 90.0
"""A test waits for a few things, and pytest ends the whole process after 400 s."""
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def image_message(pixels: np.ndarray, stamp: int, encoding: str = 'bgr8') -> Image:
    """Return uint8 (height, width, channels) as a message stamped with ``stamp`` nanoseconds."""
    height, width = pixels.shape[:2]
    return Image(
        header=header(stamp),
        encoding=encoding,
        height=height,
        width=width,
        step=pixels.nbytes // height,
        data=pixels.tobytes(),
    )


def compressed_message(data: bytes, stamp: int) -> CompressedImage:
    return CompressedImage(header=header(stamp), format='jpeg', data=data)


def header(stamp: int) -> Header:
    return Header(stamp=time_of(stamp), frame_id='optical')


def time_of(stamp: int) -> Time:
    return Time(sec=stamp // 10**9, nanosec=stamp % 10**9)


def rows(message: Detection2DArray) -> list[list[float]]:
    """Return x1, y1, x2, y2, score, class of every detection."""
    found = []
    for d in message.detections:
        assert d.header == message.header
        (result,) = d.results
        centre, w, h = d.bbox.center.position, d.bbox.size_x, d.bbox.size_y
        box = [centre.x - w / 2, centre.y - h / 2, centre.x + w / 2, centre.y + h / 2]
        found.append([*box, result.hypothesis.score, int(result.hypothesis.class_id)])
    return found


class Peer:
    """A node in a ROS context of its own; spun by whoever waits for something."""

    def __init__(self) -> None:
        self.context = rclpy.Context()
        # The middleware reads its settings when the first node is made; other tests have their own.
        with mock.patch.dict(os.environ, environment()):
            self.context.init(domain_id=DOMAIN)
            self.node = rclpy.create_node('peer', context=self.context)
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self.diagnostics: dict[str, DiagnosticStatus] = {}
        self.node.create_subscription(DiagnosticArray, '/diagnostics', self._diagnosed, 100)
        self._own = {*self.node.publishers, *self.node.subscriptions}

    def forget(self) -> None:
        """Close all that a module's tests opened: others would find second publishers there."""
        for publisher in set(self.node.publishers) - self._own:
            self.node.destroy_publisher(publisher)
        for subscription in set(self.node.subscriptions) - self._own:
            self.node.destroy_subscription(subscription)

    def close(self) -> None:
        self._executor.shutdown()
        self.node.destroy_node()
        self.context.try_shutdown()

    def until(
        self, what: Callable[[], Any], message: str = '', timeout_s: float = PATIENCE_S
    ) -> Any:
        """Spin until ``what`` returns something true, and return that."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            self._executor.spin_once(timeout_sec=0.05)
            if found := what():
                return found
        raise AssertionError(f'nothing came within {timeout_s:g} s: {message or what}')

    def spin(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left)

    def listen(self, kind: type, topic: str, qos: QoSProfile | int = 1000) -> list[Any]:
        """Return a list that grows by every message of a topic."""
        messages: list[Any] = []
        self.node.create_subscription(kind, topic, messages.append, qos)
        self.until(lambda: self.node.count_publishers(topic), f'publisher of {topic}')
        return messages

    def camera(self, kind: type, topic: str) -> Any:
        """Return a publisher that the detector has already found."""
        publisher = self.node.create_publisher(kind, topic, QoSProfile(depth=50))
        self.until(publisher.get_subscription_count, f'subscription of {topic}')
        return publisher

    def call(self, kind: type, service: str, request: Any) -> Any:
        client = self.node.create_client(kind, service)
        try:
            self.until(client.service_is_ready, service)
            answer = client.call_async(request)
            self.until(answer.done, service)
            return answer.result()
        finally:
            self.node.destroy_client(client)

    def transition(self, node: str, number: int) -> bool:
        request = ChangeState.Request()
        request.transition.id = number
        return bool(self.call(ChangeState, f'{node}/change_state', request).success)

    def nodes(self) -> list[str]:
        """Return the full names of all nodes."""
        found = self.node.get_node_names_and_namespaces()
        return [f'{namespace.rstrip("/")}/{name}' for name, namespace in found]

    def state(self, node: str) -> str:
        """Return a node's state; a node that has just begun may not know yet whom to answer."""
        end = time.monotonic() + PATIENCE_S
        while True:
            client = self.node.create_client(GetState, f'{node}/get_state')
            try:
                self.until(client.service_is_ready, client.srv_name)
                answer = client.call_async(GetState.Request())
                with suppress(AssertionError):
                    self.until(answer.done, client.srv_name, 3.0)
                if answer.done():
                    return str(answer.result().current_state.label)
                assert time.monotonic() < end, f'{client.srv_name}: no answer'
            finally:
                self.node.destroy_client(client)

    def set_parameter(self, node: str, name: str, value: Any) -> str:
        """Return an empty string, or why the node refused."""
        request = SetParameters.Request()
        request.parameters = [Parameter(name, value=value).to_parameter_msg()]
        (answer,) = self.call(SetParameters, f'{node}/set_parameters', request).results
        return '' if answer.successful else str(answer.reason)

    def diagnosis(self, name: str, level: bytes, text: str = '') -> DiagnosticStatus:
        """Wait until ``name`` is at ``level`` with ``text`` in its message."""
        self.diagnostics.clear()

        def found() -> DiagnosticStatus | None:
            status = self.diagnostics.get(name)
            good = status and status.level == level and text in status.message
            return status if good else None

        status: DiagnosticStatus = self.until(found, f'{name} at {level!r}: {text}')
        return status

    def _diagnosed(self, message: DiagnosticArray) -> None:
        self.diagnostics |= {s.name.partition(': ')[2]: s for s in message.status}


class Detector:
    """A detector node in its own process."""

    def __init__(
        self, folder: Path, namespace: str, parameters: dict[str, Any], section: str = '/**'
    ) -> None:
        self.name = f'/{namespace}/detector'
        self._log = folder / f'{namespace}.log'
        file = folder / f'{namespace}.param.yaml'
        file.write_text(yaml.safe_dump({section: {'ros__parameters': parameters}}))
        with self._log.open('wb') as log:
            self._process = children.start(
                [
                    sys.executable,
                    '-m',
                    'yolox_trt_ros.ros.detector_node',
                    '--ros-args',
                    '-r',
                    f'__ns:=/{namespace}',
                    '--params-file',
                    str(file),
                ],
                env={**os.environ, **environment(), 'ROS_DOMAIN_ID': str(DOMAIN)},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def log(self) -> str:
        return self._log.read_text(errors='replace')

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def end(self) -> int:
        """Wait until the node has ended by itself, and return the exit code."""
        return self._process.wait(PATIENCE_S)

    def interrupt(self) -> int:
        """Send Ctrl-C, twice as a terminal and ``ros2 launch`` do, and return the exit code."""
        self._process.send_signal(signal.SIGINT)
        time.sleep(0.02)
        self._process.send_signal(signal.SIGINT)
        return self._process.wait(PATIENCE_S)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@contextmanager
def detector(
    peer: Peer,
    folder: Path,
    namespace: str,
    parameters: dict[str, Any],
    state: str = 'active',
    section: str = '/**',
) -> Iterator[Detector]:
    """Start a node, wait until it is in ``state``, and see that Ctrl-C ends it cleanly.

    Its cameras are reliable unless a test says otherwise: a best-effort image that is sent before
    both sides have found each other is lost, and a busy machine takes its time to find.
    """
    reliable = {f'cameras.{c}.reliability': 'reliable' for c in parameters.get('camera_names', ())}
    node = Detector(folder, namespace, reliable | parameters, section)
    try:
        try:
            peer.until(lambda: not node.alive or peer.state(node.name) == state, f'{state} node')
            yield node
        except BaseException:
            print(node.log)
            raise
        assert node.alive, node.log
        assert node.interrupt() == 0, node.log
        assert 'Traceback' not in node.log, node.log
        assert 'the middleware did not end' not in node.log, node.log
        # At once, as a rule; if that message is lost, when its lease of 20 s is over.
        peer.until(lambda: node.name not in peer.nodes(), f'{node.name} to say goodbye', 45.0)
    finally:
        node.kill()
