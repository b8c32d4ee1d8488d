"""Simulated cameras inside the node's process: frames without messages."""

from __future__ import annotations

import time
from collections.abc import Callable

from rclpy.node import Node

from yolox_trt_ros.core.config import Config
from yolox_trt_ros.core.errors import YoloxTrtRosError
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.ros.codecs import Arrival
from yolox_trt_ros.ros.intake import FrameSink, Intake
from yolox_trt_ros.sim.streams import CameraStreams, Shot, to_frame


class LocalIngest:
    """What camera_sim would publish, handed straight to the pipeline.

    Frames share memory with the simulation; nothing is copied. CameraInfo and ground truth are
    for other nodes and are not published.

    Args:
        node: its clock stamps the frames.
        config: cameras and their sources.
        pipeline: takes the frames.
        warn: logs a problem.

    Raises:
        ConfigError: a source cannot be read.
    """

    way = 'simulated in this process'

    def __init__(
        self, node: Node, config: Config, pipeline: FrameSink, warn: Callable[[str], None]
    ) -> None:
        self._clock = node.get_clock()
        self._warn = warn
        self._intakes = {c.name: Intake(c, pipeline, warn, self.way) for c in config.cameras}
        self.notes = {name: intake.notes for name, intake in self._intakes.items()}
        self._streams = CameraStreams(config, self._emit, on_progress=node.get_logger().info)
        self._streams.start()

    def close(self) -> None:
        """Stop the cameras."""
        try:
            self._streams.stop()
        except YoloxTrtRosError as error:
            self._warn(f'the simulated cameras had ended by themselves: {error}')

    def _emit(self, shot: Shot) -> None:
        self._intakes[shot.camera].receive(shot, self._frame, time.monotonic_ns())

    def _frame(self, shot: Shot, arrival: Arrival) -> Frame:
        late_ns = arrival.received_ns - shot.due_ns
        stamp_ns = max(0, self._clock.now().nanoseconds - late_ns)
        return to_frame(shot, arrival.sequence, stamp_ns, arrival.received_ns)
